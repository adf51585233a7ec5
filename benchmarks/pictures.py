"""Pictures to measure with: 640 × 480, one or two faces of nobody on a background of noise and gradients.

Made from a seed, so that every machine measures the same ones; a folder of photographs can take their place.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np

from perceived import demo_faces, images
from perceived.preprocess import Pixels

WIDTH, HEIGHT = 640, 480
QUALITY = 90


def folder(out: Path, count: int, *, seed: int = 0) -> Path:
    """Write ``count`` JPEGs to ``out``, unless they are there; return ``out``."""
    if out.is_dir() and sum(1 for _ in out.glob("*.jpg")) == count:
        return out
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as scratch:
        demo = demo_faces.write(Path(scratch) / "demo", count=min(count, 120), seed=seed)
        portraits = [images.load(path) for path in sorted((demo / "img_align_celeba").glob("*.jpg"))]
    for index in range(count):
        picture = _scene(rng, portraits)
        cv2.imwrite(str(out / f"{index:06d}.jpg"), picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return out


def _scene(rng: np.random.Generator, portraits: list[Pixels]) -> Pixels:
    coarse = rng.uniform(20, 235, (6, 8, 3)).astype(np.float32)
    scene = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    scene = np.clip(scene + rng.normal(0, 6, scene.shape), 0, 255).astype(np.uint8)
    count = int(rng.integers(1, 3))
    for place in range(count):
        portrait = portraits[int(rng.integers(len(portraits)))]
        height = int(rng.uniform(140, 400))
        width = round(height * portrait.shape[1] / portrait.shape[0])
        small = cv2.resize(portrait, (width, height), interpolation=cv2.INTER_AREA)
        share = WIDTH // count
        x = place * share + int(rng.integers(max(1, share - width)))
        y = int(rng.integers(HEIGHT - height))
        scene[y : y + height, x : x + width] = small[:, : WIDTH - x]
    return np.asarray(scene, np.uint8)
