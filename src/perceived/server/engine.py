"""From pictures to answers, off the event loop: a bounded queue and the threads that empty it.

State is touched on the event loop only, so it needs no lock. A thread takes a batch as soon as it
is free: what is waiting goes together, and nothing waits for company.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from perceived.server import metrics
from perceived.server.problems import overloaded
from perceived.wording import counted

Question = TypeVar("Question")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Job(Generic[Question, Answer]):
    question: Question
    answer: asyncio.Future[Answer]


class Engine(Generic[Question, Answer]):
    """A bounded queue before ``threads`` threads, each of which takes up to ``batch`` questions at once.

    ``answers`` answers a batch, one answer each, and is called from several threads at once. An
    engine lives on one event loop: ask it there, and close it there.
    """

    def __init__(
        self, answers: Callable[[Sequence[Question]], Sequence[Answer]], *, threads: int, batch: int, queue: int
    ) -> None:
        self._answers = answers
        self._threads, self._batch, self._queue = threads, batch, queue
        self._waiting: deque[_Job[Question, Answer]] = deque()
        self._running = 0
        self._seconds = 0.05
        self._executor = ThreadPoolExecutor(threads, "perceived-answer")

    async def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Return one answer for each question, in their order.

        Raises:
            Problem: the queue has no room for all of them; none was taken.
        """
        self.check_room(len(questions))
        loop = asyncio.get_running_loop()
        jobs = [_Job(question, loop.create_future()) for question in questions]
        self._waiting.extend(jobs)
        self._start()
        return list(await asyncio.gather(*(job.answer for job in jobs)))

    def check_room(self, count: int = 1) -> None:
        """Raise :class:`Problem` if ``count`` more pictures would overfill the queue."""
        if len(self._waiting) + count > self._queue:
            waits = math.ceil(self._seconds * len(self._waiting) / self._threads)
            raise overloaded(
                f"The queue holds {counted(len(self._waiting), 'picture')}, of at most {self._queue:,}.",
                retry_after=min(max(waits, 1), 30),
            )

    def close(self) -> None:
        """Let the threads end when they have answered what they hold."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> None:
        while self._running < self._threads and (batch := self._take()):
            self._running += 1
            running = self._executor.submit(self._timed, batch)
            asyncio.wrap_future(running).add_done_callback(partial(self._finish, batch))
        metrics.QUEUE.set(len(self._waiting))

    def _take(self) -> list[_Job[Question, Answer]]:
        """Take an idle thread's share of what is waiting, and forget those nobody waits for any more."""
        idle = self._threads - self._running
        count = min(self._batch, math.ceil(len(self._waiting) / idle))
        batch: list[_Job[Question, Answer]] = []
        while self._waiting and len(batch) < count:
            job = self._waiting.popleft()
            if not job.answer.done():
                batch.append(job)
        return batch

    def _timed(self, batch: Sequence[_Job[Question, Answer]]) -> tuple[Sequence[Answer], float]:
        started = time.perf_counter()
        return self._answers([job.question for job in batch]), time.perf_counter() - started

    def _finish(
        self, batch: Sequence[_Job[Question, Answer]], done: asyncio.Future[tuple[Sequence[Answer], float]]
    ) -> None:
        self._running -= 1
        self._start()
        waited_for = [(index, job.answer) for index, job in enumerate(batch) if not job.answer.done()]
        if error := done.exception():
            for _, answer in waited_for:
                answer.set_exception(error)
            return
        answers, seconds = done.result()
        metrics.BATCH.observe(len(batch))
        self._seconds += 0.1 * (seconds / len(batch) - self._seconds)
        for index, answer in waited_for:
            answer.set_result(answers[index])
