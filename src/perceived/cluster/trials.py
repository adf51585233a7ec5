"""Comparing and tuning on a cluster: each run is a task of Ray's that trains as one process does."""

from __future__ import annotations

import contextlib
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import NodeDiedError, WorkerCrashedError

from perceived.cluster.connection import check_seen, connected, failures, resources, smallest_node
from perceived.errors import ConfigError
from perceived.recipes import Recipe

Answer = TypeVar("Answer")
Line = Mapping[str, Any]

LOSSES = 5
"""How many times a run may lose its worker or node before it is given up; it goes on from its resume state."""


@contextlib.contextmanager
def trials(address: str, *shared: Path, workers: int | None = None) -> Iterator[Trials]:
    """Connect to the cluster at ``address`` and yield what runs trials there, at most ``workers`` at once.

    A trial has a node to itself, as many processors as the smallest has, unless more workers are asked
    for than there are such nodes: then it has its share. ``shared`` are folders that every node sees.

    Raises:
        ClusterError: the cluster cannot be reached, or a node does not see the folders.
        ConfigError: fewer workers than one.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"{workers} workers can try nothing.", expected="1 worker or more")
    with connected(address), failures("Training"):
        total, most = resources()["CPU"], smallest_node()
        at_once = min(workers or total // most, total)
        yield Trials(tuple(map(str, shared)), max(1, min(most, total // at_once)), at_once)


@dataclass(frozen=True, slots=True)
class Trials:
    """Runs of training as tasks, each on so many ``processors``, ``at_once`` at a time."""

    shared: tuple[str, ...]
    processors: int
    at_once: int

    def run_all(self, function: Callable[..., Answer], jobs: Iterable[tuple[Any, ...]]) -> Iterator[Answer]:
        """Call ``function`` with the arguments of every job, ``at_once`` of them, and yield the answers in order."""
        task = ray.remote(num_cpus=self.processors, max_retries=LOSSES)(_call)
        begun: deque[Any] = deque()
        running: list[Any] = []
        for job in jobs:
            if len(running) >= self.at_once:
                _, running = ray.wait(running, fetch_local=False)
            running.append(task.remote(function, _absolute(*job), self.shared))
            begun.append(running[-1])
            while begun[0] not in running:
                yield ray.get(begun.popleft())
        while begun:
            yield ray.get(begun.popleft())

    def learn(self, work: Path, recipe: Recipe, out: Path, judge: Callable[[Line], None]) -> None:
        """Train as :func:`perceived.train.train` does, and show ``judge`` every validation as it comes.

        What ``judge`` raises ends the task.
        """
        task = ray.remote(num_cpus=self.processors, max_retries=0, num_returns="streaming")(validations)
        for losses in range(LOSSES + 1):
            lines = task.remote(*_absolute(work, recipe, out), self.shared)
            try:
                for line in lines:
                    judge(ray.get(line))
                return
            except (WorkerCrashedError, NodeDiedError):
                if losses == LOSSES:
                    raise
            except BaseException:
                ray.cancel(lines, force=True)
                raise


def _absolute(*arguments: Any) -> tuple[Any, ...]:
    """Make paths mean the same wherever they are used."""
    return tuple(one.resolve() if isinstance(one, Path) else one for one in arguments)


def _call(function: Callable[..., Answer], job: tuple[Any, ...], shared: tuple[str, ...]) -> Answer:
    check_seen(*shared)
    return function(*job)


def validations(work: Path, recipe: Recipe, out: Path, shared: tuple[str, ...]) -> Iterator[Line]:
    """Train, and yield the metrics of each validation while the training goes on."""
    from perceived import train as training

    check_seen(*shared)
    told: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(training.train, work, recipe, out, quiet=True, after_validation=told.put)
        run.add_done_callback(lambda _: told.put(None))
        while (line := told.get()) is not None:
            yield line
        run.result()
