"""What a long command shows while it works: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from torch import Tensor

    from perceived.schedule import Schedule

Tick = Callable[[int, int], None]
"""What long work calls now and then: so much is done, of so much."""
PLAIN_SECONDS = 20.0
"""Time between two lines where the output is not a terminal."""


def say(line: str) -> None:
    """Print one line about what begins, to standard error."""
    Console(stderr=True, markup=False, highlight=False).print(line, soft_wrap=True)


@contextlib.contextmanager
def counter(title: str, *, quiet: bool = False) -> Iterator[Tick]:
    """Yield a callback ``(done, total)`` that draws a bar, or now and then prints a line; nothing when it is quiet."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield lambda done, total: None
        return
    if not console.is_terminal:
        yield _lines(title, console)
        return
    with _bar(console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _bar(console: Console, *, transient: bool = False) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=transient)


def _lines(title: str, console: Console) -> Tick:
    told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= PLAIN_SECONDS:
            told = time.monotonic()
            console.print(f"{title}: {done:,} of {total:,}", markup=False, soft_wrap=True)

    return tell


class Reporter:
    """Shows a training run: epoch, step, loss, images per second, time left, and each validation."""

    def __init__(self, schedule: Schedule, step: int, *, quiet: bool) -> None:
        self._schedule = schedule
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False)
        self._mark = (time.monotonic(), step)
        self._bar: Progress | None = None
        if not quiet and self._console.is_terminal:
            self._bar = _bar(self._console)
            self._task = self._bar.add_task("training", total=schedule.steps, completed=step)

    def __enter__(self) -> Reporter:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, done: int, loss: Tensor) -> None:
        """Tell of a finished step."""
        if self._quiet:
            return
        since, from_step = self._mark
        seconds = time.monotonic() - since
        if seconds < (0.5 if self._bar else PLAIN_SECONDS):
            return
        pace = (done - from_step) / seconds
        text = (
            f"epoch {done / self._schedule.steps_per_epoch:.2f}  loss {float(loss):.3f}"
            f"  {pace * self._schedule.batch_size:.1f} img/s"
        )
        self._mark = (time.monotonic(), done)
        if self._bar:
            self._bar.update(self._task, completed=done, description=text)
        else:
            left = (self._schedule.steps - done) / pace / 60
            self._print(f"step {done}/{self._schedule.steps}  {text}  {left:.1f} min left at this pace")

    def validation(self, line: Mapping[str, Any], *, is_best: bool) -> None:
        """Tell of a validation."""
        if self._quiet:
            return
        self._mark = (time.monotonic(), line["step"])
        height, width = line["size"]
        self._print(
            f"epoch {line['epoch']:.2f}  {line['image_steps']:,} image-steps at {width}×{height}"
            f"  train {line['train_loss']:.4f} / {line['train_accuracy']:.2%}"
            f"  validation {line['val_loss']:.4f} / {line['val_accuracy']:.2%}{'  (best)' if is_best else ''}"
        )

    def _print(self, text: str) -> None:
        """Print a line that stays one line in a log, however narrow a terminal would be."""
        self._console.print(text, soft_wrap=True)
