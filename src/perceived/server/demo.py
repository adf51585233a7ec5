"""Faces of nobody for those who want to try the page and have no picture at hand."""

from __future__ import annotations

import functools
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from perceived import demo_faces, images

ROWS, COLUMNS = 2, 4
DRAWN = 32
"""Pictures to choose from; one of each person is shown."""
SEED = 4
GAP = 6
"""Pixels between two faces."""
PAPER = (233, 228, 218)


@functools.cache
def sheet() -> bytes:
    """Return a JPEG of generated faces of as many people side by side; drawn once."""
    with tempfile.TemporaryDirectory(prefix="perceived-demo-") as folder:
        written = demo_faces.write(Path(folder) / "faces", count=DRAWN, seed=SEED)
        people = (written / "identity_CelebA.txt").read_text(encoding="utf-8").split()
        chosen = dict(zip(reversed(people[1::2]), reversed(people[::2]), strict=True))
        names = sorted(chosen.values())[: ROWS * COLUMNS]
        faces = [images.load(written / "img_align_celeba" / name) for name in names]
    height, width = (side + GAP for side in faces[0].shape[:2])
    paper = np.full((ROWS * height + GAP, COLUMNS * width + GAP, 3), PAPER, np.uint8)
    for index, face in enumerate(faces):
        y, x = (index // COLUMNS) * height + GAP, (index % COLUMNS) * width + GAP
        paper[y : y + face.shape[0], x : x + face.shape[1]] = face
    file = io.BytesIO()
    Image.fromarray(paper).save(file, "JPEG", quality=90)
    return file.getvalue()
