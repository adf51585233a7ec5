"""The queue before the threads: order, sharing out, refusal, failure."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque

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
    engine = Engine(lambda n: n * n, threads=3, queue=100)
    assert run(engine, [1, 2, 3], [4], [], [5, 6]) == [[1, 4, 9], [16], [], [25, 36]]


def test_work_is_done_in_other_threads_as_many_as_asked_for():
    seen: set[int] = set()
    together = threading.Barrier(3, timeout=10)

    def answer(question):
        seen.add(threading.get_ident())
        together.wait()
        return question

    run(Engine(answer, threads=3, queue=100), [1, 2, 3])
    assert len(seen) == 3
    assert threading.get_ident() not in seen


def test_a_request_that_does_not_fit_is_refused_whole():
    first, second = run(Engine(lambda n: n, threads=1, queue=3), [1, 2, 3], [4, 5])
    assert first == [1, 2, 3]
    assert isinstance(second, Problem)
    assert second.status == 503
    assert int(second.headers["Retry-After"]) >= 1


def test_a_fault_reaches_those_it_concerns_and_the_engine_goes_on():
    def answer(question):
        if question == 2:
            raise ZeroDivisionError
        return question

    first, second, third = run(Engine(answer, threads=1, queue=100), [1], [2], [3])
    assert (first, third) == ([1], [3])
    assert isinstance(second, ZeroDivisionError)


class Held:
    """Answers each question with itself, once ``go_on`` is set; ``done`` are those answered."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, question):
        self.begun.set()
        self.go_on.wait(30)
        self.done.append(question)
        return question


def test_nothing_is_done_for_those_who_left_and_they_take_no_room():
    held = Held()

    async def leave() -> None:
        engine = Engine(held, threads=1, queue=3)
        asking = asyncio.ensure_future(engine.answer([1, 2, 3]))
        await asyncio.to_thread(held.begun.wait, 30)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        engine.check_room(3)
        held.go_on.set()
        assert await engine.answer([4]) == [4]
        engine.close()

    asyncio.run(leave())
    assert held.done == [1, 4]


def test_requests_take_turns_so_that_a_large_one_does_not_keep_the_others_waiting():
    done: list[int] = []
    first, second, third = run(Engine(lambda n: done.append(n) or n, threads=1, queue=100), [1, 2, 3, 4], [10, 20], [7])
    assert (first, second, third) == ([1, 2, 3, 4], [10, 20], [7])
    assert done == [1, 2, 10, 7, 3, 20, 4]


def test_those_who_stay_keep_their_turns_when_others_leave():
    held = Held()

    async def leave() -> None:
        engine = Engine(held, threads=1, queue=100)
        asking = [asyncio.ensure_future(engine.answer(one)) for one in ([1, 2, 3], [10, 20, 30], [7, 8])]
        await asyncio.to_thread(held.begun.wait, 30)
        asking[1].cancel()
        await asyncio.wait([asking[1]])
        held.go_on.set()
        assert await asyncio.gather(asking[0], asking[2]) == [[1, 2, 3], [7, 8]]
        engine.close()

    asyncio.run(leave())
    assert held.done == [1, 2, 7, 3, 8]


@pytest.mark.parametrize(("waiting", "threads", "seconds"), [(8, 4, "20"), (1000, 1, "30")])
def test_more_threads_are_done_sooner_and_nobody_is_sent_away_for_longer_than_half_a_minute(waiting, threads, seconds):
    engine = Engine(lambda n: n, threads=threads, queue=waiting)
    engine._seconds = 10
    engine._waiting.append(deque(range(waiting)))
    with pytest.raises(Problem) as refused:
        engine.check_room()
    engine.close()
    assert refused.value.headers["Retry-After"] == seconds


def test_quick_answers_shorten_the_time_to_come_again():
    engine = Engine(lambda n: n, threads=1, queue=100)
    engine._seconds = 10
    run(engine, list(range(20)))
    assert engine._seconds < 10 * 0.9**20 + 0.1


def test_an_answer_for_those_who_left_is_nobodys():
    held, faults = Held(), []

    async def leave() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        engine = Engine(held, threads=1, queue=3)
        asking = asyncio.ensure_future(engine.answer([1]))
        await asyncio.to_thread(held.begun.wait, 30)
        asking.cancel()
        await asyncio.wait([asking])
        held.go_on.set()
        assert await engine.answer([2]) == [2]
        engine.close()

    asyncio.run(leave())
    assert (held.done, faults) == ([1, 2], [])


def test_the_time_to_come_again_follows_how_long_answers_take():
    engine = Engine(lambda n: time.sleep(0.3), threads=1, queue=10)
    before = engine._seconds
    run(engine, [1, 2])
    assert engine._seconds > before + 0.01
