"""How much a picture's head may ask of a decoder: a file of a few megabytes can keep one busy for minutes.

It does so by many small parts or comments, each of which is put behind those before it by copying them all, or by
numbers that are written out as text.
"""

from __future__ import annotations

import re

from perceived import jpeg, png

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


class UnreasonableError(ValueError):
    """A file may be whole, but has more of something than any camera or program writes."""


def check(data: bytes) -> None:
    """Check the head of a file before a decoder looks at it: how much there is of what takes long.

    Raises:
        UnreasonableError: there is too much of it.
        ValueError: there is no end to the header.
    """
    if data.startswith(jpeg.SIGNATURE):
        _check_jpeg_head(data)
    elif data.startswith(png.SIGNATURE):
        require_at_most(MAX_PARTS, sum(1 for _ in png.chunks(data, until=b"IDAT")), "parts before its pixels")
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
        require_at_most(MAX_PARTS, count, "parts before its pixels")
    require_at_most(MAX_COPIED, copied, "bytes to copy for its EXIF data")
    require_at_most(MAX_JUNK, junk, "bytes of nothing in its header")


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
            require_at_most(MAX_CHUNKS, count, "parts before its pixels")
        count, place = count + 1, place + 1
        require_at_most(MAX_CHUNKS, count, "parts before its pixels")
    require_at_most(MAX_COPIED, copied, "bytes to copy for its comments")


def _check_pnm(data: bytes) -> None:
    tokens = re.sub(rb"#[^\r\n]*", b"", data[:MAX_JUNK]).split()[: _PNM_TOKENS[data[:2]]]
    if len(tokens) < _PNM_TOKENS[data[:2]]:
        raise ValueError("its header says no size")
    scale = int(tokens[3]) if len(tokens) > 3 else None
    if (data[:2], scale) in _PNM_FAST:
        return
    require_at_most(MAX_SLOW_BYTES, len(data), "bytes of a PNM whose numbers are text, or of a scale other than 255")
    if data[:2] in _PNM_TEXT:
        require_at_most(MAX_COMMENTS, data.count(b"#"), "comments")


def require_at_most(most: int, found: int, what: str) -> None:
    """Raise :class:`UnreasonableError` if there are more than the ``most`` of something."""
    if found > most:
        raise UnreasonableError(f"more than {most:,} {what}")
