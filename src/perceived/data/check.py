"""Whether pictures can be read, and their sizes, for hundreds of thousands at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl

from perceived import images, prefetch
from perceived.errors import ImageError
from perceived.progress import Tick

Check = Literal["size", "decode"]
"""How a picture is tried: ``"size"`` reads its header and end, ``"decode"`` decodes it whole."""

_CHUNK = 512
_Row = tuple[int | None, int | None, str | None]


def pictures(paths: Sequence[str], check: Check = "size", *, progress: Tick | None = None) -> pl.DataFrame:
    """Try every picture and return, in order, ``width`` and ``height`` in pixels or what is wrong in ``_failure``."""
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    rows: list[_Row] = []
    threads = min(16, 4 * prefetch.processors())
    for found in prefetch.ahead(lambda chunk: [_try(path, check) for path in chunk], chunks, threads=threads, most=64):
        rows += found
        if progress:
            progress(len(rows), len(paths))
    return pl.DataFrame(rows, schema={"width": pl.Int32, "height": pl.Int32, "_failure": pl.String}, orient="row")


def _try(path: str, check: Check) -> _Row:
    try:
        if check == "decode":
            height, width = images.load(path).shape[:2]
            return width, height, None
        return (*images.probe(path), None)
    except ImageError as error:
        return None, None, error.what
