"""A workspace small enough to train on in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

COUNTS = {"train": 48, "val": 20, "test": 20}


@pytest.fixture(scope="session")
def tiny_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of 88 noisy pictures, 32 × 32 pixels, in which female is lighter above and male below."""
    work = tmp_path_factory.mktemp("tiny")
    random = np.random.default_rng(0)
    rows = []
    for split, count in COUNTS.items():
        for index in range(count):
            label = ("female", "male")[index % 2]
            pixels = random.integers(0, 160, (32, 32, 3), dtype=np.uint8)
            half = slice(0, 16) if label == "female" else slice(16, 32)
            pixels[half] += 90
            path = work / "pictures" / f"{split}-{index:03d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
            rows.append({"id": path.name, "path": str(path), "label": label, "identity": index // 2, "split": split})
    table = pl.DataFrame(rows)
    table.write_parquet(work / "split.parquet")
    table.rename({"split": "partition"}).write_parquet(work / "examples.parquet")
    return work


TINY = (
    "backbone=resnet10t",
    "weights=none",
    "sizes=[[0, 32, 32]]",
    "frozen=[]",
    "batch_size=8",
    "epochs=3",
    "validate_every=0",
)
"""Overrides that turn any recipe into one for :func:`tiny_work`."""


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    return TINY
