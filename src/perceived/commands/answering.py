"""Answering for pictures: rows are written, and faces drawn, as the answers come."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, tee
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from perceived import rows, sources
from perceived.errors import ConfigError
from perceived.storage import atomic_path, storage_errors
from perceived.tally import Tally
from perceived.types import Picture
from perceived.wording import counted

if TYPE_CHECKING:
    from perceived.album import Album
    from perceived.client import Client
    from perceived.predictor import Predictor
    from perceived.resume import Before

LOOK_UP = 0.2
"""Seconds between two looks for signals while standard input is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where rows go, and how they look: to ``out``, to the end of ``resume``, or to standard output."""

    form: rows.Format
    out: Path | None = None
    resume: Path | None = None


def answer(predictor: Predictor | Client, words: Iterable[str], output: Output, album: Album | None) -> Tally:
    """Write a row, and what is to be drawn, for every picture that ``words`` mean.

    Raises:
        ConfigError: there is no picture.
    """
    words = list(words)
    find = partial(sources.find, without=album.folders if album else ())
    before = _before(output, predictor, lambda: {one.location for one in find(words)})
    done = before.answered - {sources.STDIN}  # it is another picture each time
    tally = Tally(answered_before=len(done), unreadable_before=before.unreadable)
    if album and done:
        _complain(f"{counted(len(done), 'picture')} answered before: not drawn again.")
    found = _some(find(words), words)
    if album:
        found = _keeping_names(found, partial(find, words), before.sources)
    for word in words:
        if sources.is_folder(Path(word)) and next(find([word]), None) is None:
            _complain(f"There is no picture in {rows.on_one_line(word)}.")
    asked = (one for one in found if one.location not in done)
    labels = predictor.labels
    total = sum(1 for one in find(words) if one.location not in done) if _has_bar(output) else None
    with _writing(output, labels) as write, _progress(total) as progress:
        for picture in _answers(predictor, asked, album):
            write(rows.rows(output.form, picture, labels))
            if picture.error is not None and output.form is rows.Format.TABLE:
                _complain(rows.on_one_line(_complaint(picture.source, picture.error)))
            tally.add(picture)
            progress(tally.pictures)
    return tally


def _keeping_names(
    found: Iterable[sources.Found], again: Callable[[], Iterator[sources.Found]], earlier: Collection[str]
) -> Iterator[sources.Found]:
    """Name drawings as earlier runs did: of what those found first, in its order, though some of it may be gone.

    ``again`` finds everything anew.
    """
    if not earlier:
        return sources.distinct(found)
    gone = set(earlier) - {one.location for one in again()}
    gone = {location for location in gone if not os.path.lexists(location)}
    first = (one for one in sources.with_gone(again(), gone) if one.location in earlier)
    fresh = (one for one in found if one.location not in earlier)
    return (one for one in sources.distinct(chain(first, fresh)) if one.location not in gone)


def _complaint(source: str, error: str) -> str:
    """Name the picture, unless the error does, in one line."""
    told = " ".join(error.split("\n"))
    return told if source in error else f"{source}: {told}"


def _complain(words: str) -> None:
    """Say something beside the answers, which go on where it cannot be said, as on a full disk."""
    with contextlib.suppress(OSError):
        typer.echo(words, err=True)


def _answers(predictor: Predictor | Client, found: Iterable[sources.Found], album: Album | None) -> Iterator[Picture]:
    """Answer for the pictures, and draw them where there is an album."""
    if album is None:
        yield from predictor.stream(*_named(found))
        return
    from perceived.predictor import Predictor

    assert isinstance(predictor, Predictor)
    found, drawn = tee(found)
    for one, (picture, image) in zip(drawn, predictor.stream_with_pixels(*_named(found)), strict=True):
        if image is not None:
            album.add(one.relative, picture, image)
        yield picture


def _named(found: Iterable[sources.Found]) -> tuple[Iterator[str | bytes], Iterator[str]]:
    """Return the pictures to read, and beside them what they are called."""
    read, named = tee(found)
    pictures = (_stdin() if one.location == sources.STDIN else one.location for one in read)
    return pictures, (one.location for one in named)


def _stdin() -> bytes:
    """Read standard input, looking up now and then: a read does not hear of a signal that came just as it began."""
    from perceived.images import MAX_BYTES

    number, data = sys.stdin.fileno(), bytearray()
    while len(data) <= MAX_BYTES:
        while not select.select([number], [], [], LOOK_UP)[0]:
            pass
        part = os.read(number, io.DEFAULT_BUFFER_SIZE * 8)
        if not part:
            break
        data += part
    return bytes(data)


def _some(found: Iterator[sources.Found], words: Iterable[str]) -> Iterator[sources.Found]:
    """Return the pictures, or complain that there is none, before anything is written."""
    first = next(found, None)
    if first is None:
        raise ConfigError(
            f"There is no picture in {', '.join(words)}.",
            expected=f"files that end with {', '.join(sorted(sources.ENDINGS))}",
            mend="give the files themselves if they are pictures with other endings",
        )
    return chain([first], found)


def _before(output: Output, predictor: Predictor | Client, asked: Callable[[], Collection[str]]) -> Before:
    from perceived.resume import Before, answered

    return Before() if output.resume is None else answered(output.resume, predictor, asked)


@contextlib.contextmanager
def _writing(output: Output, labels: tuple[str, ...]) -> Iterator[Callable[[str], object]]:
    """Yield what takes rows: a new file comes whole or not at all, a resumed one grows line by line."""
    with contextlib.ExitStack() as stack:
        if output.resume is not None:
            from perceived.resume import appending

            write = stack.enter_context(appending(output.resume)).write
        elif output.out is not None:
            unfinished = stack.enter_context(atomic_path(output.out))
            write = stack.enter_context(open(unfinished, "w", encoding="utf-8", newline="")).write
        else:
            write = _print
        write(rows.head(output.form, labels))
        yield write


def _print(text: str) -> int:
    """Write to standard output whole, or raise; a terminal is shown no control characters of files' names."""
    if sys.stdout.isatty():
        text = "".join(letter if letter in "\n\t" else rows.on_one_line(letter) for letter in text)
    with storage_errors(Path("standard output")):
        typer.echo(text, nl=False)
    return len(text)


def _has_bar(output: Output) -> bool:
    """Say whether there is a terminal for a bar, on which no rows are printed."""
    printed = output.out is None and output.resume is None and sys.stdout.isatty()
    return sys.stderr.isatty() and not printed


@contextlib.contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int], object]]:
    """Yield what is told of finished pictures: it draws a bar if there is a ``total``."""
    if total is None:
        yield lambda done: None
        return
    from perceived.progress import counter

    with counter("answering") as tick:
        yield lambda done: tick(done, total)
