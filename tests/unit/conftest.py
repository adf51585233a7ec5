"""What tests of single modules share: pictures with faces of nobody."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from perceived import images
from perceived.preprocess import Pixels


@pytest.fixture(scope="session")
def portraits(tmp_path_factory) -> list[Pixels]:
    """Eight portraits of nobody, RGB, 178 × 218 pixels."""
    from perceived import demo_faces

    folder = demo_faces.write(tmp_path_factory.mktemp("portraits") / "demo", count=8, seed=1)
    return [images.load(path) for path in sorted((folder / "img_align_celeba").glob("*.jpg"))]


@pytest.fixture
def in_the_way(tmp_path, monkeypatch) -> Path:
    """A file where a folder is to be written, which is to be told before any picture is scored."""
    from perceived import evaluate, scoring  # before either is patched: one takes the name from the other

    for module in (scoring, evaluate):
        monkeypatch.setattr(module, "score", lambda *_, **__: pytest.fail("pictures were scored"))
    (tmp_path / "file").touch()
    return tmp_path / "file"


@pytest.fixture
def group(portraits, tmp_path) -> Callable[..., Path]:
    """A function that writes a picture of 640 × 480 pixels with portraits at the given places."""

    def write(name: str, *places: tuple[int, int]) -> Path:
        canvas = np.full((480, 640, 3), 120, np.uint8)
        for (x, y), portrait in zip(places, portraits, strict=False):
            canvas[y : y + portrait.shape[0], x : x + portrait.shape[1]] = portrait
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        images.save_png(canvas, path)
        return path

    return write


@pytest.fixture(scope="session")
def damage() -> Callable[[bytes, np.random.Generator], bytes]:
    """A function that damages an encoded picture."""
    return _damage


def _damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Change one to four bytes; of one file in eight leave out a part, of another the end; mend half of the PNGs."""
    damaged = bytearray(data)
    for position in rng.integers(0, len(data), rng.integers(1, 5)).tolist():
        damaged[position] = int(rng.integers(0, 256))
    start, length = int(rng.integers(0, len(data))), int(rng.integers(1, 400))
    kind = int(rng.integers(0, 8))
    if kind < 2:
        del damaged[start : start + length if kind == 0 else None]
    if damaged.startswith(b"\x89PNG") and rng.integers(0, 2) == 0:
        _mend_checksums(damaged)
    return bytes(damaged)


def _mend_checksums(png: bytearray) -> None:
    """Make the chunks of a damaged PNG agree with their checksums, so that its decoder sees the damage."""
    position = 8
    while (end := position + 8 + int.from_bytes(png[position : position + 4], "big")) + 4 <= len(png):
        png[end : end + 4] = zlib.crc32(png[position + 4 : end]).to_bytes(4, "big")
        position = end + 4
