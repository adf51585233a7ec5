"""Faces of nobody for those who want to try the page and have no picture at hand."""

from __future__ import annotations

import functools
import io

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
    people: dict[int, bytes] = {}
    for person, picture in demo_faces.draw(count=DRAWN, seed=SEED):
        people.setdefault(person, picture)
    faces = [images.decode(picture) for picture in list(people.values())[: ROWS * COLUMNS]]
    height, width = (side + GAP for side in faces[0].shape[:2])
    paper = np.full((ROWS * height + GAP, COLUMNS * width + GAP, 3), PAPER, np.uint8)
    for index, face in enumerate(faces):
        y, x = (index // COLUMNS) * height + GAP, (index % COLUMNS) * width + GAP
        paper[y : y + face.shape[0], x : x + face.shape[1]] = face
    file = io.BytesIO()
    Image.fromarray(paper).save(file, "JPEG", quality=90)
    return file.getvalue()
