"""The data commands as people meet them: bad input ends with one message, exit code 2 and nothing half-written."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from perceived import cli


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command line and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["perceived", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return int(exit_.value.code or 0)


@pytest.fixture
def broken(faces: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Something ``prepare`` cannot use, by name."""
    kind = request.param
    if kind == "missing folder":
        return tmp_path / "nowhere"
    if kind == "one class":
        male = 20
        faces.rows = [(row[0], [*row[1][:male], "-1", *row[1][male + 1 :]], *row[2:]) for row in faces.rows]
    if kind == "no readable picture":
        faces.pictures = dict.fromkeys(faces.pictures, b"text")
    data: Path = faces.write(tmp_path, "kaggle zip" if "zip" in kind else "kaggle nested")
    if kind == "cut zip":
        data.write_bytes(data.read_bytes()[:-100])
    if kind == "wrong zip":
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("readme.md", "cats")
    if kind == "no Male":
        table = data / "list_attr_celeba.csv"
        table.write_text(table.read_text().replace("Male", "Sex"))
    return data


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("missing folder", "does not exist"),
        ("wrong zip", "no dataset that is known here"),
        ("cut zip", "not a readable zip"),
        ("no Male", "no column Male"),
        ("one class", "labelled female"),
        ("no readable picture", "Nothing usable"),
    ],
    indirect=["broken"],
)
def test_prepare_refuses(
    broken: Path, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "prepare", broken, "--out", tmp_path / "work") == 2
    message = capsys.readouterr().err
    assert message.startswith("Error: ")
    assert words in message
    assert "To fix it: " in message
    assert not (tmp_path / "work").exists()


def test_prepare_and_split(
    faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    assert run(monkeypatch, "prepare", faces.write(tmp_path, "original zip"), "--out", work, "--strict") == 0
    assert "24 examples" in capsys.readouterr().out
    assert run(monkeypatch, "split", work, "--train", 10, "--val", 8, "--test", 8) == 2
    assert "the train partition holds 4 female and 4 male pictures" in capsys.readouterr().err
    assert sorted(path.name for path in work.iterdir()) == ["examples.parquet", "prepare.json"]
    assert run(monkeypatch, "split", work, "--train", 8, "--val", 4, "--test", 2) == 0
    assert (work / "split.parquet").is_file()


def test_strict_lists_what_does_not_fit(
    faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faces.pictures["000005.jpg"] = b""
    assert run(monkeypatch, "prepare", faces.write(tmp_path), "--out", tmp_path / "work", "--strict") == 2
    assert "unreadable pictures: 1" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
