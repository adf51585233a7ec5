"""Train on a cluster: the one training loop, run by the workers of Ray Train's TorchTrainer.

Which rows make a batch follows from seed and step, and each worker takes its share of every batch;
so the samples are the same with any number of workers. A worker that is lost costs the steps since
the last resume state: Ray starts the others anew, with as many as there are left, and the loop goes
on from that state, as it does on one machine.
"""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyarrow.fs import FSSpecHandler, PyFileSystem
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError, get_context
from ray.train.torch import TorchTrainer

from perceived import errors
from perceived.cluster.connection import check_seen, connected, failures, resources
from perceived.cluster.folder import Folder
from perceived.errors import ClusterError, ConfigError, PerceivedError
from perceived.recipes import Recipe

if TYPE_CHECKING:
    from perceived.checkpoint import Run

LOSSES = 5
"""How many times workers may be lost or fail before the run is given up."""
SCRATCH = ".ray"
"""Folder inside the run where Ray keeps its own notes while it trains."""
Stamps = dict[str, tuple[int, int]]
"""When files were last written, in nanoseconds, and their bytes."""
REFUSAL = f"{SCRATCH}/refusal.json"
"""File in which a worker notes an error that another attempt would only meet again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What every worker is told."""

    work: str
    out: str
    recipe: Recipe
    init: str | None
    gpus: int


def train(
    work: Path,
    recipe: Recipe,
    out: str,
    *,
    address: str,
    workers: int | None = None,
    gpus_per_worker: int = 0,
    init: Path | None = None,
) -> None:
    """Train on the cluster at ``address`` and leave the run in ``out``; the same call again resumes it.

    Args:
        work: a workspace where every node sees it, under the same path.
        recipe: the complete configuration.
        out: the run's folder: a shared path, or an address that fsspec knows.
        address: ``HOST:PORT`` of a cluster, ``"auto"``, or ``"local"`` for one of this machine alone.
        workers: most processes that learn together; as many as fit, unless given.
        gpus_per_worker: graphics cards for each; without any, they learn on a processor each.
        init: what gives the starting weights, see :func:`perceived.train.train`; a path is seen by every node.

    Raises:
        ClusterError: the cluster cannot be reached, is too small, or does not see the folders.
        PerceivedError: as :func:`perceived.train.train` raises.
    """
    if (workers is not None and workers < 1) or gpus_per_worker < 0:
        raise ConfigError(
            f"{workers} workers with {gpus_per_worker} graphics cards each are impossible.", expected="1 worker or more"
        )
    folder = Folder(out)
    training = Training(
        work=str(work.resolve()),
        out=folder.root,
        recipe=recipe,
        init=None if init is None else str(init.resolve() if init.exists() else init),
        gpus=gpus_per_worker,
    )
    with connected(address, show=True), failures("Training", TrainingFailedError):
        there = resources()
        fit = there["GPU"] // gpus_per_worker if gpus_per_worker else there["CPU"]
        if not fit:
            raise ClusterError(
                f"The cluster has {there['GPU']} graphics cards, and a worker needs {gpus_per_worker}.",
                mend="use --gpus-per-worker 0 to train on processors, or another cluster",
            )
        folder.remove_folder(SCRATCH)
        try:
            _trainer(training, folder, most=workers or fit).fit()
            if folder.exists(REFUSAL):
                raise _refusal(json.loads(folder.read(REFUSAL)))
        finally:
            folder.remove_folder(SCRATCH)


def _trainer(training: Training, folder: Folder, *, most: int) -> TorchTrainer:
    needs = {"CPU": 1.0} | ({"GPU": float(training.gpus)} if training.gpus else {})
    return TorchTrainer(
        partial(learn, training),
        scaling_config=ScalingConfig(
            num_workers=(1, most) if most > 1 else 1, use_gpu=bool(training.gpus), resources_per_worker=needs
        ),
        run_config=RunConfig(
            name=uuid.uuid4().hex,
            storage_path=folder.at(SCRATCH),
            storage_filesystem=PyFileSystem(FSSpecHandler(folder.files)),
            failure_config=FailureConfig(max_failures=LOSSES, controller_failure_limit=LOSSES),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )


def _refusal(told: Mapping[str, Any]) -> PerceivedError:
    """Return the error of ours that a worker noted."""
    kind = getattr(errors, told["kind"])
    error: PerceivedError = kind.__new__(kind, told["said"]["what"])
    vars(error).update(told["said"])
    return error


def learn(training: Training) -> None:
    """Run the training loop as one of the workers.

    Ray begins anew whatever fails. What the caller has to mend is no failure: it is noted for the
    driver, and the worker ends well, as do those that are begun after it, where it is alone.
    """
    folder = Folder(training.out)
    if folder.exists(REFUSAL):
        return
    try:
        _learn(training, folder)
    except (errors.InputError, ClusterError) as error:
        told = {"kind": type(error).__name__, "said": vars(error)}
        folder.write(REFUSAL, json.dumps(told).encode())
        if get_context().get_world_size() > 1:
            raise  # the others may wait for this worker: Ray ends them all, begins anew, and they find the note


def _learn(training: Training, folder: Folder) -> None:
    if not training.gpus:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    from perceived import train as loop
    from perceived.checkpoint import Run

    init = None if training.init is None else Path(training.init)
    check_seen(training.work, training.init if init and init.is_absolute() else None)
    if folder.local:
        loop.train(Path(training.work), training.recipe, Path(folder.root), init=init)
        return
    with tempfile.TemporaryDirectory(prefix="perceived-") as scratch:
        run = Run(Path(scratch, folder.root.rstrip("/").rpartition("/")[2]))
        fetch(folder, run)
        sent: Stamps = {}
        loop.train(Path(training.work), training.recipe, run.root, init=init, on_saved=lambda: keep(folder, run, sent))


def fetch(folder: Folder, run: Run) -> None:
    """Bring a run that was begun here, so that it goes on."""
    for part in (run.root, run.best, run.last):
        below = "" if part == run.root else part.name
        for name in folder.names(below):
            part.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(folder.read(f"{below}/{name}" if below else name))


def keep(folder: Folder, run: Run, sent: Stamps) -> None:
    """Bring a run's files to the folder, the record of the resume state last, and take away what is there no more.

    ``sent`` remembers which were brought as they are; they are not brought again.
    What goes are resume states and TensorBoard's events, whose files change their names.
    A resume state is a file of tensors and a record that names it: until the new record is there, the
    old one names the old file, which goes only then.
    """
    from perceived.checkpoint import STATE_FILE
    from perceived.pages.curves import EVENTS

    record = run.last / STATE_FILE
    files: list[Any] = [path for path in sorted(run.root.rglob("*")) if path.is_file() and path != record]
    kept = {str(path.relative_to(run.root)) for path in files}
    before = {f"{run.last.name}/{name}" for name in folder.names(run.last.name)} - {f"{run.last.name}/{record.name}"}
    events = {name for name in folder.names() if name.startswith(EVENTS)}
    for path in [*files, *([record] if record.is_file() else [])]:
        name, known = str(path.relative_to(run.root)), path.stat()
        stamp = known.st_mtime_ns, known.st_size
        if sent.get(name) != stamp:
            folder.write(name, path.read_bytes())
            sent[name] = stamp
    for name in (before | events) - kept:
        folder.remove(name)
