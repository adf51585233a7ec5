"""Answers of any model beside the truth, as one table: read, matched by id, and nothing dropped unseen.

Predictions come as CSV (``id,perceived_gender[,probability_male]``), as the Parquet file that
``perceived evaluate`` writes, or as what ``perceived predict`` writes: JSON lines, CSV or a cluster's
folder. Labels come as CSV or Parquet (``id,label`` and one column for each grouping) or from a workspace.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from polars import selectors

from perceived import answer_lines, columns
from perceived.data.labels import LEFT_OUT
from perceived.errors import DataError
from perceived.spec import LABELS, UNCERTAIN
from perceived.wording import counted, first_line
from perceived.workspace import Workspace

MISSED = "missed"
"""The answer of a picture that has none: no face was found in it, or it cannot be read."""
ANSWERS = (*LABELS, UNCERTAIN, MISSED)
ANSWER = "perceived_gender"
"""The column of answers, in tables and in JSON lines."""
MEANINGS = (*ANSWERS, LEFT_OUT)
WITHOUT_PREDICTION = "labels without a prediction"

_SHOWN = 5


@dataclass(slots=True)
class Reading:
    """What became of the rows on the way: how many were left out and why, and what a reader must know."""

    excluded: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    model: dict[str, Any] | None = None
    """Whose answers they are, with ``name`` and ``sha256``, where they say so."""

    def leave_out(self, why: str, count: int) -> None:
        if count:
            self.excluded[why] = self.excluded.get(why, 0) + count


def read_predictions(
    path: Path, *, reading: Reading, words: Mapping[str, str] | None = None, id_column: str = "id"
) -> pl.DataFrame:
    """Return ``id``, ``answer`` (one of :data:`ANSWERS`) and ``probability_male`` (null where unknown).

    Raises:
        DataError: the file is not one of the known forms, an answer is in unknown words, a
            probability lies outside 0 to 1, or an id has several answers.
    """
    path = Path(path)
    is_json = path.suffix.lower() in (".jsonl", ".ndjson", ".json")
    is_table = not (path.is_dir() or is_json)
    read = _read_folder if path.is_dir() else answer_lines.read
    table = _read_table(path, reading) if is_table else read(path)
    _note_model(table, reading)
    if is_table:
        if id_column not in table.columns:  # it is named for the labels
            id_column = "id"
        if id_column not in table.columns and {"source", *_BOX} <= set(table.columns):
            table, id_column = _largest_faces(table, reading), "source"
        _require(table, (id_column, ANSWER), path)
        probability = pl.col("probability_male") if "probability_male" in table.columns else pl.lit(None, pl.String)
        table = table.select(
            id=pl.col(id_column).cast(pl.String), answer=pl.col(ANSWER).cast(pl.String), probability_male=probability
        )
    else:
        table = _one_answer_each(table, path, reading)
    table = table.with_columns(probability_male=_probabilities(table["probability_male"], path))
    table = _without_nothing(table, words or {}, reading)
    table = _translate(table, "answer", words or {}, (*ANSWERS,), path).with_columns(pl.col("answer").fill_null(MISSED))
    return _unique(table, path, reading, "predictions")


def read_labels(
    path: Path,
    *,
    reading: Reading,
    words: Mapping[str, str] | None = None,
    id_column: str = "id",
    label_column: str = "label",
) -> pl.DataFrame:
    """Return ``id``, ``label`` and every other column of a file of labels, as text.

    Raises:
        DataError: a column is missing, a label is in unknown words, or an id has several labels.
    """
    if id_column == label_column:
        raise DataError(f"The column {id_column!r} cannot hold both ids and labels.", expected="two columns")
    table = _read_table(Path(path), reading)
    _require(table, (id_column, label_column), path)
    used = {id_column: "id", label_column: "label"}
    shadowed = [ours for theirs, ours in used.items() if theirs != ours and ours in table.columns and ours not in used]
    if shadowed:
        names = ", ".join(map(repr, shadowed))
        reading.notes.append(f"{names} of {path} are not used: {id_column!r} and {label_column!r} stand for them.")
    table = table.drop(shadowed).rename(used)
    table = table.with_columns(selectors.float().fill_nan(None)).with_columns(pl.all().cast(pl.String))
    table = _translate(table, "label", words or {}, LABELS, path)
    reading.leave_out("rows of labels without a label", table["label"].null_count())
    return _unique(table.filter(pl.col("label").is_not_null()), path, reading, "labels")


def read_workspace(work: Path, on: str) -> pl.DataFrame:
    """Return the rows of one split of a workspace, with every column of its table of examples."""
    from perceived.scoring import read_split

    workspace = Workspace(Path(work))
    rows = read_split(workspace, on)
    examples = workspace.read_examples()
    extra = [name for name in examples.columns if name not in rows.columns]
    return rows.join(examples.select("id", *extra), on="id", how="left", maintain_order="left")


def match(predictions: pl.DataFrame, labels: pl.DataFrame, reading: Reading) -> pl.DataFrame:
    """Join predictions and labels by id, or by file name where no id is shared; what stays alone is counted.

    Names are compared with their last folders, as many as every name has, and without folders only where that finds
    most rows of either side: 8.jpg may be in every folder.

    Raises:
        DataError: nothing matches.
    """
    said = [name for name in predictions.columns if name != "id" and name in labels.columns]
    if said:
        reading.notes.append(f"The labels' own {counted(len(said), 'column')} {', '.join(said)} are not used.")
        labels = labels.drop(said)
    joined = labels.join(predictions, on="id", how="inner", maintain_order="left")
    if joined.is_empty():
        joined = _by_ends(labels, predictions)
        if joined.is_empty():
            shared = _by_name(labels, predictions, 0).height
            few = f" Only {counted(shared, 'file name')} would match without folders: too few to be trusted."
            raise DataError(
                f"No id of the predictions is among the labels.{few if shared else ''}",
                expected=f"ids such as {_examples(labels['id'])}; the predictions have {_examples(predictions['id'])}",
                mend="write the ids of both files in the same way",
            )
        reading.notes.append(
            "Predictions and labels share no id, only the ends of file names. "
            f"Matched by these: {counted(joined.height, 'row')}."
        )
    reading.leave_out("predictions without a label", predictions.height - joined.height)
    reading.leave_out(WITHOUT_PREDICTION, labels.height - joined.height)
    return joined


def _by_ends(labels: pl.DataFrame, predictions: pl.DataFrame) -> pl.DataFrame:
    """Join by the ends of names; no row where these find none, or names without folders find too few."""
    depths = (
        table["id"].str.replace(r"^(\.[/\\])+", "").str.count_matches(r"[^/\\]+[/\\]").min()
        for table in (labels, predictions)
    )
    folders = min(int(depth or 0) for depth in depths)  # type: ignore[arg-type]
    if folders:
        joined = _by_name(labels, predictions, folders)
        if joined.height:
            return joined
    joined = _by_name(labels, predictions, 0)
    return joined if 2 * joined.height >= min(labels.height, predictions.height) else joined.clear()


def _by_name(labels: pl.DataFrame, predictions: pl.DataFrame, folders: int) -> pl.DataFrame:
    """Join by the ends of names that have so many ``folders``; no row where these are not unique."""
    ending = rf"((?:[^/\\]+[/\\]){{{folders}}}[^/\\]+)$"
    one, other = (table.with_columns(id=pl.col("id").str.extract(ending)) for table in (labels, predictions))
    if not (one["id"].is_unique().all() and other["id"].is_unique().all()):
        one = one.clear()  # every row would meet every one of its name
    return one.join(other, on="id", how="inner", maintain_order="left")


def _read_table(path: Path, reading: Reading) -> pl.DataFrame:
    """Return the columns of a file whose cells can be written as text; the others are noted."""
    if not path.is_file():
        what = "is a folder, a pipe or a device" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}.", expected="a CSV or Parquet file")
    try:
        if path.suffix.lower() == ".parquet":
            return _without_nested(pl.read_parquet(path, glob=False), path, reading)
        with open(path, "rb") as file:
            head = file.readline(columns.LONGEST_HEAD)
        if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise OSError("it is UTF-16")
        if b"\r" in head and b"\n" not in head:
            raise OSError("its lines end with CR alone, as an old Mac's do")
        separator = columns.separator(head.decode("utf-8", "replace"))
        table = pl.read_csv(path, infer_schema=False, separator=separator, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as a table: {first_line(error)}",
            expected="UTF-8 CSV with a line of column names, or Parquet",
        ) from error
    columns.require_distinct(table, path)
    return table


def _without_nested(table: pl.DataFrame, path: Path, reading: Reading) -> pl.DataFrame:
    """Leave out lists, structures and bytes, such as the embeddings that some tables carry."""
    unusable = (pl.Binary, pl.Object, pl.Duration)
    nested = [name for name, kind in table.schema.items() if kind.is_nested() or kind in unusable]
    if nested:
        said = ", ".join(map(repr, nested))
        reading.notes.append(f"{said} of {path} are not used: their cells are lists, bytes or spans of time.")
    return table.drop(nested)


def _note_model(rows: pl.DataFrame, reading: Reading) -> None:
    """Note which model says it has answered; of several, a reader must know."""
    if not {"model", "model_sha256"} <= set(rows.columns):
        return
    models = rows.select("model", "model_sha256").drop_nulls().unique().sort("model", "model_sha256").rows()
    if len(models) == 1:
        name, sha256 = models[0]
        reading.model = {"name": name, "sha256": sha256}
    elif models:
        names = ", ".join(f"{name} ({str(sha256)[:12]})" for name, sha256 in models)
        reading.notes.append(f"These are answers of {len(models)} models: {names}.")


_BOX = ("x0", "y0", "x1", "y1")


def _largest_faces(rows: pl.DataFrame, reading: Reading) -> pl.DataFrame:
    """Return one row for each picture of what ``perceived predict --csv`` wrote: that of its largest face.

    Raises:
        DataError: a picture was answered twice, and it cannot be known which answer counts.
    """
    rows = rows.unique(maintain_order=True)
    if "face" in rows.columns:
        twice = rows.filter(pl.struct("source", "face").is_duplicated())["source"]
        if len(twice):
            raise DataError(
                f"{counted(twice.n_unique(), 'picture')}, such as {twice[0]!r}, is answered twice.",
                expected="the answers of one model for each picture",
                mend="audit each model's answers alone",
            )
    x0, y0, x1, y1 = (pl.col(name).cast(pl.Float64, strict=False) for name in _BOX)
    area = ((x1 - x0) * (y1 - y0)).fill_null(0)
    largest = rows.sort(area, descending=True, maintain_order=True).unique("source", keep="first", maintain_order=True)
    several = rows.filter(pl.col("source").is_duplicated())["source"].n_unique()
    if several:
        reading.notes.append(f"Several faces are in {counted(several, 'picture')}; the largest one counts.")
    return largest


def is_model(path: Path) -> bool:
    """Say whether a path is an ONNX file or RUN, which answers for pictures, rather than answers themselves."""
    return path.suffix.lower() == ".onnx" or (path.is_dir() and not parts(path))


def parts(path: Path) -> list[Path]:
    """Return the Parquet files of a folder that ``perceived predict --cluster`` wrote; of another, none."""
    below = path / "answers" if (path / "answers").is_dir() else path
    return sorted(below.glob("part-*.parquet"))


def _read_folder(path: Path) -> pl.DataFrame:
    files = parts(path)
    if not files:
        raise DataError(f"{path} holds no answers.", expected="the --out of 'perceived predict --cluster'")
    try:
        return pl.read_parquet(files, columns=list(answer_lines.PICTURE), glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"The answers in {path} cannot be read: {first_line(error)}",
            mend="remove the damaged file, and run 'perceived predict --cluster' again",
        ) from error


def _one_answer_each(pictures: pl.DataFrame, path: Path, reading: Reading) -> pl.DataFrame:
    """Return one answer for each picture: of its largest face, which is counted where there are several."""
    if pictures["source"].null_count():
        raise DataError(f"{path} has lines without a source.", expected="what 'perceived predict --json' prints")
    unanswered = pictures.filter(pl.col("faces").is_null() & pl.col("error").is_null())["source"]
    if len(unanswered):
        raise DataError(
            f"{path} has {counted(len(unanswered), 'line')} with neither faces nor an error, such as that of"
            f" {unanswered[0]!r}.",
            expected="what 'perceived predict --json' prints: pictures, each with its faces",
            mend=f"write other answers as CSV, with the columns id and {ANSWER}",
        )
    pictures = pictures.with_row_index("row")
    several = pictures.filter(pl.col("faces").list.len() > 1).height
    if several:
        reading.notes.append(f"Several faces are in {counted(several, 'picture')}; the largest one counts.")
    box = pl.col("box")
    area = (box.list.get(2, null_on_oob=True) - box.list.get(0, null_on_oob=True)) * (
        box.list.get(3, null_on_oob=True) - box.list.get(1, null_on_oob=True)
    )
    faces = pictures.select("row", "faces").explode("faces").drop_nulls("faces").unnest("faces")
    largest = faces.sort(area.fill_null(0), descending=True, maintain_order=True).unique("row", keep="first")
    largest = largest.with_columns(probability_male=pl.col("probability").struct.field("male"))
    joined = pictures.join(largest, on="row", how="left", maintain_order="left")
    return joined.select(id="source", answer=ANSWER, probability_male="probability_male")


def _require(table: pl.DataFrame, columns: Sequence[str], path: Path) -> None:
    for name in columns:
        if name not in table.columns:
            nameable = "" if name == ANSWER else ", or name yours with --id-column or --label-column"
            raise DataError(
                f"{path} has no column {name!r}. Its columns are {', '.join(table.columns[:8])}.",
                mend=f"rename the column in the file{nameable}",
            )


def _translate(
    table: pl.DataFrame, column: str, words: Mapping[str, str], known: Sequence[str], path: Path
) -> pl.DataFrame:
    """Turn words into ours, in any case of letters; an empty cell or a word for nothing becomes null."""
    cells = table[column]
    values = cells.unique()
    found = values.str.strip_chars().str.to_lowercase()
    meanings = {word: word for word in known} | dict(words) | {"": LEFT_OUT}
    foreign = found.drop_nulls().unique().sort().to_list()
    foreign = [word for word in foreign if meanings.get(word) not in (*known, LEFT_OUT)]
    if foreign:
        mend = " ".join(f"--map '{word}=…'" for word in foreign[:_SHOWN])
        raise DataError(
            f"{path} has {column}s in other words: {', '.join(map(repr, foreign[:_SHOWN]))}"
            f"{' …' if len(foreign) > _SHOWN else ''}.",
            expected=f"{', '.join(known)}",
            mend=f"say what they stand for: {mend}; {LEFT_OUT} leaves rows out, and counts them",
        )
    usable = {word: meaning for word, meaning in meanings.items() if meaning != LEFT_OUT}
    translated = found.replace_strict(usable, default=None, return_dtype=pl.String)
    return table.with_columns(cells.replace_strict(values, translated, return_dtype=pl.String).alias(column))


def _without_nothing(table: pl.DataFrame, words: Mapping[str, str], reading: Reading) -> pl.DataFrame:
    """Leave out answers in words that stand for none; an empty cell is an answer that is missed."""
    void = [word for word, meaning in words.items() if meaning == LEFT_OUT]
    left_out = table["answer"].str.strip_chars().str.to_lowercase().is_in(void).fill_null(False)
    reading.leave_out("predictions in words that stand for nothing", int(left_out.sum()))
    return table.filter(~left_out)


def _probabilities(values: pl.Series, path: Path) -> pl.Series:
    """Return numbers from 0 to 1; an empty cell is null."""
    numbers = values
    if values.dtype == pl.String:
        stripped = values.str.strip_chars()
        values = stripped.set(stripped == "", None)
        numbers = values.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)  # 0,93 is a number too
    numbers = numbers.cast(pl.Float64)
    wrong = values.is_not_null() & ~numbers.is_between(0, 1).fill_null(False)
    if wrong.any():
        raise DataError(
            f"{path} has {counted(int(wrong.sum()), 'value')} of probability_male outside 0 to 1 or no number, "
            f"such as {values.filter(wrong)[0]!r}.",
            expected="numbers from 0 to 1, or an empty cell where it is not known",
        )
    return numbers


def _unique(table: pl.DataFrame, path: Path, reading: Reading, what: str) -> pl.DataFrame:
    """Keep one of rows that say the same of an id; rows that contradict each other are an error."""
    if table["id"].null_count():
        count = counted(table["id"].null_count(), "row")
        raise DataError(f"{path} has {count} without an id.", expected="an id in every row")
    if table.is_empty():
        raise DataError(f"{path} has no usable rows.", expected=f"{what}, one a row")
    repeated = table["id"].is_duplicated()
    if not repeated.any():
        return table
    distinct = table.unique(maintain_order=True)
    torn = distinct.filter(distinct["id"].is_duplicated())["id"].unique(maintain_order=True)
    if len(torn):
        raise DataError(
            f"{path} has conflicting rows for {counted(len(torn), 'id')}, such as {torn[0]!r}.",
            expected="one row for each id",
            mend="remove the rows that do not count",
        )
    reading.leave_out(f"repeated rows of {what}", table.height - distinct.height)
    return distinct


def _examples(ids: pl.Series) -> str:
    return " and ".join(repr(value) for value in ids.head(2))
