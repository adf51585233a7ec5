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

_Row = tuple[int | None, int | None, str | None]


def pictures(paths: Sequence[str], check: Check = "size", *, progress: Tick | None = None) -> pl.DataFrame:
    """Try every picture and return, in order, ``width`` and ``height`` in pixels or what is wrong in ``_failure``."""
    rows = prefetch.each(lambda path: _try(path, check), paths, progress=progress)
    return pl.DataFrame(rows, schema={"width": pl.Int32, "height": pl.Int32, "_failure": pl.String}, orient="row")


def _try(path: str, check: Check) -> _Row:
    try:
        if check == "decode":
            height, width = images.load(path).shape[:2]
            return width, height, None
        return (*images.probe(path), None)
    except ImageError as error:
        return None, None, error.what
