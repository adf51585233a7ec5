"""Answers as lines of text: a table for people, JSON lines, or CSV."""

from __future__ import annotations

import csv
import enum
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perceived.errors import ConfigError
from perceived.types import SCHEMA_VERSION, Picture, Prediction
from perceived.wording import confidence

TABLE = "{:<18} {:>10}  {:<23}  {}"
CSV_COLUMNS = (
    *("source", "width", "height", "face", "x0", "y0", "x1", "y1", "detection_score", "perceived_gender"),
    *("confidence", "error", "model", "model_sha256", "schema"),
)


class Format(enum.StrEnum):
    """How answers are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


ENDINGS = {".json": Format.JSON, ".jsonl": Format.JSON, ".ndjson": Format.JSON, ".csv": Format.CSV}
"""What a file's name says of its rows."""
_OTHER_FORMATS = {".arrow", ".feather", ".html", ".parquet", ".sqlite", ".tsv", ".xlsx", ".xml", ".yaml", ".yml"}


def choose(*, as_json: bool, as_csv: bool, out: Path | None) -> Format:
    """Return the format that was asked for: by a flag, or by the ending of the file to write.

    Raises:
        ConfigError: two were asked for, or another one.
    """
    if as_json and as_csv:
        raise ConfigError("--json and --csv contradict each other.", mend="give one of them")
    named = None if out is None else ENDINGS.get(out.suffix.lower())
    asked = Format.JSON if as_json else Format.CSV if as_csv else None
    if out is not None and not asked and out.suffix.lower() in _OTHER_FORMATS:
        raise ConfigError(
            f"{out} is named as a file of a format that is not written here.",
            expected=f"a name that ends with {', '.join(ENDINGS)}, or .txt for the table",
        )
    if asked and named and asked is not named:
        raise ConfigError(
            f"--{asked} and the name {out} contradict each other.", mend=f"give one of them, or the ending .{asked}"
        )
    return asked or named or Format.TABLE


def head(form: Format, labels: Sequence[str]) -> str:
    """Return the line above the rows, with its end, or nothing."""
    if form is Format.CSV:
        return _csv([[*CSV_COLUMNS, *(f"probability_{label}" for label in labels)]])
    return TABLE.format("perceived gender", "confidence", "box", "picture") + "\n" if form is Format.TABLE else ""


def rows(form: Format, picture: Picture, labels: Sequence[str]) -> str:
    """Return a picture's lines: one for JSON, else one a face; a picture without any has one too."""
    if form is Format.JSON:
        return json.dumps(picture.to_dict(), allow_nan=False) + "\n"
    if form is Format.CSV:
        faces: Sequence[Prediction | None] = picture.faces or (None,)
        return _csv([_csv_row(picture, index, face, labels) for index, face in enumerate(faces, 1)])
    return "".join(line + "\n" for line in _table_rows(picture))


def _table_rows(picture: Picture) -> list[str]:
    """Name the picture last, because a path may be long and hold anything."""
    name = on_one_line(picture.source)
    if picture.error is not None:
        return [TABLE.format("(unreadable)", "", "", name)]
    if not picture.faces:
        return [TABLE.format("(no face)", "", "", name)]
    return [
        TABLE.format(face.perceived_gender, f"{confidence(face.confidence)}%", _box(face), name).rstrip()
        for face in picture.faces
    ]


def _box(prediction: Prediction) -> str:
    box = prediction.face.box
    return f"{box.x0:.0f},{box.y0:.0f} {box.width:.0f}×{box.height:.0f}"


def _csv_row(picture: Picture, index: int, prediction: Prediction | None, labels: Sequence[str]) -> list[Any]:
    row: list[Any] = [picture.source, picture.width, picture.height]
    if prediction is None:
        row += [""] * 8
    else:
        box = prediction.face.box
        row += [index, box.x0, box.y0, box.x1, box.y1, prediction.face.detection_score]
        row += [prediction.perceived_gender, prediction.confidence]
    row += [picture.error, picture.model, picture.model_sha256, SCHEMA_VERSION]
    return row + [prediction.probability[label] if prediction else "" for label in labels]


def _csv(lines: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return printable(text.getvalue())


def on_one_line(text: str) -> str:
    """Return text that stays on its line of a terminal: line ends and other control characters are escaped."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def printable(text: str) -> str:
    """Return text that any file or terminal takes: a file name that is not Unicode is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
