"""Answers as partitioned Parquet: one row for each picture, with the fields of ``Picture.to_dict``.

A part of the plan leaves the files ``part-00000012-0000.parquet``, ``…-0001.parquet`` and so on, the
last of which ends with ``-end.parquet``. A part is finished when all of them are there.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from perceived.cluster.folder import Folder
from perceived.rows import printable
from perceived.types import Picture

FOLDER = "answers"
_READERS = 16
"""Files looked at together: an object store lets each wait."""
_NAME = re.compile(r"part-(\d{8,})-(\d{4,})(-end)?\.parquet")


def schema(labels: Sequence[str]) -> pa.Schema:
    """Return the columns, which docs/how-to/cluster.md explains."""
    number, text = pa.float64(), pa.string()
    face = pa.struct(
        [
            pa.field("box", pa.list_(number)),
            pa.field("detection_score", number),
            pa.field("landmarks", pa.list_(pa.list_(number))),
            pa.field("perceived_gender", text),
            pa.field("confidence", number),
            pa.field("probability", pa.struct([pa.field(label, number) for label in labels])),
        ]
    )
    return pa.schema(
        [
            pa.field("schema", pa.int32()),
            pa.field("model", text),
            pa.field("model_sha256", text),
            pa.field("source", text),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("faces", pa.list_(face)),
            pa.field("error", text),
        ]
    )


def write(
    folder: Folder, part: int, chunk: int, pictures: Sequence[Picture], labels: Sequence[str], *, last: bool
) -> None:
    """Write some of a part's answers, in place of those of an earlier attempt."""
    file = io.BytesIO()
    rows = [picture.to_dict() for picture in pictures]
    for row in rows:
        for name in ("source", "error"):
            row[name] = row[name] and printable(row[name])
    pq.write_table(pa.Table.from_pylist(rows, schema(labels)), file, compression="zstd")
    folder.write(f"{FOLDER}/part-{part:08d}-{chunk:04d}{'-end' if last else ''}.parquet", file.getvalue())


def finished(folder: Folder) -> set[int]:
    """Return the numbers of the parts whose answers are complete; what there is of the others is removed."""
    chunks: dict[int, dict[int, str]] = defaultdict(dict)
    ends: dict[int, int] = {}
    for name in folder.names(FOLDER):
        if match := _NAME.fullmatch(name):
            part, chunk = int(match[1]), int(match[2])
            chunks[part][chunk] = name
            if match[3]:
                ends[part] = chunk
    done = {part for part, end in ends.items() if chunks[part].keys() == set(range(end + 1))}
    _remove(folder, (name for part in chunks.keys() - done for name in chunks[part].values()))
    return done


def unreadable(folder: Folder, parts: set[int]) -> int:
    """Return how many pictures of finished parts could not be read."""
    if not parts:
        return 0

    def errors(name: str) -> int:
        with folder.open(f"{FOLDER}/{name}") as file:
            column = pq.read_table(file, columns=["error"])["error"]
        return len(column) - int(column.null_count)

    names = [name for name in folder.names(FOLDER) if (match := _NAME.fullmatch(name)) and int(match[1]) in parts]
    with ThreadPoolExecutor(_READERS) as pool:
        return sum(pool.map(errors, names))


def _remove(folder: Folder, names: Iterable[str]) -> None:
    for name in names:
        folder.remove(f"{FOLDER}/{name}")
