"""The perceptual hash: the same picture is found in another coat, other pictures are not."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from perceived import duplicates, images
from perceived.errors import ImageError
from perceived.preprocess import Pixels


def saved(pixels: Pixels, path: Path, quality: int | None = None) -> str:
    Image.fromarray(pixels).save(path, **({} if quality is None else {"quality": quality}))
    return str(path)


def bits(first: Pixels, second: Pixels) -> int:
    return int(np.bitwise_count(duplicates.perceptual_hash(first) ^ duplicates.perceptual_hash(second)))


def test_another_size_compression_or_light_is_the_same_picture(portraits: list[Pixels]) -> None:
    for picture in portraits:
        small = cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
        lighter = np.clip(picture.astype(float) * 1.06 + 4, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=40)
        assert (
            max(bits(picture, other) for other in (small, lighter, images.decode(buffer.getvalue(), source="again")))
            <= 6
        )
    assert min(bits(a, b) for i, a in enumerate(portraits) for b in portraits[:i]) > duplicates.MOST_BITS


def test_close_pairs_are_those_that_comparing_all_finds() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(1, 2**63, 1500, dtype=np.uint64)
    hashes[700:720] = hashes[10:30] ^ np.uint64(0b1011)
    hashes[3] = hashes[1400] = duplicates.NOTHING
    found = set(duplicates.close(hashes, most=3))
    assert found == {(10 + i, 700 + i, 3) for i in range(20)}, (
        "across the blocks that are compared at once, and no other"
    )


def test_pairs_are_confirmed_by_their_pictures(portraits: list[Pixels], tmp_path: Path) -> None:
    paths = [saved(picture, tmp_path / f"{i}.png") for i, picture in enumerate(portraits[:3])]
    paths.append(saved(portraits[1], tmp_path / "again.jpg", quality=50))
    paths.append(saved(np.full((40, 30, 3), 90, np.uint8), tmp_path / "blank.png"))
    paths.append(saved(np.full((40, 30, 3), 91, np.uint8), tmp_path / "blank-too.png"))
    (tmp_path / "broken.png").write_bytes(b"")
    paths.append(str(tmp_path / "broken.png"))
    hashes = duplicates.hash_files(paths, tmp_path / "cache")
    assert (hashes == duplicates.NOTHING).tolist() == [False] * 4 + [True] * 3
    found, unread = duplicates.find(paths, hashes)
    assert [pair[:2] for pair in found] == [(1, 3)]
    assert found[0][3] > 0.99
    assert unread == set()
    same_hash = np.full(4, hashes[0])
    assert duplicates.find(paths[:3], same_hash[:3]) == ([], set()), "a hash alone is not enough"


def test_a_picture_that_has_gone_out_of_reach_does_not_end_the_comparison(
    portraits: list[Pixels], tmp_path: Path
) -> None:
    paths = [saved(portraits[0], tmp_path / f"{i}.png") for i in range(3)]
    hashes = duplicates.hash_files(paths, tmp_path / "cache")
    (tmp_path / "1.png").unlink()
    found, unread = duplicates.find(paths, hashes)
    assert [pair[:2] for pair in found] == [(0, 2)]
    assert unread == {1}


def test_hashes_are_kept(portraits: list[Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [saved(picture, tmp_path / f"{i}.png") for i, picture in enumerate(portraits[:2])]
    first = duplicates.hash_files(paths, tmp_path / "cache")
    monkeypatch.setattr(images, "load", None)
    assert (duplicates.hash_files(paths, tmp_path / "cache") == first).all()


def test_a_picture_that_comes_back_or_is_replaced_is_noticed(
    portraits: list[Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [saved(picture, tmp_path / f"{i}.png") for i, picture in enumerate(portraits[:3])]
    expected = [duplicates.perceptual_hash(picture) for picture in portraits[:3]]
    Path(paths[1]).unlink()
    folder = tmp_path / "cache"
    assert duplicates.hash_files(paths, folder).tolist() == [expected[0], duplicates.NOTHING, expected[2]]
    saved(portraits[3], Path(paths[2]))
    assert duplicates.hash_files(paths, folder)[2] == duplicates.perceptual_hash(portraits[3]), "though one is away"
    saved(portraits[1], Path(paths[1]))
    assert duplicates.hash_files(paths, folder)[1] == expected[1]
    known = duplicates.hash_files(paths, folder)
    for path in paths:
        Path(path).unlink()
    assert (duplicates.hash_files(paths, folder) == known).all(), "all are out of reach"


def test_a_picture_that_could_not_be_read_for_a_moment_is_tried_again(
    portraits: list[Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [saved(picture, tmp_path / f"{i}.png") for i, picture in enumerate(portraits[:2])]

    def fails(path: str) -> Pixels:
        raise ImageError(f"{path} cannot be read: Input/output error.")

    with monkeypatch.context() as patch:
        patch.setattr(images, "load", fails)
        assert (duplicates.hash_files(paths, tmp_path / "cache") == duplicates.NOTHING).all()
    assert (duplicates.hash_files(paths, tmp_path / "cache") != duplicates.NOTHING).all()
