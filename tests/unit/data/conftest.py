"""Small copies of a set in CelebA's shape, in every layout people have it in."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from perceived.data.celeba import ATTRIBUTES, LANDMARKS

LAYOUTS = (
    "kaggle",
    "kaggle nested",
    "kaggle zip",
    "kaggle zip in a folder",
    "original",
    "original zip",
    "torchvision",
    "torchvision zip",
)


def jpeg(seed: int | Sequence[int] = 0, size: tuple[int, int] = (22, 27)) -> bytes:
    """Return a little JPEG of noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


@dataclass
class Faces:
    """Rows and pictures, to be changed by a test before they are written in a layout.

    A row is ``(id, attribute values, partition, identity)``, all strings.
    """

    rows: list[tuple[str, list[str], str, str]] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)

    def write(self, root: Path, layout: str = "kaggle nested") -> Path:
        """Write the set below ``root`` and return what to hand to ``prepare``."""
        root.mkdir(parents=True, exist_ok=True)
        folder, files = root / "set", self._csv() if layout.startswith("kaggle") else self._text()
        pictures = {f"img_align_celeba/{name}": data for name, data in self.pictures.items()}
        if layout.startswith("kaggle"):
            if layout != "kaggle":
                pictures = {f"img_align_celeba/{name}": data for name, data in pictures.items()}
            if "zip" not in layout:
                return _write(folder, files | pictures)
            archive = _zip(root / "set" / "archive.zip", files | pictures | {"__MACOSX/._000001.jpg": b"x"})
            return folder if "folder" in layout else archive
        if layout.startswith("torchvision"):
            _write(folder / "celeba", files)
            where = folder / "celeba"
        else:
            _write(folder / "Anno", {name: data for name, data in files.items() if "partition" not in name})
            _write(folder / "Eval", {name: data for name, data in files.items() if "partition" in name})
            where = folder / "Img"
        if layout.endswith("zip"):
            _zip(where / "img_align_celeba.zip", pictures)
        else:
            _write(where, pictures)
        return folder

    def _csv(self) -> dict[str, bytes]:
        attributes = [",".join(["image_id", *ATTRIBUTES])] + [",".join([row[0], *row[1]]) for row in self.rows]
        boxes = [f"{row[0]},{i},2,3,4" for i, row in enumerate(self.rows)]
        points = [f"{row[0]},{i},2,3,4,5,6,7,8,9,10" for i, row in enumerate(self.rows)]
        return {
            "list_attr_celeba.csv": _lines(attributes),
            "list_eval_partition.csv": _lines(["image_id,partition"] + [f"{row[0]},{row[2]}" for row in self.rows]),
            "identity_CelebA.txt": _lines([f"{row[0]} {row[3]}" for row in self.rows]),
            "list_bbox_celeba.csv": _lines(["image_id,x_1,y_1,width,height", *boxes]),
            "list_landmarks_align_celeba.csv": _lines([",".join(["image_id", *LANDMARKS]), *points]),
        }

    def _text(self) -> dict[str, bytes]:
        """Write tables as the original release does: a count, padded columns, carriage returns."""
        count = str(len(self.rows))
        attributes = [row[0] + "".join(f"{value:>3}" for value in row[1]) for row in self.rows]
        boxes = [f"{row[0]}  {i:>4}    2   3   4" for i, row in enumerate(self.rows)]
        points = [f"{row[0]}  {i:>3}    2   3   4    5    6    7   8   9   10" for i, row in enumerate(self.rows)]
        tables = {
            "list_attr_celeba.txt": [count, " ".join(ATTRIBUTES) + " ", *attributes],
            "list_eval_partition.txt": [f"{row[0]} {row[2]}" for row in self.rows],
            "identity_CelebA.txt": [f"{row[0]} {row[3]}" for row in self.rows],
            "list_bbox_celeba.txt": [count, "image_id x_1 y_1 width height ", *boxes],
            "list_landmarks_align_celeba.txt": [count, " ".join(LANDMARKS) + " ", *points],
        }
        return {name: _lines(lines, "\r\n") for name, lines in tables.items()}


def _lines(lines: list[str], end: str = "\n") -> bytes:
    return "".join(line + end for line in lines).encode()


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def _zip(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def faces() -> Faces:
    """Twenty-four pictures of twelve people, eight in each partition, half of them Male."""
    made = Faces()
    rng = np.random.default_rng(1)
    male = ATTRIBUTES.index("Male")
    for i in range(24):
        values = [("-1", "1")[bit] for bit in rng.integers(0, 2, len(ATTRIBUTES))]
        values[male] = ("-1", "1")[i % 2]
        name = f"{i + 1:06}.jpg"
        made.rows.append((name, values, str(i // 8), str(100 + i // 2)))
        made.pictures[name] = jpeg(i)
    return made


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    """Each layout in turn."""
    return str(request.param)


@pytest.fixture
def make_jpeg() -> Callable[..., bytes]:
    return jpeg
