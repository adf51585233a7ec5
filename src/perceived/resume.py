"""A long list of answers that was interrupted, picked up where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perceived.errors import ResumeError
from perceived.storage import atomic_path
from perceived.types import SCHEMA_VERSION


def answered(path: Path, model_sha256: str) -> set[str]:
    """Return the sources that the JSON lines at ``path`` answer, and make the file ready to be appended to.

    What an interruption left of the last line is cut off, and rows with an ``error`` are taken out:
    those pictures are tried again. A file that does not exist answers nothing.

    Raises:
        ResumeError: the file is something else, or another model answered.
        StorageError: it cannot be written.
    """
    if not path.exists():
        return set()
    sources: set[str] = set()
    with open(path, "rb") as before, atomic_path(path) as partial, open(partial, "wb") as after:
        for number, line in enumerate(before, 1):
            if not line.endswith(b"\n"):
                break
            row = _row(line, path, number)
            _check(row, path, model_sha256)
            if row["error"] is None:
                sources.add(row["source"])
                after.write(line)
    return sources


def _row(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if not {"source", "error", "model_sha256", "schema"} <= row.keys():
            raise ValueError("it has no source, error, model_sha256 and schema")
    except (ValueError, AttributeError) as error:
        raise ResumeError(
            f"{path} cannot be continued: line {number} is no answer of ours: {error}.",
            expected="what 'perceived predict --json' wrote",
            mend="give the file of the run that was interrupted, or a new name",
        ) from error
    assert isinstance(row, dict)
    return row


def _check(row: dict[str, Any], path: Path, model_sha256: str) -> None:
    if (row["schema"], row["model_sha256"]) != (SCHEMA_VERSION, model_sha256):
        raise ResumeError(
            f"{path} was begun with the model {row.get('model')!r} ({str(row['model_sha256'])[:12]}),"
            f" schema {row['schema']}.",
            expected=f"the model {model_sha256[:12]}, schema {SCHEMA_VERSION}: one file holds one model's answers",
            mend="use the same --model, or write to another file",
        )
