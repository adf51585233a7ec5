"""Work done ahead by threads, handed out in order, with a bound on how far ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from perceived.errors import ConfigError

if TYPE_CHECKING:  # it brings Rich
    from perceived.progress import Tick

T = TypeVar("T")
R = TypeVar("R")

_CHUNK = 512
"""Items that a thread of :func:`each` takes at once."""


def processors() -> int:
    """Return how many processors this process may use: ``taskset`` or a container's cpuset may allow fewer.

    A quota of their time (``docker --cpus``) is not seen.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _submitted(pool: ThreadPoolExecutor, work: Callable[[T], R], item: T) -> Future[R]:
    try:
        return pool.submit(work, item)
    except RuntimeError as error:
        raise ConfigError(
            "The system allows no more threads, or has no memory for them.", mend="use fewer --threads"
        ) from error


def ahead(work: Callable[[T], R], items: Iterable[T], *, threads: int, most: int) -> Iterator[R]:
    """Yield ``work(item)`` for each item in order, while ``threads`` work on at most ``most`` of the next ones.

    ``items`` is only ever advanced by the caller's own thread, and never further than ``most`` past
    what was yielded. An exception of ``work`` is raised where its result would have come. Closing
    the iterator waits for what has begun, and begins nothing more.
    """
    assert threads >= 1
    assert most >= 1
    pool = ThreadPoolExecutor(threads, thread_name_prefix="perceived")
    begun: deque[Future[R]] = deque()
    try:
        for item in items:
            begun.append(_submitted(pool, work, item))
            if len(begun) >= most:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def each(work: Callable[[T], R], items: Sequence[T], *, progress: Tick | None = None) -> list[R]:
    """Return ``work(item)`` for each of hundreds of thousands of items, where ``work`` is quick and waits for disks."""
    chunks = (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
    threads = min(16, 4 * processors())
    done: list[R] = []
    for results in ahead(lambda chunk: [work(item) for item in chunk], chunks, threads=threads, most=64):
        done += results
        if progress:
            progress(len(done), len(items))
    return done
