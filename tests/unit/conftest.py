"""What tests of single modules share: pictures with faces of nobody."""

from __future__ import annotations

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
