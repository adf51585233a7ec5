"""What a job is made of: a plan of parts, written down before the first picture is answered.

Part ``n`` is always the same pictures, whoever works on it and however often. So what it leaves
behind has names that follow from ``n``, work that is done twice is written over itself, and a job
that was interrupted skips what has its name.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from perceived import __version__
from perceived.cluster.folder import Folder
from perceived.errors import ResumeError

JOB = "job.json"
MODEL = "model.onnx"
PLAN = "plan"
PARTS_IN_A_FILE = 256
_SCHEMA = pa.schema({"kind": pa.string(), "locations": pa.list_(pa.binary()), "group": pa.int64()})
"""Locations are bytes, because names of files need not be UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of work for one process: picture files, a part of a table, or one tar.

    ``kind`` is ``"files"``, ``"parquet"``, ``"lance"`` or ``"tar"``; ``group`` is the number of the row
    group or fragment.
    """

    kind: str
    locations: tuple[str, ...]
    group: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What was asked for, and how many parts it came to. ``options`` are the Predictor's."""

    words: tuple[str, ...]
    model: str
    model_sha256: str
    options: Mapping[str, Any]
    part_size: int
    parts: int = 0
    version: str = __version__


SAME = {
    "words": "the same pictures",
    "model_sha256": "the same --model",
    "options": "the same options",
    "part_size": "the same --part-size",
}
"""What a job keeps for life, and what to give again."""


def open_job(folder: Folder, job: Job, model: bytes, parts: Iterable[Part]) -> Job:
    """Return the job in ``folder``: the one that was begun there, or ``job``, once its plan and model are written.

    ``parts`` are asked for in the second case only. Plan and model count once :data:`JOB` is there.

    Raises:
        ResumeError: another job was begun there.
    """
    if folder.exists(JOB):
        begun = _read(folder)
        _require_same(folder, begun, job)
        return begun
    if set(folder.names()) - {MODEL} or folder.names("answers"):
        raise ResumeError(
            f"{folder} holds other files, and no job of ours.",
            expected="an empty or new folder, or one that 'perceived predict --cluster' wrote",
            mend="choose another --out",
        )
    waiting, count = iter(parts), 0
    while some := list(islice(waiting, PARTS_IN_A_FILE)):
        folder.write(_file(count), _parquet(some))
        count += len(some)
    folder.write(MODEL, model)
    planned = replace(job, parts=count)
    folder.write(JOB, (json.dumps(asdict(planned), indent=2) + "\n").encode())
    return planned


def read_part(folder: Folder, number: int) -> Part:
    """Return one part of the plan."""
    with folder.open(_file(number)) as file:
        row = pq.ParquetFile(file).read_row_group(number % PARTS_IN_A_FILE).to_pylist()[0]
    return Part(kind=row["kind"], locations=tuple(map(os.fsdecode, row["locations"])), group=row["group"])


def _file(number: int) -> str:
    return f"{PLAN}/{number // PARTS_IN_A_FILE:06d}.parquet"


def _parquet(parts: Iterable[Part]) -> bytes:
    file = io.BytesIO()
    with pq.ParquetWriter(file, _SCHEMA) as writer:
        for part in parts:
            row = asdict(part) | {"locations": [os.fsencode(location) for location in part.locations]}
            writer.write_table(pa.Table.from_pylist([row], _SCHEMA))
    return file.getvalue()


def _read(folder: Folder) -> Job:
    try:
        fields = json.loads(folder.read(JOB))
        return Job(**{**fields, "words": tuple(fields["words"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ResumeError(f"{folder}/{JOB} is no job of ours: {error}.", mend="choose another --out") from error


def _require_same(folder: Folder, begun: Job, asked: Job) -> None:
    before, now = asdict(begun), asdict(asked)
    for name, mend in SAME.items():
        if before[name] != now[name]:
            raise ResumeError(
                f"{folder} was begun with {_unlike(name, before[name], now[name])}.",
                expected="the same job: one folder holds one job's answers",
                mend=f"give {mend}, or choose another --out",
            )


def _unlike(name: str, before: Any, now: Any) -> str:
    """Say what was given, and what is given now; of options, those alone that differ."""
    if name != "options":
        return f"{name} {before!r}, not {now!r}"
    names = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    return ", ".join(f"{key} {before.get(key)!r}, not {now.get(key)!r}" for key in names)
