"""Damage that Pillow's decoders pass over in silence: they fill what is missing with black or grey.

A PNG says by its checksums whether it is whole. A JPEG does not: its decoder fills what its data do
not reach with middle grey, and that is looked for. A JPEG may also ask for any number of passes over
its pixels, which takes time and no bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFile

from perceived import jpeg, png
from perceived.bounds import MAX_CHUNKS, UnreasonableError, require_at_most

MAX_SCANNED_PIXELS = 1_500_000_000
"""Most pixels that all scans of a JPEG may pass over: a dozen scans of the largest picture, hundreds of a usual one."""

_MIDDLE = 128
"""What libjpeg shows of a block without data, in every channel; turned around, as CMYK is stored, one less."""
_MORE_DATA = bytes(range(1, 129))
"""Entropy-coded data: of no effect behind a whole picture, and drawn by a decoder that lacks some."""


def check(image: Image.Image, data: bytes) -> None:
    """Check what can be checked of ``data``, of which ``image`` is the header, before its pixels are decoded.

    Raises:
        ValueError: a PNG is damaged or cut short, or a JPEG has too many scans, or no end where Pillow was told not to
            mind.
    """
    if data.startswith(png.SIGNATURE):
        _check_png(data)
    elif image.format in ("JPEG", "MPO"):
        scans, end = jpeg.scans(data)
        if end is None and ImageFile.LOAD_TRUNCATED_IMAGES:  # somebody else's wish, for all of the process
            raise ValueError("its end is missing")
        if scans * image.width * image.height > MAX_SCANNED_PIXELS:
            raise UnreasonableError(f"{scans} scans of {image.width}×{image.height} pixels")


def check_filled(image: Image.Image, data: bytes, reload: Callable[[bytes], Image.Image]) -> None:
    """Check that the last pixels of a decoded JPEG come from its data.

    Where they are middle grey, the picture is decoded once more, by ``reload``, with more data before
    its end marker: a whole picture stays as it is.

    Raises:
        ValueError: the decoder ran out of data, and filled the rest of the picture.
    """
    if image.format not in ("JPEG", "MPO"):
        return
    last = np.asarray(image.crop((image.width - 1, image.height - 1, image.width, image.height)))
    if not ((last == _MIDDLE) | (last == _MIDDLE - 1)).all():
        return
    _, end = jpeg.scans(data)
    if end is not None and reload(data[:end] + _MORE_DATA + data[end:]).tobytes() != image.tobytes():
        raise ValueError("its data end before its pixels do")


def _check_png(data: bytes) -> None:
    """Compare the checksums of a PNG's critical chunks, up to its end (ISO/IEC 15948, 5.3)."""
    view = memoryview(data)
    for count, (kind, position, end) in enumerate(png.chunks(data, until=b"IEND"), 1):
        require_at_most(MAX_CHUNKS, count, "chunks")
        is_critical = kind[:1].isupper()
        if is_critical and view[end : end + png.CRC_BYTES] != zlib.crc32(view[position + 4 : end]).to_bytes(4, "big"):
            raise ValueError(f"the checksum of its part {kind.decode('latin-1')} is wrong")
        if kind == b"IEND":
            return
    raise ValueError("its end is missing")
