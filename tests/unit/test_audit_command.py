"""``perceived audit``, ``robustness`` and ``card`` from the command line: exit codes and what is printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Forty answers, of which every second one in group B is wrong, and one label too many."""
    said, truth = ["id,perceived_gender"], ["file,gender,race"]
    for i in range(40):
        label, race = ("M", "F")[i % 2], "AB"[i >= 20]
        wrong = race == "B" and i % 4 < 2
        said.append(f"{i},{({'M': 'female', 'F': 'male'} if wrong else {'M': 'male', 'F': 'female'})[label]}")
        truth.append(f"{i},{label},{race}")
    truth.append("40,M,B")
    for name, lines in (("p.csv", said), ("l.csv", truth)):
        (tmp_path / name).write_text("\n".join(lines))
    return tmp_path / "p.csv", tmp_path / "l.csv"


OPTIONS = ("--id-column", "file", "--label-column", "gender", "--groups", "race", "--small", "10")


def test_an_audit_prints_the_worst_and_what_was_left_out(
    run: Callable[..., SimpleNamespace], files: tuple[Path, Path], tmp_path: Path
) -> None:
    words = ("--map", "M=male", "--map", "F=female")
    common = ("audit", files[0], "--labels", files[1], *OPTIONS, *words, "--out", tmp_path / "out")
    answer = run(*common, "--fail-if", "worst_group_accuracy<0.4")
    assert answer.code == 0, answer.err
    assert "worst accuracy 0.5000  race: B (n = 20, 29.9% to 70.1%); lowest of 2, 0." in answer.out
    assert "left out: labels without a prediction: 1" in answer.out
    assert "passed: worst_group_accuracy<0.4" in answer.out
    assert (tmp_path / "out" / "audit.html").is_file()
    silent = run(*common, "--fail-if", "without_prediction>0.02", "--fail-if", "without_prediction>0.03")
    assert (silent.code, "FAILED: without_prediction>0.02  found 0.0243902  all labels" in silent.out) == (1, True)
    assert "passed: without_prediction>0.03" in silent.out
    failed = run(*common, "--fail-if", "worst_group_accuracy<0.9")
    assert failed.code == 1
    assert "FAILED: worst_group_accuracy<0.9  found 0.5  race: B" in failed.out


def test_mistakes_end_with_2_and_a_way_out(
    run: Callable[..., SimpleNamespace], files: tuple[Path, Path], tmp_path: Path
) -> None:
    said, truth = files
    words = ("--map", "M=male", "--map", "F=female")
    (tmp_path / "answered").mkdir()
    (tmp_path / "answered" / "part-0.parquet").touch()
    cases = {
        ("audit", tmp_path / "answered", tmp_path, "--always-answer"): "is for models",
        ("audit", said): "--labels LABELS.csv or a folder WORK",
        ("audit", said, "--labels", truth, *OPTIONS): "--map 'f=…' --map 'm=…'",
        ("audit", said, "--labels", truth, *OPTIONS, "--fail-if", "nonsense"): "no criterion",
        ("audit", said, "--labels", truth, *OPTIONS, "--map", "m=male", "--map", "M=female"): "another meaning",
        ("audit", tmp_path / "gone.csv", "--labels", truth): "gone.csv does not exist",
        ("audit", said, "--labels", truth, *OPTIONS, "--on", "val"): "belong to a folder WORK",
        ("audit", said, tmp_path, "--label-column", "sex"): "belongs to --labels",
        ("audit", tmp_path / "m.onnx", tmp_path, "--id-column", "file"): "is for tables",
        ("audit", said, "--labels", truth, *OPTIONS, "--fail-if", "race:accuracy<0.9"): "which is of all rows",
        ("labels", tmp_path, "--model", tmp_path / "m.onnx", "--folds", "7"): "leave out --folds",
        ("audit", said, "--labels", truth, *OPTIONS, "--small", "0"): "Invalid value for '--small'",
        ("audit", said, tmp_path, "--always-answer"): "is for models",
        ("audit", tmp_path / "m.onnx", "--labels", truth): "is a model",
        ("audit", tmp_path / "m.ONNX", "--labels", truth): "is a model",
        ("audit", tmp_path, "--labels", truth): "is a model",
        ("robustness", tmp_path / "none.onnx", tmp_path, "--seed", "-1"): "Invalid value for '--seed'",
        ("labels", tmp_path, "--seed", "-1"): "Invalid value for '--seed'",
        ("quantize", tmp_path / "none.onnx", tmp_path, "--seed", "-1"): "Invalid value for '--seed'",
        ("tune", tmp_path, "--seed", "-1"): "Invalid value for '--seed'",
        ("audit", tmp_path / "none.csv", "--labels", truth, *OPTIONS, *words): "does not exist",
        ("card", tmp_path / "none.onnx"): "--datasets fairface",
        ("robustness", tmp_path / "none.onnx", tmp_path): "There is no model",
    }
    for arguments, message in cases.items():
        answer = run(*arguments)
        assert answer.code == 2, (arguments, answer)
        assert message in answer.err, (arguments, answer.err)


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_read(
    run: Callable[..., SimpleNamespace], files: tuple[Path, Path], tmp_path: Path
) -> None:
    said, truth = files
    for out, why in ((said, "a file is in the way"), (said / "below", "cannot be written")):
        answer = run("audit", tmp_path / "none.csv", "--labels", truth, *OPTIONS, "--out", out)
        assert answer.code == 2
        assert f"{out} cannot be written" in answer.err
        assert why in answer.err
    assert run("audit", tmp_path / "none.csv", "--labels", truth, *OPTIONS, "--out", tmp_path / "a" / "b").code == 2
    assert not (tmp_path / "a").exists()


def test_rows_that_are_matched_by_file_name_are_told(
    run: Callable[..., SimpleNamespace], files: tuple[Path, Path], tmp_path: Path
) -> None:
    said = files[0].read_text().splitlines()
    files[0].write_text("\n".join([said[0], *(f"elsewhere/{line}" for line in said[1:])]))
    words = ("--map", "M=male", "--map", "F=female", "--out", tmp_path / "out")
    answer = run("audit", files[0], "--labels", files[1], *OPTIONS, *words)
    assert answer.code == 0, answer.err
    assert "only the ends of file names. Matched by these: 40 rows." in answer.out
