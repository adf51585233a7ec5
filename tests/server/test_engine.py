"""The queue before the threads: order, sharing out, refusal, failure."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

pytest.importorskip("fastapi", reason="needs the extra perceived[serve]")

from perceived.server.engine import Engine
from perceived.server.problems import Problem


def run(engine: Engine[int, int], *requests: list[int]) -> list[list[int] | BaseException]:
    async def all_at_once() -> list[list[int] | BaseException]:
        try:
            return await asyncio.gather(*map(engine.answer, requests), return_exceptions=True)
        finally:
            engine.close()

    return asyncio.run(all_at_once())


def test_each_request_gets_its_own_answers_in_order():
    engine = Engine(lambda batch: [n * n for n in batch], threads=3, batch=4, queue=100)
    assert run(engine, [1, 2, 3], [4], [], [5, 6]) == [[1, 4, 9], [16], [], [25, 36]]


def test_what_waits_goes_together_and_idle_threads_share_it():
    batches: list[int] = []

    def answers(batch):
        batches.append(len(batch))
        time.sleep(0.05)
        return batch

    run(Engine(answers, threads=2, batch=4, queue=100), list(range(10)))
    assert sum(batches) == 10
    assert max(batches) == 4
    assert len(batches) >= 3


def test_work_is_done_in_other_threads_as_many_as_asked_for():
    seen: set[int] = set()
    together = threading.Barrier(3, timeout=10)

    def answers(batch):
        seen.add(threading.get_ident())
        together.wait()
        return batch

    run(Engine(answers, threads=3, batch=1, queue=100), [1, 2, 3])
    assert len(seen) == 3
    assert threading.get_ident() not in seen


def test_a_request_that_does_not_fit_is_refused_whole():
    first, second = run(Engine(lambda batch: batch, threads=1, batch=1, queue=3), [1, 2, 3], [4, 5])
    assert first == [1, 2, 3]
    assert isinstance(second, Problem)
    assert second.status == 503
    assert int(second.headers["Retry-After"]) >= 1


def test_a_fault_reaches_those_it_concerns_and_the_engine_goes_on():
    def answers(batch):
        if 2 in batch:
            raise ZeroDivisionError
        return batch

    first, second, third = run(Engine(answers, threads=1, batch=1, queue=100), [1], [2], [3])
    assert (first, third) == ([1], [3])
    assert isinstance(second, ZeroDivisionError)


def test_nothing_is_done_for_those_who_left():
    done: list[int] = []

    def answers(batch):
        time.sleep(0.05)
        done.extend(batch)
        return batch

    async def leave() -> None:
        engine = Engine(answers, threads=1, batch=1, queue=100)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await engine.answer([1, 2, 3])
        assert await engine.answer([4]) == [4]
        engine.close()

    asyncio.run(leave())
    assert done == [1, 4]
