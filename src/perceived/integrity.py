"""What Pillow's decoders pass over in silence, and what takes them more time than a picture is worth.

They fill what is missing with black or grey. A PNG says by its checksums whether it is whole. A JPEG does not: its
decoder fills what its data do not reach with middle grey, and that is looked for. A file of a few megabytes may
keep a decoder busy for minutes: by many passes over its pixels, many small parts or comments, each of which is put
behind those before it by copying them all, or numbers written out as text.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageFile

from perceived import jpeg

MAX_SCANNED_PIXELS = 1_500_000_000
"""Most pixels that all scans of a JPEG may pass over: a dozen scans of the largest picture, hundreds of a usual one."""

MAX_PARTS = 10_000
"""Most parts before the pixels of a JPEG or PNG: a JPEG's colour profile may have 255, a phone's map of depths 200."""
MAX_COPIED = 2**31
"""Most bytes that a decoder copies to join the parts of a JPEG's EXIF data or of a GIF's comments one by one."""
MAX_CHUNKS = 100_000
"""Most chunks of a PNG, or parts of a GIF's extensions: writers take thousands of bytes for the ones, 255 for the
others."""
MAX_JUNK = 2**16
"""Most bytes of a header that belong to no part of it."""
MAX_COMMENTS = 1_000
"""Most comments of a PNM of text."""
MAX_SLOW_BYTES = 4 * 2**20
"""Longest PNM whose numbers are read one by one: those of text, or of an unusual scale."""
_PNM_TOKENS = {**dict.fromkeys((b"P1", b"P4"), 3), **dict.fromkeys((b"P2", b"P3", b"P5", b"P6"), 4)}
_PNM_TEXT = (b"P1", b"P2", b"P3")
_PNM_FAST = ((b"P4", None), (b"P5", 255), (b"P6", 255), (b"P5", 65535))
_EXIF = b"Exif\0\0"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEAD = struct.Struct(">I4s")
_CRC_BYTES = 4
_MIDDLE = 128
"""What libjpeg shows of a block without data, in every channel; turned around, as CMYK is stored, one less."""
_MORE_DATA = bytes(range(1, 129))
"""Entropy-coded data: of no effect behind a whole picture, and drawn by a decoder that lacks some."""


class UnreasonableError(ValueError):
    """A file may be whole, but has more of something than any camera or program writes."""


def check_head(data: bytes) -> None:
    """Check the head of a file before a decoder looks at it: how much there is of what takes long.

    Raises:
        UnreasonableError: there is too much of it.
        ValueError: there is no end to the header.
    """
    if data.startswith(jpeg.SIGNATURE):
        _check_jpeg_head(data)
    elif data.startswith(_PNG_SIGNATURE):
        _require_at_most(MAX_PARTS, sum(1 for _ in _png_chunks(data, until=b"IDAT")), "parts before its pixels")
    elif data.startswith(b"GIF8"):
        _check_gif_head(data)
    elif data[:2] in _PNM_TOKENS:
        _check_pnm(data)


def _check_jpeg_head(data: bytes) -> None:
    joined = copied = junk = expected = 0
    for count, (start, end) in enumerate(jpeg.head(data), 1):
        if data.startswith(_EXIF, start + 4):
            joined += end - start
            copied += joined
        junk, expected = junk + start - expected, end
        _require_at_most(MAX_PARTS, count, "parts before its pixels")
    _require_at_most(MAX_COPIED, copied, "bytes to copy for its EXIF data")
    _require_at_most(MAX_JUNK, junk, "bytes of nothing in its header")


def _check_gif_head(data: bytes) -> None:
    """Go through the extensions before a GIF's first picture (89a specification, 15 to 26)."""
    place = 13 + (3 * 2 ** ((data[10] & 7) + 1) if len(data) > 10 and data[10] & 0x80 else 0)
    joined = copied = count = 0
    while data[place : place + 1] == b"!":
        is_comment = data[place + 1 : place + 2] == b"\xfe"
        place += 2
        while place < len(data) and data[place]:
            if is_comment:
                joined += data[place]
                copied += joined
            count, place = count + 1, place + 1 + data[place]
            _require_at_most(MAX_CHUNKS, count, "parts before its pixels")
        count, place = count + 1, place + 1
        _require_at_most(MAX_CHUNKS, count, "parts before its pixels")
    _require_at_most(MAX_COPIED, copied, "bytes to copy for its comments")


def _check_pnm(data: bytes) -> None:
    tokens = re.sub(rb"#[^\r\n]*", b"", data[:MAX_JUNK]).split()[: _PNM_TOKENS[data[:2]]]
    if len(tokens) < _PNM_TOKENS[data[:2]]:
        raise ValueError("its header says no size")
    scale = int(tokens[3]) if len(tokens) > 3 else None
    if (data[:2], scale) in _PNM_FAST:
        return
    _require_at_most(MAX_SLOW_BYTES, len(data), "bytes of a PNM whose numbers are text, or of a scale other than 255")
    if data[:2] in _PNM_TEXT:
        _require_at_most(MAX_COMMENTS, data.count(b"#"), "comments")


def _require_at_most(most: int, found: int, what: str) -> None:
    if found > most:
        raise UnreasonableError(f"more than {most:,} {what}")


def check(image: Image.Image, data: bytes) -> None:
    """Check what can be checked of ``data``, of which ``image`` is the header, before its pixels are decoded.

    Raises:
        ValueError: a PNG is damaged or cut short, or a JPEG has too many scans, or no end where Pillow was told not to
            mind.
    """
    if data.startswith(_PNG_SIGNATURE):
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
    for count, (kind, position, end) in enumerate(_png_chunks(data, until=b"IEND"), 1):
        _require_at_most(MAX_CHUNKS, count, "chunks")
        is_critical = kind[:1].isupper()
        if is_critical and view[end : end + _CRC_BYTES] != zlib.crc32(view[position + 4 : end]).to_bytes(4, "big"):
            raise ValueError(f"the checksum of its part {kind.decode('latin-1')} is wrong")
        if kind == b"IEND":
            return
    raise ValueError("its end is missing")


def _png_chunks(data: bytes, *, until: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of a PNG's chunks, the end being that of its data, as far as the first of one kind."""
    position = len(_PNG_SIGNATURE)
    while position + _PNG_HEAD.size + _CRC_BYTES <= len(data):
        length, kind = _PNG_HEAD.unpack_from(data, position)
        end = position + _PNG_HEAD.size + length
        yield kind, position, end
        if kind == until:
            return
        position = end + _CRC_BYTES
