"""What a PNG says of itself without being decoded: its chunks (ISO/IEC 15948, 5.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CRC_BYTES = 4
_HEAD = struct.Struct(">I4s")


def chunks(data: bytes, *, until: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of a PNG's chunks, the end being that of its data, as far as the first of one kind."""
    position = len(SIGNATURE)
    while position + _HEAD.size + CRC_BYTES <= len(data):
        length, kind = _HEAD.unpack_from(data, position)
        end = position + _HEAD.size + length
        yield kind, position, end
        if kind == until:
            return
        position = end + CRC_BYTES
