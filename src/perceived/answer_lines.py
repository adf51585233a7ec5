"""The JSON lines of ``perceived predict`` as a table of pictures and their faces."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from perceived.errors import DataError
from perceived.rows import printable

_FACE = pl.Struct(
    {
        "box": pl.List(pl.Float64),
        "perceived_gender": pl.String,
        "probability": pl.Struct({"female": pl.Float64, "male": pl.Float64}),
    }
)
PICTURE: dict[str, type[pl.DataType] | pl.DataType] = {
    "model": pl.String,
    "model_sha256": pl.String,
    "source": pl.String,
    "faces": pl.List(_FACE),
    "error": pl.String,
}
"""What is read of each picture."""


def read(path: Path) -> pl.DataFrame:
    """Return a row of :data:`PICTURE` for each line.

    A name that is not Unicode is escaped as :func:`perceived.rows.printable` does, and so as in the CSV of
    ``perceived predict``.

    Raises:
        DataError: there is no such file, or a line, which is named, is no picture's answer.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist.", expected="JSON lines that 'perceived predict --json' printed")
    try:
        with path.open("rb") as file:  # of a path polars would take [ and * for a pattern
            return pl.read_ndjson(file, schema=PICTURE)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except pl.exceptions.PolarsError:
        return _read_lines(path)


def _read_lines(path: Path) -> pl.DataFrame:
    """Read a file that is not taken as a whole: with names escaped, or as far as the line that is to blame."""
    lines = list(_lines(path))
    try:
        return _table(line for _, line in lines)
    except pl.exceptions.PolarsError:
        for number, line in lines:
            try:
                _table([line])
            except pl.exceptions.PolarsError as error:
                raise _no_answer(path, number, str(error)) from error
        raise


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the escaped JSON of each line that is not empty."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                picture = json.loads(line)
            except json.JSONDecodeError as error:
                raise _no_answer(path, number, error.msg) from error
            except UnicodeDecodeError as error:
                raise _no_answer(path, number, str(error)) from error
            yield number, json.dumps(_escaped(picture)).encode()


def _table(lines: Iterable[bytes]) -> pl.DataFrame:
    return pl.read_ndjson(io.BytesIO(b"\n".join(lines)), schema=PICTURE)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(name): _escaped(one) for name, one in value.items()}
    return [_escaped(one) for one in value] if isinstance(value, list) else value


def _no_answer(path: Path, number: int, why: str) -> DataError:
    return DataError(
        f"Line {number:,} of {path} cannot be read as JSON lines: {why.splitlines()[0][:200]}",
        expected="what 'perceived predict --json' prints, one object for each picture",
        mend="remove the line, or answer its picture again",
    )
