"""A long list of answers that was interrupted, picked up where it stopped."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from perceived.classifier import label_at
from perceived.errors import ResumeError, StorageError
from perceived.storage import atomic_path, lock, make_folder, replaceable, storage_errors
from perceived.types import SCHEMA_VERSION, Box, Face

if TYPE_CHECKING:
    from perceived.client import Client
    from perceived.predictor import Predictor

_MEMBERS = {"source", "width", "height", "faces", "error", "model", "model_sha256", "schema"}
_BEGINNING = b'{"schema": '
"""Of every row."""
_FACE_MEMBERS = {"box", "detection_score", "perceived_gender", "confidence", "probability"}


@dataclass(slots=True)
class Before:
    """What earlier runs wrote: all sources, those that are answered, and how many rows with an error stay."""

    sources: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    unreadable: int = 0


def answered(path: Path, predictor: Predictor | Client, asked: Callable[[], Collection[str]]) -> Before:
    """Return what the JSON lines at ``path`` answer, and make the file ready to be appended to.

    What an interruption left of the last line is cut off, and rows with an ``error`` are taken out where
    their pictures are among those that are ``asked`` for now: they are tried again. A file that does not
    exist answers nothing.

    Raises:
        ResumeError: the file is something else, another model answered, another run is writing to it, or an
            answer in it cannot be what ``predictor``, with its threshold and its choice of faces, would say. That
            ``predictor`` would say more, having found more faces, cannot be told.
        StorageError: it cannot be read or written.
    """
    found = Before()
    with contextlib.ExitStack() as stack:
        stack.enter_context(storage_errors(path))
        if not path.exists():
            return found
        replaceable(path)  # a pipe would never open
        before = stack.enter_context(open(path, "rb"))
        hold(before, path)  # until the new file has its name
        partial = stack.enter_context(atomic_path(path))
        after = stack.enter_context(open(partial, "wb"))
        retried: Collection[str] | None = None
        for number, line in enumerate(before, 1):
            if not line.endswith(b"\n"):
                line = line.rstrip(b"\0")  # what a crash of the machine may leave in place of what was not written yet
                if not (line.startswith(_BEGINNING) or _BEGINNING.startswith(line)):
                    _row(line, path, number)  # nothing of ours, however short: it is not cut off
                break
            row = _row(line, path, number)
            if row.get("error") is None or row.get("model_sha256"):  # an error that no model was asked about has none
                _check_model(row, path, predictor.model_sha256)
            found.sources.add(row["source"])
            if row["error"] is None:
                try:
                    other = _differs(row, predictor)
                except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
                    raise _no_answer(path, number, error) from error
                if other:
                    raise _begun_otherwise(path, number, other)
                found.answered.add(row["source"])
            elif row["source"] in (retried := asked() if retried is None else retried):
                continue
            else:
                found.unreadable += 1
            after.write(line)
    return found


def hold(file: IO[Any], path: Path) -> None:
    """Keep other runs from the file at ``path`` for as long as it is open as ``file``.

    Raises:
        ResumeError: another run holds it, or has put a new one in its place since it was opened.
    """
    if not (lock(file) and _stands_at(file, path)):
        raise ResumeError(
            f"Another run is writing its answers to {path}.",
            expected="one run at a time",
            mend="wait until it has ended, or give another file",
        )


@contextlib.contextmanager
def appending(path: Path) -> Iterator[IO[str]]:
    """Open the list at ``path`` for more answers, a line at a time, and keep other runs from it.

    Raises:
        ResumeError: another run holds it.
        StorageError: it cannot be written, or was removed or replaced by the end.
    """
    with storage_errors(path):
        make_folder(path.parent)
        with open(path, "a", encoding="utf-8", buffering=1) as file:
            hold(file, path)
            yield file
            _require_kept(file, path)


def _require_kept(file: IO[Any], path: Path) -> None:
    """Refuse to have written to a file that has no name any more: editors and ``sed -i`` put new ones in its place."""
    if not _stands_at(file, path):
        raise StorageError(
            f"{path} was removed or replaced while answers were written to it.",
            mend="run the same command again, which answers what is missing there",
        )


def _stands_at(file: IO[Any], path: Path) -> bool:
    """Say whether an open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))  # noqa: PTH116 -- beside fstat
    except FileNotFoundError:
        return False


def _row(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if not row.keys() >= _MEMBERS:
            raise ValueError(f"it has no {' and no '.join(sorted(_MEMBERS - row.keys()))}")
        if not all(face.keys() >= _FACE_MEMBERS for face in row["faces"]):
            raise ValueError(f"a face of it lacks one of {', '.join(sorted(_FACE_MEMBERS))}")
        if not isinstance(row["source"], str):
            raise TypeError("its source is no text")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _no_answer(path, number, error) from error
    assert isinstance(row, dict)
    return row


def _no_answer(path: Path, number: int, error: Exception) -> ResumeError:
    return ResumeError(
        f"{path} cannot be continued: line {number} is no answer of ours: {error}.",
        expected="what 'perceived predict --json' wrote",
        mend="give the file of the run that was interrupted, or a new name",
    )


def _check_model(row: dict[str, Any], path: Path, model_sha256: str) -> None:
    if (row["schema"], row["model_sha256"]) != (SCHEMA_VERSION, model_sha256):
        raise ResumeError(
            f"{path} was begun with the model {row.get('model')!r} ({str(row['model_sha256'])[:12]}),"
            f" schema {row['schema']}.",
            expected=f"the model {model_sha256[:12]}, schema {SCHEMA_VERSION}: one file holds one model's answers",
            mend="use the same --model, or write to another file",
        )


def _differs(row: dict[str, Any], predictor: Predictor | Client) -> str:
    """Say in which way a row was answered otherwise than ``predictor`` would, or nothing."""
    faces, threshold = row["faces"], predictor.threshold
    if predictor.detects and any(face["detection_score"] is None for face in faces):
        return "with --no-detect, which takes a picture as a face"
    if not predictor.detects and not (faces and all(face["detection_score"] is None for face in faces)):
        return "without --no-detect, by looking for faces"
    for face in faces:
        if face["perceived_gender"] != label_at(threshold, face["probability"]):
            return (
                f"with another threshold than {threshold:g}: {face['confidence']:.1%} is"
                f" {face['perceived_gender']!r} there"
            )
    boxes = [Face(box=Box(**dict(zip(("x0", "y0", "x1", "y1"), face["box"], strict=True)))) for face in faces]
    if predictor.detects and predictor.selection.of(boxes, row["width"], row["height"]) != boxes:
        return "for more faces than --min-face, --max-faces or --main-face leave now"
    return ""


def _begun_otherwise(path: Path, number: int, how: str) -> ResumeError:
    return ResumeError(
        f"{path} cannot be continued: line {number} was answered {how}.",
        expected="the options of the run that was interrupted: one file holds answers of one kind",
        mend="give the same options, or write to another file",
    )
