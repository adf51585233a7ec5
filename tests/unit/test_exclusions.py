"""Lists of pictures to leave out of a score."""

from __future__ import annotations

from pathlib import Path

import pytest

from perceived import exclusions
from perceived.errors import DataError
from perceived.exclusions import Exclusions


def test_every_id_or_those_not_read_as_right(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("id,label\na.jpg,male\nb.jpg,female\n")
    assert exclusions.read(path) == Exclusions(["a.jpg", "b.jpg"], were_read=False)
    path.write_text("\ufeffid,label,reading\na.jpg,male,wrong\nb.jpg,female,right\nc.jpg,male,ambiguous\n", "utf-8")
    assert exclusions.read(path) == Exclusions(["a.jpg", "c.jpg"], were_read=True)
    path.write_text("id;reading\na.jpg;wrong\nb.jpg;right\n")
    assert exclusions.read(path).ids == ["a.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na,male\n", "columns file, label"),
        ("", "columns of an empty file"),
        ("id,reading\na.jpg,wrong\nb.jpg,maybe\n", r"Line 3 of .* reads b\.jpg as 'maybe'"),
        ("id,reading\na.jpg\n", "as None"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        exclusions.read(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv cannot be read"):
        exclusions.read(tmp_path / "none.csv")
    (tmp_path / "x.csv").write_bytes(b"id\n\xff\xfe\n")
    with pytest.raises(DataError, match="cannot be read"):
        exclusions.read(tmp_path / "x.csv")
