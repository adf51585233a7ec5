"""Bad input, through the command line: one clear message that names the mend, exit code 2, nothing half-written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from PIL import Image

from perceived.storage import sha256_file, write_json

Run = Callable[..., SimpleNamespace]


@pytest.fixture
def work(tiny_work: Path, tmp_path: Path) -> Path:
    """A workspace of one's own, as 'prepare' and 'split' leave it."""
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("examples.parquet", "split.parquet"):
        shutil.copy(tiny_work / name, folder)
    write_json(folder / "prepare.json", {"examples_sha256": sha256_file(folder / "examples.parquet")})
    return folder


def assert_refused(answer: SimpleNamespace, *words: str) -> None:
    assert answer.code == 2, answer.err
    assert answer.err.startswith("Error: ")
    assert "To fix it: " in answer.err
    assert "Traceback" not in answer.err
    for word in words:
        assert word in answer.err


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def replace_picture(work: Path, content: bytes) -> str:
    """Let the first training picture be other bytes, and return its path."""
    table = pl.read_parquet(work / "split.parquet")
    path = work / "broken.jpg"
    path.write_bytes(content)
    first = pl.int_range(pl.len()) == 0
    table.with_columns(path=pl.when(first).then(pl.lit(str(path))).otherwise("path")).write_parquet(
        work / "split.parquet"
    )
    return str(path)


def a_jpeg(size: tuple[int, int] = (64, 64)) -> bytes:
    import io

    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def damaged_inside() -> bytes:
    """Return a JPEG of which only decoding tells that it is none: its size and its end are right."""
    whole = a_jpeg()
    middle, impossible_table = len(whole) // 2, b"\xff\xc4\x00\x05ab"
    return whole[:middle] + impossible_table + whole[middle:]


