"""Damaged files, by the thousand: each is a picture whose faces are searched, or an ImageError.

None hangs, and none takes more memory than the largest picture does.
"""

from __future__ import annotations

import faulthandler
import io
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from perceived import demo_faces, images
from perceived.detector import YuNet
from perceived.errors import ImageError

Damage = Callable[[bytes, np.random.Generator], bytes]
LONGEST = 5.0
"""Seconds one file may take."""
HANGS = 300.0
"""Seconds after which a file ends the test process: a decoder that never returns cannot be told from within."""
MOST_MEMORY = 12 * images.MAX_PIXELS
"""Bytes that all files together may add to the process."""


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """One face of nobody in every format, some with orientation, transparency, a palette, 16 bits or a film behind."""
    folder = tmp_path_factory.mktemp("fuzz")
    demo_faces.write(folder, count=20, seed=3)
    with Image.open(sorted(folder.rglob("*.jpg"))[0]) as opened:
        portrait = opened.convert("RGB").resize((107, 131))
    exif = Image.Exif()
    exif[0x0112] = 6
    variants = [(portrait, kind, {}) for kind in images.FORMATS]
    variants += [(portrait, "JPEG", {"progressive": True, "exif": exif.tobytes()})]
    variants += [(portrait.convert(mode), "PNG", {}) for mode in ("L", "P", "RGBA")]
    variants += [(portrait.convert("L").convert("I;16"), kind, {}) for kind in ("PNG", "TIFF")]
    variants += [(portrait, "MPO", {"save_all": True, "append_images": [portrait]})]
    files = []
    for image, kind, options in variants:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files.append(buffer.getvalue())
    return [*files, files[0] + np.random.default_rng(2).bytes(2000)]


def read_and_search(originals: list[bytes], damage: Damage, count: int) -> float:
    """Return the share of damaged files that are still pictures; time is the processor's."""
    detector, rng, decoded = YuNet(), np.random.default_rng(0), 0
    before = forget_peak()
    for number in range(count):
        data = damage(originals[number % len(originals)], rng)
        start = time.process_time()
        faulthandler.dump_traceback_later(HANGS, exit=True)
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
        finally:
            faulthandler.cancel_dump_traceback_later()
        assert time.process_time() - start < LONGEST, f"hangs: {data!r}"
    assert peak() - before < MOST_MEMORY
    return decoded / count


def forget_peak() -> int:
    """Forget how much memory this process had at most; return how much it has, in bytes, or 0 where that is unknown."""
    if sys.platform != "linux":
        return 0
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Return how much memory this process has had at most, in bytes, or 0 where that is unknown."""
    if sys.platform != "linux":
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much memory there was at most")
def test_memory_that_was_given_back_is_noticed() -> None:
    before = forget_peak()
    np.ones(25_000_000)
    assert 190e6 < peak() - before < 300e6


def test_a_sample_of_damaged_files(originals: list[bytes], damage: Damage) -> None:
    assert read_and_search(originals, damage, 400) >= 0.3


@pytest.mark.full
def test_a_hundred_thousand_damaged_files(originals: list[bytes], damage: Damage) -> None:
    assert read_and_search(originals, damage, 100_000) >= 0.3
