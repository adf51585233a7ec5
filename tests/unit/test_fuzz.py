"""Damaged files, by the thousand: each is a picture whose faces are searched, or an ImageError; none hangs."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from perceived import demo_faces, images
from perceived.detector import YuNet
from perceived.errors import ImageError

Damage = Callable[[bytes, np.random.Generator], bytes]
LONGEST = 5.0
"""Seconds one file may take."""


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """One face of nobody in every format, some with orientation, transparency or a palette."""
    folder = tmp_path_factory.mktemp("fuzz")
    demo_faces.write(folder, count=20, seed=3)
    with Image.open(sorted(folder.rglob("*.jpg"))[0]) as opened:
        portrait = opened.convert("RGB").resize((107, 131))
    exif = Image.Exif()
    exif[0x0112] = 6
    variants = [(portrait, kind, {}) for kind in images.FORMATS]
    variants += [(portrait, "JPEG", {"progressive": True, "exif": exif.tobytes()})]
    variants += [(portrait.convert(mode), "PNG", {}) for mode in ("L", "P", "RGBA")]
    files = []
    for image, kind, options in variants:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files.append(buffer.getvalue())
    return files


def read_and_search(originals: list[bytes], damage: Damage, count: int) -> float:
    """Return the share of damaged files that are still pictures; time is the processor's."""
    detector, rng, decoded = YuNet(), np.random.default_rng(0), 0
    for number in range(count):
        data = damage(originals[number % len(originals)], rng)
        start = time.process_time()
        try:
            pixels = images.decode(data)
        except ImageError:
            pass
        else:
            decoded += 1
            height, width = pixels.shape[:2]
            for face in detector.detect(pixels):
                assert 0 <= face.box.x0 < face.box.x1 <= width
                assert 0 <= face.box.y0 < face.box.y1 <= height
        assert time.process_time() - start < LONGEST, f"hangs: {data!r}"
    return decoded / count


def test_a_sample_of_damaged_files(originals: list[bytes], damage: Damage) -> None:
    assert read_and_search(originals, damage, 400) >= 0.3


@pytest.mark.full
def test_a_hundred_thousand_damaged_files(originals: list[bytes], damage: Damage) -> None:
    assert read_and_search(originals, damage, 100_000) >= 0.3
