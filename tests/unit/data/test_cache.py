"""Decoded pixels: made once, used again only if they are what they were, never half there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from perceived import images
from perceived.data import cache
from perceived.errors import DataError, StorageError
from perceived.preprocess import Preprocessing, frame

FRAMING = Preprocessing(height=12, width=10, mean=(0, 0, 0), std=(1, 1, 1))


@pytest.fixture
def table(tmp_path: Path) -> pl.DataFrame:
    """Five pictures of noise on disk."""
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (27, 22, 3), dtype=np.uint8)).save(path)
    return pl.DataFrame({"path": [str(path) for path in paths]})


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pictures that were decoded since the test began."""
    calls: list[str] = []
    load = images.load

    def count(path: str) -> images.Pixels:
        calls.append(path)
        return load(path)

    monkeypatch.setattr(images, "load", count)
    return calls


def test_pictures_are_decoded_once(table: pl.DataFrame, tmp_path: Path, decoded: list[str]) -> None:
    ticks: list[tuple[int, int]] = []
    first = cache.pixels(table, FRAMING, tmp_path / "cache", progress=lambda done, total: ticks.append((done, total)))
    assert (first.shape, first.dtype, first.flags.writeable) == ((5, 12, 10, 3), np.uint8, False)
    assert ticks[-1] == (5, 5)
    second = cache.pixels(table, FRAMING, tmp_path / "cache")
    assert len(decoded) == 5
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[3], frame(images.load(table["path"][3]), FRAMING))


def test_another_order_or_framing_has_a_cache_of_its_own(table: pl.DataFrame, tmp_path: Path) -> None:
    one = cache.pixels(table, FRAMING, tmp_path / "cache")
    other = cache.pixels(table.reverse(), FRAMING, tmp_path / "cache")
    np.testing.assert_array_equal(one[::-1], other)
    small = Preprocessing(height=6, width=5, mean=(0, 0, 0), std=(1, 1, 1))
    assert cache.pixels(table, small, tmp_path / "cache").shape == (5, 6, 5, 3)


@pytest.mark.parametrize("change", [{"margin": 0.1}, {"alignment": "five-point"}, {"interpolation": "lanczos"}])
def test_every_part_of_the_framing_has_a_cache_of_its_own(change: dict[str, Any]) -> None:
    names = pl.DataFrame({"path": ["a.png"]})
    assert cache.cache_key(names, replace(FRAMING, **change)) != cache.cache_key(names, FRAMING)
    assert cache.cache_key(names, replace(FRAMING, mean=(1, 1, 1))) == cache.cache_key(names, FRAMING)


def flip_a_byte(array: Path, record: Path) -> None:
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "a byte differs": flip_a_byte,
    "cut short": lambda array, record: array.write_bytes(array.read_bytes()[:-100]),
    "no array": lambda array, record: array.unlink(),
    "no record": lambda array, record: record.unlink(),
    "a record that is not JSON": lambda array, record: record.write_text("{"),
    "a record that says nothing": lambda array, record: record.write_text("{}"),
    "a record that is no object": lambda array, record: record.write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_made_again(table: pl.DataFrame, tmp_path: Path, damage: str, decoded: list[str]) -> None:
    folder = tmp_path / "cache"
    before = np.array(cache.pixels(table, FRAMING, folder))
    (array,), (record,) = folder.glob("*.npy"), folder.glob("*.json")
    DAMAGES[damage](array, record)
    np.testing.assert_array_equal(cache.pixels(table, FRAMING, folder), before)
    assert len(decoded) == 10


def test_other_pictures_under_the_same_names_are_decoded(table: pl.DataFrame, tmp_path: Path) -> None:
    before = np.array(cache.pixels(table, FRAMING, tmp_path / "cache"))
    Image.new("RGB", (22, 27), (9, 9, 9)).save(table["path"][2])
    after = cache.pixels(table, FRAMING, tmp_path / "cache")
    assert (after[2] == 9).all()
    np.testing.assert_array_equal(after[3], before[3])


def test_what_is_kept_outlives_the_pictures(table: pl.DataFrame, tmp_path: Path) -> None:
    before = np.array(cache.pixels(table, FRAMING, tmp_path / "cache"))
    for path in table["path"]:
        Path(path).unlink()
    np.testing.assert_array_equal(cache.pixels(table, FRAMING, tmp_path / "cache"), before)


def test_what_was_kept_while_no_source_could_be_told_is_made_again(tmp_path: Path) -> None:
    made: list[Path] = []

    def write(file: Path) -> None:
        made.append(file)
        with open(file, "wb") as opened:
            np.save(opened, np.arange(3))

    for source in (None, None, "a", "a", None):
        assert cache.keep(tmp_path, "key", write, source=source).tolist() == [0, 1, 2]
    assert len(made) == 2, "at first, and once there was a source"


def test_every_broken_picture_is_named_and_nothing_is_left(table: pl.DataFrame, tmp_path: Path) -> None:
    Path(table["path"][1]).write_text("text")
    Path(table["path"][4]).write_bytes(b"")
    with pytest.raises(DataError, match="2 pictures of the split") as error:
        cache.pixels(table, FRAMING, tmp_path / "cache")
    assert table["path"][1] in error.value.what
    assert table["path"][4] in error.value.what
    assert "perceived prepare" in error.value.mend
    assert list((tmp_path / "cache").iterdir()) == []


def test_too_little_room_is_told_before_anything_is_decoded(
    table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(StorageError, match=r"needs 0\.00 GB") as error:
        cache.pixels(table, FRAMING, tmp_path / "cache")
    assert "smaller split" in error.value.mend
    assert decoded == []
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve room")
def test_a_disk_that_fills_up_meanwhile_is_told_as_well(
    table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match="disk is full"):
        cache.pixels(table, FRAMING, tmp_path / "cache")
    assert decoded == []
    assert list((tmp_path / "cache").iterdir()) == []
