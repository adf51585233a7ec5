"""What a JPEG says of itself without being decoded: its size, its scans and its end (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

SIGNATURE, END = b"\xff\xd8", b"\xff\xd9"
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
"""A marker, and none of what stands among coded pixels: a stuffed byte, a restart, a fill byte."""
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset((0x01, SIGNATURE[1], END[1]))
_START_OF_SCAN = 0xDA


def size(head: bytes) -> tuple[int, int] | None:
    """Return ``(width, height)`` as stored from a JPEG's first bytes, or ``None`` where they do not say."""
    for marker, position, _ in _markers(head):
        if marker in _FRAME_HEADERS and position + 9 <= len(head):
            height, width = struct.unpack_from(">HH", head, position + 5)
            return width, height
        if marker == _START_OF_SCAN:
            break
    return None


def scans(data: bytes) -> tuple[int, int | None]:
    """Return how many scans a JPEG has, and where its end marker stands, ``None`` if it has none.

    What comes behind it, such as a phone's second picture or video, is not looked at, and neither are
    the thumbnails inside its headers.
    """
    count = 0
    for marker, position, _ in _markers(data):
        count += marker == _START_OF_SCAN
        if marker == END[1]:
            return count, position
    return count, None


def head(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each segment before the coded pixels starts and ends; a length that is missing is 0."""
    for marker, position, end in _markers(data):
        yield position, end
        if marker == _START_OF_SCAN:
            return


def _markers(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each marker of the picture, where it stands and where its segment ends.

    What lies between segments is passed over, as decoders do.
    """
    found = _MARKER.search(data)
    while found:
        marker, position = found[1][0], found.start()
        length = 0 if marker in _STANDALONE else int.from_bytes(data[position + 2 : position + 4], "big")
        end = position + 2 + length
        yield marker, position, end
        found = _MARKER.search(data, end)
