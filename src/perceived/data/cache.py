"""Decoded pixels, kept: pictures are decoded and framed once and then read as a memory map."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from numpy.lib.format import open_memmap

from perceived import images, storage
from perceived.detector import YuNet, main_face
from perceived.errors import DataError, ImageError, StorageError
from perceived.preprocess import Preprocessing, frame

CHUNK = 256
"""Pictures decoded between two calls of the progress callback."""

Progress = Callable[[int, int], None]


def pixels(
    table: pl.DataFrame, preprocessing: Preprocessing, folder: Path, *, progress: Progress | None = None
) -> npt.NDArray[np.uint8]:
    """Return the framed pictures of ``table`` as a read-only memory map, ``(n, height, width, 3)`` RGB.

    Where the framing asks for alignment, the largest face of each picture is cut out, as a predictor
    would; a picture in which none is found is taken as a face. The file is named after what it holds:
    the hash of the pictures' paths and their framing. A file that is there is checked against its
    recorded SHA-256 and made again if it differs.

    Raises:
        DataError: some pictures cannot be decoded; all of them are named.
        StorageError: the disk has no room.
    """
    key = cache_key(table, preprocessing)
    array, record = folder / f"{key}.npy", folder / f"{key}.json"
    if not _is_intact(array, record):
        _build(table["path"].to_list(), preprocessing, array, progress)
        storage.write_json(record, {"pictures": len(table), "sha256": storage.sha256_file(array)})
    loaded: npt.NDArray[np.uint8] = np.load(array, mmap_mode="r", allow_pickle=False)
    return loaded


def cache_key(table: pl.DataFrame, preprocessing: Preprocessing) -> str:
    """Return 16 hexadecimal digits that change with the pictures, their order or their framing."""
    rows = hashlib.sha256("\n".join(table["path"].to_list()).encode()).hexdigest()
    framing = preprocessing.to_dict()
    del framing["mean"], framing["std"]
    return storage.sha256_json({"rows": rows, "framing": framing})[:16]


def _is_intact(array: Path, record: Path) -> bool:
    if not (array.is_file() and record.is_file()):
        return False
    return bool(storage.read_json(record)["sha256"] == storage.sha256_file(array))


def _build(paths: Sequence[str], preprocessing: Preprocessing, target: Path, progress: Progress | None) -> None:
    shape = (len(paths), preprocessing.height, preprocessing.width, 3)
    _require_room(target.parent, int(np.prod(shape)))
    broken: list[str] = []
    detector = YuNet() if preprocessing.alignment else None

    def fill(row: int) -> None:
        try:
            image = images.load(paths[row])
            face = main_face(detector.detect(image)) if detector else None
            array[row] = frame(image, preprocessing, face)
        except ImageError as error:
            broken.append(f"{paths[row]}: {error.what}")

    with storage.atomic_path(target) as partial, ThreadPoolExecutor(os.cpu_count()) as pool:
        array = open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        for start in range(0, len(paths), CHUNK):
            stop = min(start + CHUNK, len(paths))
            list(pool.map(fill, range(start, stop)))
            if progress:
                progress(stop, len(paths))
        array.flush()
        if broken:
            raise _broken_pictures(broken)


def _require_room(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
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
        f"{len(broken)} pictures of the split cannot be decoded:\n{shown}{more}",
        mend="run 'perceived prepare' again, which leaves unreadable pictures out, and then 'perceived split'",
    )


def describe(array: npt.NDArray[Any]) -> str:
    """Return one line about a cache, for logs."""
    count, height, width, _ = array.shape
    return f"{count:,} pictures of {width}×{height} pixels, {array.nbytes / 1e9:.2f} GB"