BROKEN = {
    "damaged inside": damaged_inside(),
    "text": b"this is no picture",
    "zero bytes": b"",
    "truncated": a_jpeg()[:500],
    "one pixel": a_jpeg((1, 1)),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_picture_in_training_is_named(
    run: Run, work: Path, tiny: tuple[str, ...], as_flags: Any, kind: str
) -> None:
    path = replace_picture(work, BROKEN[kind])
    before = files(work)
    answer = run("train", work, "--out", work / "run", *as_flags(tiny))
    assert_refused(answer, "1 picture of the split cannot be decoded", path, "perceived prepare", "--check decode")
    assert answer.err.count(path) == 1
    assert files(work) - before <= {"cache"}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_picture_is_neither_augmented_nor_answered(
    run: Run, tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(BROKEN[kind])
    answer = run("augment", path, "--out", tmp_path / "preview.png")
    assert (answer.code, answer.err.startswith(f"Error: {path}")) == (2, True)
    assert not (tmp_path / "preview.png").exists()
    answer = run("predict", path, "--model", tiny_model)
    assert answer.code == 1, "the picture's row holds the error, and the rest would be answered"
    assert str(path) in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    "command", [["explore"], ["split"], ["train", "--out", "run"], ["evaluate"]], ids=lambda command: command[0]
)
def test_a_folder_that_is_not_there(
    run: Run, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = [tiny_model] if command == ["evaluate"] else []
    assert_refused(run(command[0], *model, "gone", *command[1:]), "gone", "perceived ")
    assert not (tmp_path / "gone").exists()
    assert not (tmp_path / "run").exists()


def test_sizes_larger_than_available(run: Run, work: Path) -> None:
    before = files(work)
    (work / "split.parquet").unlink()
    answer = run("split", work, "--train", 1000, "--val", 10, "--test", 10)
    assert_refused(answer, "24 female and 24 male", "--train 48", "--all")
    assert files(work) == before - {"split.parquet"}


def test_one_label_only(run: Run, work: Path, tiny: tuple[str, ...], as_flags: Any) -> None:
    table = pl.read_parquet(work / "split.parquet")
    table.filter(pl.col("label") == "male").write_parquet(work / "split.parquet")
    before = files(work)
    answer = run("train", work, "--out", work / "run", *as_flags(tiny))
    assert_refused(answer, "the labels ['male']", f"perceived split {work}")
    assert files(work) == before


def test_a_workspace_is_no_run(run: Run, work: Path, tiny: tuple[str, ...], as_flags: Any) -> None:
    before = files(work)
    answer = run("train", work, "--out", work, *as_flags(tiny))
    assert (answer.code, "is the workspace itself" in answer.err) == (2, True)
    assert files(work) == before


def test_a_run_of_another_recipe(
    run: Run, tiny_run: Path, tiny_work: Path, tiny: tuple[str, ...], as_flags: Any
) -> None:
    before = {path: path.read_bytes() for path in tiny_run.rglob("*") if path.is_file()}
    answer = run("train", tiny_work, "--out", tiny_run, *as_flags((*tiny, "epochs=0.2")))
    assert_refused(answer, "holds another run", "epochs is 3.0, not 0.2", "another --out")
    assert {path: path.read_bytes() for path in tiny_run.rglob("*") if path.is_file()} == before


def test_a_disk_that_fills_up_while_pictures_are_cached(
    run: Run, work: Path, tiny: tuple[str, ...], as_flags: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = files(work)
    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full, raising=False)
        answer = run("train", work, "--out", work / "run", *as_flags(tiny))
    assert_refused(answer, "The disk is full", "free some space")
    assert files(work) - before <= {"cache"}
    again = run("train", work, "--out", work / "run", *as_flags((*tiny, "epochs=0.2")))
    assert again.code == 0, again.err


@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing", None], ids=["empty", "cut", "other columns"])
def test_a_table_that_is_damaged(
    run: Run, work: Path, tiny: tuple[str, ...], as_flags: Any, content: bytes | None
) -> None:
    if content is None:
        pl.DataFrame({"a": [1]}).write_parquet(work / "split.parquet")
    else:
        (work / "split.parquet").write_bytes(content)
    assert_refused(run("train", work, "--out", work / "run", *as_flags(tiny)), "split.parquet", "perceived split")
    assert not (work / "run").exists()


@pytest.mark.parametrize(
    "setting",
    [
        *("epochs=0", "epochs=Infinity", "epochs=NaN", "epochs=many", "batch_size=0", "batch_size=1.5", "seed=-1"),
        *("sizes=[]", "sizes=[1]", "sizes=[[0, 0, 0]]", "sizes=[[0.5, 32, 32]]", "sizes=[[0, 32, 32], [1, 8, 8]]"),
        *("dropout=1", "warmup=2", "label_smoothing=-1", "learning_rate=-1", "patience=-1"),
        *('hidden=["a"]', "hidden=[0]", "frozen=[1]"),
        *("augmentation=1", "augmentation.rotate=-3", "augmentation.mirror=2", "augmentation.spin=1"),
        *("optimizer=sgd", "precision=fp8", "unheard=1", "epochs"),
    ],
)
def test_a_setting_that_makes_no_sense(run: Run, work: Path, setting: str) -> None:
    answer = run("train", work, "--out", work / "run", "--set", setting)
    assert answer.code == 2, answer.err
    assert answer.err.startswith("Error: ")
    assert setting.partition("=")[0].rpartition(".")[2] in answer.err
    assert not (work / "run").exists()


def test_weights_that_are_not_there(run: Run, work: Path, tiny: tuple[str, ...], as_flags: Any) -> None:
    answer = run("train", work, "--out", work / "run", *as_flags((*tiny, "weights=gone.safetensors")))
    assert_refused(answer, "gone.safetensors does not exist")
    assert not (work / "run").exists()


def test_a_run_that_is_none(run: Run, work: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_refused(run("export", tmp_path / "empty", tmp_path / "model.onnx"), "holds no trained model")
    assert_refused(run("evaluate", tmp_path / "empty", work), "holds no trained model")
    assert not (tmp_path / "model.onnx").exists()
