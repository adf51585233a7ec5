"""Stopping without losing a request: first say so and go on answering, then let the server end."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""A closed terminal ends a server as well, unless it was started with nohup, which has the signal ignored."""


@contextmanager
def gently(announce: Callable[[], None], *, seconds: float) -> Iterator[None]:
    """At the first signal to stop, call ``announce``; ``seconds`` later, pass it on to whoever had it before.

    A connection that is kept open may have its next request on the way when the server decides to
    stop. In those seconds such requests are still answered, and their callers told to come no more.
    Ctrl-C in a terminal reaches every process of a server, and then the first one tells the others again:
    only another SIGINT is passed on at once, and never the first one, which uvicorn would count as the
    first of the two that make it drop what is under way. Outside the main thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    previous = {number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    announced, passed = False, False

    def pass_on(number: signal.Signals) -> None:
        nonlocal passed
        passed = True
        known = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM  # to uvicorn
        handler = previous.get(known, previous[number])
        if callable(handler):
            handler(known, None)

    def on_signal(number: signal.Signals) -> None:
        nonlocal announced
        if not announced:
            announced = True
            announce()
            loop.call_later(seconds, lambda: pass_on(signal.SIGTERM if passed else number))
        elif number == signal.SIGINT:
            pass_on(number)

    for number in previous:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number, handler in previous.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
