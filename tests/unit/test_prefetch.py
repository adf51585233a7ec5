"""Work done ahead: what is begun, and what becomes of it when nobody asks for more."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from perceived import prefetch


def test_many_quick_items_are_done_in_order_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "_CHUNK", 3)
    ticks: list[tuple[int, int]] = []
    assert prefetch.each(lambda i: i * i, range(11), progress=lambda *tick: ticks.append(tick)) == [
        i * i for i in range(11)
    ]
    assert ticks == [(3, 11), (6, 11), (9, 11), (11, 11)]
    assert prefetch.each(str, []) == []


def test_what_has_begun_is_ended_and_nothing_more_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second item is at work when the iterator is closed; the third and the fourth wait for their turn."""
    begun, go_on, done = threading.Event(), threading.Event(), []

    def work(item: int) -> int:
        if item:
            begun.set()
            go_on.wait(30)
        done.append(item)
        return item

    shutdown = ThreadPoolExecutor.shutdown

    def let_go(pool: ThreadPoolExecutor, wait: bool = True, *, cancel_futures: bool = False) -> None:
        shutdown(pool, wait=False, cancel_futures=cancel_futures)
        go_on.set()
        shutdown(pool, wait=wait)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", let_go)
    stream = prefetch.ahead(work, range(4), threads=1, most=4)
    assert next(stream) == 0
    assert begun.wait(30)
    stream.close()
    assert done == [0, 1]
