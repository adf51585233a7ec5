"""Answer for any number of pictures on a cluster: Ray Data around the one Predictor.

The rows that travel through Ray are the numbers of a plan's parts. An actor answers a part with a
Predictor of its own, and writes the answers under the part's own names, whole or not at all; so
whatever Ray does again after a loss is written over itself, and nothing is lost or there twice.
Where a graphics card classifies, other actors, as many as there are processors, prepare for it.
"""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, tee
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray import data
from ray.exceptions import RayActorError

from perceived import sources
from perceived.cluster import answers, inputs
from perceived.cluster.attempts import Attempts
from perceived.cluster.connection import connected, failures, idle, on_every_node, resources
from perceived.cluster.folder import Folder, is_address
from perceived.cluster.plan import JOB, MODEL, Job, open_job, read_part
from perceived.errors import ClusterError, ConfigError
from perceived.models import find_model
from perceived.predictor import BATCH, Predictor, Prepared
from perceived.progress import counter
from perceived.storage import alone_in
from perceived.tally import Tally
from perceived.types import Picture

PART_SIZE = 256
"""Pictures in a file of answers, unless another number is given: some seconds of work, some 100 kB."""
START_SECONDS = 600
"""How long a cluster may take to find room for the first process; one that grows by itself takes minutes."""
COUNTS = ("pictures", "faces", "faceless", "unreadable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What every actor is told: what the job is, and where, with its plan and its model."""

    out: str
    job: Job

    def check_seen(self) -> None:
        """Raise :class:`ClusterError` if the job's folder or pictures are not to be seen on this node."""
        node = ray.util.get_node_ip_address()
        if not self.folder.exists(JOB):
            raise ClusterError(
                f"Node {node} does not see {self.out}/{JOB}.",
                expected="an --out that every node can write to",
                mend="give a shared folder, or the address of an object store, such as s3://…",
            )
        inputs.check_seen(self.job.words, node)

    def predictor(self, **more: Any) -> Predictor:
        """Open a predictor on this node.

        Raises:
            ClusterError: the job's folder or pictures are not to be seen here.
        """
        self.check_seen()  # a node may have come later than the job
        with tempfile.TemporaryDirectory(prefix="perceived-") as folder:
            model = Path(folder, MODEL)
            model.write_bytes(self.folder.read(MODEL))
            return Predictor(model, **{**self.job.options, **more})

    @property
    def folder(self) -> Folder:
        return Folder(self.out)


def predict(
    words: Sequence[str],
    out: str,
    *,
    address: str,
    model: str = "default",
    options: Mapping[str, Any] | None = None,
    workers: int | None = None,
    part_size: int = PART_SIZE,
    apart: bool | None = None,
    quiet: bool = False,
) -> Tally:
    """Write the answers for the pictures that ``words`` mean into the folder ``out``; the same call again goes on.

    Args:
        words: files, folders, patterns and addresses; Parquet files and tars of pictures.
        out: a folder or address that every node can write to.
        address: ``HOST:PORT`` of a cluster, ``"auto"``, or ``"local"`` for one of this machine alone.
        model: a model that ships, or an ONNX file that this process can read.
        options: of the Predictor, such as ``{"min_face": 40}``.
        workers: most processes that classify at the same time; as many as fit, unless given.
        part_size: pictures in a file of answers.
        apart: whether pictures are prepared by other processes than those that classify; with a
            graphics card they are, unless this says otherwise.

    Raises:
        ClusterError: the cluster cannot be reached or does not see the folders.
        ResumeError: ``out`` holds another job, or another process is at work there.
        ConfigError, DataError, ModelFileError: what was given cannot be used.
    """
    for name, value in (("--workers", workers), ("--part-size", part_size)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} {value} is impossible.", expected="1 or more")
    sources.check(words)
    folder, options = Folder(out), dict(options or {})
    Predictor(model, **{**options, "device": "cpu", "threads": 1})  # what cannot be used is refused here and now
    content = find_model(model).read_bytes()
    words = [word if is_address(word) or word == sources.STDIN else str(Path(word).absolute()) for word in words]
    asked = Job(
        words=tuple(words),
        model=str(model),
        model_sha256=hashlib.sha256(content).hexdigest(),
        options=options,
        part_size=part_size,
    )
    with alone_in(Path(folder.root)) if folder.local else nullcontext():
        job = open_job(folder, asked, content, inputs.parts(words, part_size, without=folder.root))
        return _go_on(folder, job, address, workers=workers, apart=apart, quiet=quiet)


def _go_on(folder: Folder, job: Job, address: str, *, workers: int | None, apart: bool | None, quiet: bool) -> Tally:
    """Answer what the job has left, on the cluster at ``address``."""
    finished = answers.finished(folder)
    todo = sorted(set(range(job.parts)) - finished)
    tally = Tally(parts_before=job.parts - len(todo), unreadable_before=answers.unreadable(folder, finished))
    if not todo:
        return tally
    with connected(address), failures("Predicting"), counter("parts", quiet=quiet) as progress:
        work = Work(out=folder.root, job=job)
        on_every_node(_look, work)  # what an actor raises while it is made, Ray keeps to itself
        cuda = job.options.get("device") == "cuda"
        done = 0
        for row in _answered(work, todo, workers=workers, cuda=cuda, apart=cuda if apart is None else apart):
            for name in COUNTS:
                setattr(tally, name, getattr(tally, name) + row[name])
            done += row["last"]
            progress(done, len(todo))
    return tally


def _look(work: Work) -> None:
    work.check_seen()


def _answered(work: Work, todo: Sequence[int], **how: Any) -> Iterator[dict[str, int]]:
    """Do the work, and yield what became of each part.

    On a busy machine Ray now and then gives up one of several workers that begin together, before it has run, and
    all else with it. Then one begins, and Ray adds the others after it.
    """
    try:
        rows = _rows(_pipeline(work, todo, together=True, **how))
        first = next(rows, None)
    except RayActorError:
        yield from _rows(_pipeline(work, todo, together=False, **how))
        return
    if first is not None:
        yield from chain([first], rows)


def _pipeline(
    work: Work, todo: Sequence[int], *, together: bool, workers: int | None, cuda: bool, apart: bool
) -> data.Dataset:
    """Return the dataset of what became of each part; reading it does the work.

    ``together`` has as many workers begin as find room at once; Ray adds others only one after the other.
    """
    context = data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.wait_for_min_actors_s = START_SECONDS
    there = resources()
    most = min(workers or there["GPU" if cuda else "CPU"], len(todo))
    if not most:
        raise ClusterError(
            "The cluster has no graphics card.",
            expected="nodes with one for --device cuda",
            mend="--device cpu, or, where nodes with cards come when they are asked for, --workers",
        )
    parts = data.from_items([{"part": number} for number in todo], override_num_blocks=len(todo))
    kind = "GPU" if cuda else "CPU"
    at_once = idle(kind) if together else 1
    if not apart:
        return parts.map_batches(PartWorker, **_actors(work, most, at_once), num_cpus=1, num_gpus=int(cuda))
    framing = _actors(work, min(there["CPU"], len(todo)), idle("CPU") if together else 1)
    framed = parts.map_batches(Preparer, **framing, num_cpus=1)
    return framed.map_batches(Classifying, **_actors(work, most, at_once), num_cpus=0, num_gpus=int(cuda))


def _actors(work: Work, most: int, at_once: int) -> dict[str, Any]:
    """Return what a stage of actors shares: one row at a time, by ``at_once`` processes and up to ``most``."""
    strategy = data.ActorPoolStrategy(min_size=1, initial_size=max(1, min(most, at_once)), max_size=most)
    return {"compute": strategy, "batch_size": 1, "batch_format": "pyarrow", "fn_constructor_args": (work,)}


def _rows(pipeline: data.Dataset) -> Iterator[dict[str, int]]:
    for batch in pipeline.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
        yield from batch.to_pylist()


class PartWorker:
    """An actor that answers a part from end to end, with one processor."""

    def __init__(self, work: Work) -> None:
        self._work, self._predictor = work, work.predictor(threads=1)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        (number,) = batch["part"].to_pylist()
        attempts = Attempts(self._work.folder, number)
        found = prepared(self._work, self._predictor, number, attempts)
        batches = ([one] for one in found) if attempts.careful else [found]  # alone, none is noted for another
        pictures = chain.from_iterable(map(self._predictor.answer, batches))
        for chunk, last, some in inputs.chunks(pictures, self._work.job.part_size):
            yield _write(self._work, self._predictor, number, chunk, some, last=last)
        attempts.end()


class Preparer:
    """An actor that decodes, finds faces and frames them, for a :class:`Classifying` one elsewhere."""

    def __init__(self, work: Work) -> None:
        self._work, self._predictor = work, work.predictor(threads=1, device="cpu", batch_size=BATCH)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        (number,) = batch["part"].to_pylist()
        attempts = Attempts(self._work.folder, number)
        found = prepared(self._work, self._predictor, number, attempts)
        for chunk, last, some in inputs.chunks(found, self._work.job.part_size):
            row = {"part": number, "chunk": chunk, "last": last, "prepared": pickle.dumps(some)}
            yield pa.Table.from_pylist([row])
        attempts.end()


class Classifying:
    """An actor that answers for prepared faces, with a graphics card where there is one."""

    def __init__(self, work: Work) -> None:
        self._work, self._predictor = work, work.predictor(threads=1)

    def __call__(self, batch: pa.Table) -> pa.Table:
        (row,) = batch.to_pylist()
        found: list[Prepared] = pickle.loads(row["prepared"])
        pictures = list(self._predictor.answer(found))
        return _write(self._work, self._predictor, row["part"], row["chunk"], pictures, last=row["last"])


def prepared(work: Work, predictor: Predictor, number: int, attempts: Attempts) -> Iterator[Prepared]:
    """Decode and frame a part's pictures; of a part that loses its process again and again, one after another."""
    part = read_part(work.folder, number)
    if attempts.careful:
        for name, picture in attempts.one_by_one(inputs.read(part, ahead=1, without=attempts.given_up)):
            yield from predictor.prepare([picture], [name])
    else:
        named, pictures = tee(inputs.read(part))
        yield from predictor.prepare((picture for _, picture in pictures), (name for name, _ in named))


def _write(
    work: Work, predictor: Predictor, part: int, chunk: int, pictures: Sequence[Picture], *, last: bool
) -> pa.Table:
    """Write answers; return what became of the pictures, as the one row that goes back to the driver."""
    answers.write(work.folder, part, chunk, pictures, predictor.labels, last=last)
    tally = Tally()
    for picture in pictures:
        tally.add(picture)
    return pa.Table.from_pylist([{name: getattr(tally, name) for name in COUNTS} | {"part": part, "last": last}])
