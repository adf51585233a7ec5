"""Decoded pixels, kept: pictures are decoded and framed once and then read as a memory map."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from numpy.lib.format import open_memmap

from perceived import archive, images, prefetch, storage
from perceived.detector import YuNet, largest_face
from perceived.errors import DataError, ImageError, StorageError
from perceived.preprocess import Preprocessing, frame
from perceived.progress import Tick
from perceived.wording import counted

CHUNK = 256
"""Pictures decoded between two calls of the progress callback."""


def pixels(
    table: pl.DataFrame, preprocessing: Preprocessing, folder: Path, *, progress: Tick | None = None
) -> npt.NDArray[np.uint8]:
    """Return the framed pictures of ``table`` as a read-only memory map, ``(n, height, width, 3)`` RGB.

    Where the framing asks for alignment, the largest face of each picture is cut out, as a predictor
    would for it; a picture in which none is found is taken as a face. The file is named after what it holds:
    the hash of the pictures' paths, their order and framing.

    Raises:
        DataError: some pictures cannot be decoded; all of them are named.
        StorageError: the disk has no room.
    """
    paths = table["path"].to_list()
    shape = (len(paths), preprocessing.height, preprocessing.width, 3)

    def write(file: Path) -> None:
        _require_room(folder, int(np.prod(shape)))
        _decode(paths, preprocessing, open_reserved(file, np.uint8, shape), progress)

    return keep(folder, cache_key(table, preprocessing), write, source=bytes_of(paths))


def keep(folder: Path, key: str, write: Callable[[Path], None], *, source: str | None = None) -> npt.NDArray[Any]:
    """Return the array ``{key}.npy`` as a read-only memory map; ``write`` makes the file where it is needed.

    A file that is there is checked against its recorded SHA-256 and ``source``, a hash that changes with
    what it was made from, and made again if they differ. Without a ``source`` the file is all there is
    to go by: the pictures may be out of reach.
    """
    array, record = folder / f"{key}.npy", folder / f"{key}.json"
    if not _is_intact(array, record, source):
        with storage.atomic_path(array) as partial:
            write(partial)
        count = len(np.load(array, mmap_mode="r", allow_pickle=False))
        storage.write_json(record, {"pictures": count, "sha256": storage.sha256_file(array), "source": source})
    loaded: npt.NDArray[Any] = np.load(array, mmap_mode="r", allow_pickle=False)
    return loaded


def open_reserved(file: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Make a file and return it as a writable memory map whose room on the disk is already taken.

    A sparse file would find out too late that the disk is full, when the system can only kill the process.
    """
    array: npt.NDArray[Any] = open_memmap(file, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with open(file, "r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    return array


def cache_key(table: pl.DataFrame, preprocessing: Preprocessing) -> str:
    """Return 16 hexadecimal digits that change with the pictures, their order or their framing."""
    rows = hashlib.sha256("\n".join(table["path"].to_list()).encode()).hexdigest()
    framing = preprocessing.to_dict()
    del framing["mean"], framing["std"]
    return storage.sha256_json({"rows": rows, "framing": framing})[:16]


def _is_intact(array: Path, record: Path, source: str | None) -> bool:
    if not (array.is_file() and record.is_file()):
        return False
    try:
        recorded = storage.read_json(record)
        same_source = source is None or recorded.get("source") == source
        return bool(same_source and recorded["sha256"] == storage.sha256_file(array))
    except (DataError, KeyError, AttributeError):
        return False


def bytes_of(paths: Sequence[str], *, gaps: bool = False) -> str | None:
    """Return a hash of the sizes of the pictures' files, or nothing where one is out of reach.

    With ``gaps``, nothing only where all are out of reach; a single one counts as a file without a size.
    Sizes, because a disk that is mounted anew may give its files other dates.
    """
    files = dict.fromkeys((archive.split_location(path) or (path,))[0] for path in paths)
    sizes = [_size(file) for file in files]
    reached = [size is not None for size in sizes]
    return storage.sha256_json(sizes) if (any(reached) if gaps else all(reached)) else None


def _size(file: str) -> int | None:
    try:
        return os.stat(file).st_size  # noqa: PTH116 -- twice as quick
    except OSError:
        return None


def _decode(
    paths: Sequence[str], preprocessing: Preprocessing, array: npt.NDArray[np.uint8], progress: Tick | None
) -> None:
    """Fill the rows of ``array`` with the framed pictures."""
    broken: list[str] = []
    detector = YuNet() if preprocessing.alignment else None

    def fill(row: int) -> None:
        try:
            image = images.load(paths[row])
            face = largest_face(detector.detect(image)) if detector else None
            array[row] = frame(image, preprocessing, face)
        except ImageError as error:
            broken.append(error.what)

    filled = prefetch.ahead(fill, range(len(paths)), threads=prefetch.processors(), most=CHUNK)
    for done, _ in enumerate(filled, 1):
        if progress and (done % CHUNK == 0 or done == len(paths)):
            progress(done, len(paths))
    if broken:
        raise _broken_pictures(broken)


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"The pixel cache in {folder} needs {needed / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB free.",
            expected="room for every decoded picture of the split",
            mend="free some space, put the workspace on a larger disk, or make a smaller split",
        )


def _broken_pictures(broken: list[str]) -> DataError:
    shown = "\n".join(f"  {line}" for line in sorted(broken)[:20])
    more = f"\n  … and {len(broken) - 20} more" if len(broken) > 20 else ""
    return DataError(
        f"{counted(len(broken), 'picture')} of the split cannot be decoded:\n{shown}{more}",
        mend="run 'perceived prepare' again with --check decode, which finds them and leaves them out, and then "
        "'perceived split'",
    )
