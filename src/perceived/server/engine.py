"""From pictures to answers, off the event loop: a bounded queue and the threads that empty it.

State is touched on the event loop only, so it needs no lock. A thread takes one picture at a time: most of
the work is decoding and finding faces, which no batch quickens. Requests take turns, a picture each, so that
one of many pictures does not keep the others waiting until it is done.
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
    """A bounded queue before ``threads`` threads, which call ``answer`` at the same time.

    An engine lives on one event loop: ask it there, and close it there.
    """

    def __init__(self, answer: Callable[[Question], Answer], *, threads: int, queue: int) -> None:
        self._answer = answer
        self._threads, self._queue = threads, queue
        self._waiting: deque[deque[_Job[Question, Answer]]] = deque()
        """What each request has waiting, none of them empty; whose turn it is stands first."""
        self._running = 0
        self._seconds = 0.05
        self._executor = ThreadPoolExecutor(threads, "perceived-answer")

    async def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Return one answer for each question, in their order.

        Where this is cancelled, or one of them fails, the others that wait are forgotten.

        Raises:
            Problem: the queue has no room for all of them; none was taken.
        """
        self.check_room(len(questions))
        loop = asyncio.get_running_loop()
        jobs = [_Job(question, loop.create_future()) for question in questions]
        waiting = deque(jobs)
        if waiting:
            self._waiting.append(waiting)
        self._start()
        try:
            return list(await asyncio.gather(*(job.answer for job in jobs)))
        except BaseException:
            waiting.clear()
            self._waiting = deque(filter(None, self._waiting))
            for job in jobs:
                job.answer.cancel()
            metrics.QUEUE.set(self._count())
            raise

    def check_room(self, count: int = 1) -> None:
        """Raise :class:`Problem` if ``count`` more pictures would overfill the queue."""
        waiting = self._count()
        if waiting + count > self._queue:
            waits = math.ceil(self._seconds * waiting / self._threads)
            raise overloaded(
                f"The queue holds {counted(waiting, 'picture')}, of at most {self._queue:,}.",
                retry_after=min(max(waits, 1), 30),
            )

    def close(self) -> None:
        """Let the threads end when they have answered what they hold."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _count(self) -> int:
        """Return how many pictures wait."""
        return sum(map(len, self._waiting))

    def _start(self) -> None:
        """Give free threads a picture each, of one request after another."""
        while self._waiting and self._running < self._threads:
            request = self._waiting.popleft()
            job = request.popleft()
            if request:
                self._waiting.append(request)
            self._running += 1
            running = self._executor.submit(self._timed, job.question)
            asyncio.wrap_future(running).add_done_callback(partial(self._finish, job))
        metrics.QUEUE.set(self._count())

    def _timed(self, question: Question) -> tuple[Answer, float]:
        started = time.perf_counter()
        return self._answer(question), time.perf_counter() - started

    def _finish(self, job: _Job[Question, Answer], done: asyncio.Future[tuple[Answer, float]]) -> None:
        self._running -= 1
        self._start()
        error = done.exception()
        if error is None:
            answer, seconds = done.result()
            self._seconds += 0.1 * (seconds - self._seconds)
        if job.answer.done():
            return
        if error is None:
            job.answer.set_result(answer)
        else:
            job.answer.set_exception(error)
