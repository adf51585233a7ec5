"""Pictures that are there twice: a perceptual hash finds them, their thumbnails confirm it.

The hash is the usual one of 64 bits: whether each of the lowest frequencies of a grey thumbnail is
above their median (Zauner 2010, "Implementation and benchmarking of perceptual image hash
functions"). It survives another size, another compression and a little light. Faces that are framed
alike share much of it, so a pair it finds only counts when the thumbnails themselves agree.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from perceived import images, prefetch, storage
from perceived.data import cache
from perceived.errors import ImageError
from perceived.preprocess import Pixels
from perceived.progress import Tick

SIDE = 32
"""Pixels of a thumbnail's side."""
LOWEST = 8
"""Frequencies in each direction that make the hash: 8 × 8 bits."""
MOST_BITS = 6
"""Bits in which the hashes of two pictures may differ to be looked at more closely."""
LEAST_CORRELATION = 0.985
"""Correlation of two thumbnails from which they are the same picture."""
NOTHING = np.uint64(0)
"""The hash of a picture that cannot be read, or in which there is nothing to tell it by."""

_FLAT = 4.0
"""Standard deviation of grey values below which a picture is taken as blank."""
_ROWS = 32
"""Pictures that are compared with all later ones at a time: more take more memory, and no less time."""
_READERS = 4

Hashes = npt.NDArray[np.uint64]
Pair = tuple[int, int, int, float]
"""Two rows, the first one earlier, the bits in which their hashes differ, and their thumbnails' correlation."""


def thumbnail(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Return an RGB picture ``(h, w, 3)`` as a grey square of :data:`SIDE` pixels."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small: npt.NDArray[np.float32] = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    return small


def perceptual_hash(pixels: Pixels) -> np.uint64:
    """Return the hash of an RGB picture, or :data:`NOTHING` for one that is blank."""
    small = thumbnail(pixels)
    if small.std() < _FLAT:
        return NOTHING
    lowest = cv2.dct(small)[:LOWEST, :LOWEST].ravel()
    bits = lowest > np.median(lowest[1:])
    bits[0] = True  # mean brightness says little; so set, no hash is NOTHING
    return np.uint64(int.from_bytes(np.packbits(bits).tobytes(), "big"))


def hash_files(paths: Sequence[str], folder: Path, *, progress: Tick | None = None) -> Hashes:
    """Return the hash of every picture ``(n,)``; they are computed once and kept in ``folder``.

    A picture that has none is looked at again each time: it may have been out of reach.
    """

    def write(file: Path) -> None:
        with open(file, "wb") as opened:
            np.save(opened, _hashes(paths, progress))

    key = f"hashes-{storage.sha256_json([SIDE, LOWEST, list(paths)])[:16]}"
    found: Hashes = np.array(cache.keep(folder, key, write, source=cache.bytes_of(paths, gaps=True)))
    without = np.flatnonzero(found == NOTHING).tolist()
    found[without] = _hashes([paths[row] for row in without], progress)
    return found


def _hashes(paths: Sequence[str], progress: Tick | None) -> Hashes:
    def read(path: str) -> np.uint64:
        try:
            return perceptual_hash(images.load(path))
        except ImageError:
            return NOTHING

    found = np.empty(len(paths), np.uint64)
    for row, value in enumerate(prefetch.ahead(read, paths, threads=_READERS, most=64)):
        found[row] = value
        if progress and ((row + 1) % cache.CHUNK == 0 or row + 1 == len(paths)):
            progress(row + 1, len(paths))
    return found


def close(hashes: Hashes, *, most: int = MOST_BITS) -> Iterator[tuple[int, int, int]]:
    """Yield all pairs of rows, the first one earlier, whose hashes differ in at most ``most`` bits, and in how many."""
    rows = np.flatnonzero(hashes != NOTHING)
    values = hashes[rows]
    for start in range(0, len(rows), _ROWS):
        bits = np.bitwise_count(values[start : start + _ROWS, None] ^ values[None, start:])
        for first, second in zip(*np.divmod(np.flatnonzero(bits <= most), bits.shape[1]), strict=True):
            if first < second:
                yield int(rows[start + first]), int(rows[start + second]), int(bits[first, second])


def find(paths: Sequence[str], hashes: Hashes) -> tuple[list[Pair], set[int]]:
    """Return the pairs of pictures that are the same but for size, compression and a little light.

    And the rows that would have had to be looked at for it and cannot be read, though they have a hash:
    pictures that have gone out of reach since.
    """
    unread: set[int] = set()

    @functools.lru_cache(maxsize=1024)
    def seen(row: int) -> npt.NDArray[np.float32] | None:
        try:
            return thumbnail(images.load(paths[row])).ravel()
        except ImageError:
            unread.add(row)
            return None

    found = []
    for first, second, bits in close(hashes):
        one, other = seen(first), seen(second)
        if one is None or other is None:
            continue
        correlation = float(np.corrcoef(one, other)[0, 1])
        if correlation >= LEAST_CORRELATION:
            found.append((first, second, bits, correlation))
    return found, unread
