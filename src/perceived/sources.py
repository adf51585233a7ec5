"""Which pictures the words on a command line mean: files, folders, patterns and standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from pathlib import Path, PurePath

from perceived.errors import ConfigError

ENDINGS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".heic", ".heif", ".hif"),
        *(".gif", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".pnm"),
    )
)
"""Endings by which a folder's pictures are known; a file that is named itself may have any."""
VIDEO_ENDINGS = frozenset([".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".3gp"])
STDIN = "-"
_LONGEST_STEM = 200
"""Bytes of a picture's name that its drawings keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One picture: what to read, and the path that names what is drawn of it.

    ``relative`` is the path below the folder that was asked for, or the file's own name.
    """

    location: str
    relative: PurePath


def find(
    words: Iterable[str],
    *,
    endings: Collection[str] = ENDINGS,
    whole: str = "",
    without: Collection[Path] = (),
) -> Iterator[Found]:
    """Yield the pictures that ``words`` mean, in their order; folders and patterns in alphabetical order.

    A folder means the files in it and below with these ``endings``, hidden ones left out; folders that
    end with ``whole``, and those that cannot be listed, are yielded themselves. A word that
    is no file but has ``*``, ``?`` or ``[`` is a pattern, in which ``**`` stands for any folders. A
    word that is nothing is yielded as it is: reading it will say why.

    A video that a pattern matches is yielded too: reading it will say that it is one. What folders and patterns
    find in the folders ``without``, real paths as of :func:`real`, is left out.

    Raises:
        ConfigError: a word is empty, or a video; this is said before anything is yielded.
    """
    words = list(words)
    check(words)
    for word in words:
        if word == STDIN:
            yield Found(location=STDIN, relative=PurePath("stdin"))
        elif _is_path(word):
            yield from _of_path(word, endings, whole, without)
        else:
            for match in _outermost(sorted(_matches(word))) or [word]:
                if not (without and _is_inside(match, without)):
                    yield from _of_path(match, endings, whole, without)


def _matches(pattern: str) -> set[str]:
    """Return what a pattern matches. A pattern that ends with ``**`` means the folders before it, which are walked.

    ``**`` is not left to :mod:`glob`, which never comes back from links that lead in circles.
    """
    parts = PurePath(pattern).parts
    if "**" not in parts:
        return {*glob.glob(pattern), *_closed(parts)}  # noqa: PTH207 -- takes absolute patterns too
    first = parts.index("**")
    before, after = os.path.join(*parts[:first], ""), parts[first + 1 :]  # noqa: PTH118 -- "" is the folder one is in
    tops = _matches(before) if glob.has_magic(before) else {before}
    if not after:
        return {top or os.curdir for top in tops if is_folder(Path(top))}
    unlisted: list[OSError] = []
    below = (PurePath(inside) for top in tops for inside, _, _ in walk(top, unlisted.append))
    found = [_matches(os.fspath(PurePath(glob.escape(os.fspath(inside)), *after))) for inside in below]
    closed = (error.filename for error in unlisted if isinstance(error, PermissionError))
    return set().union(*found, closed)


def _closed(parts: Sequence[str]) -> Iterator[str]:
    """Yield the folders in which a pattern of these ``parts`` has to look, and may not: :mod:`glob` tells of none."""
    for number, part in enumerate(parts):
        if number and glob.has_magic(part):
            before = os.path.join(*parts[:number])  # noqa: PTH118 -- a pattern
            folders = glob.glob(before) if glob.has_magic(before) else [before]  # noqa: PTH207
            yield from (one for one in folders if is_folder(Path(one)) and not os.access(one, os.R_OK | os.X_OK))


def _outermost(matches: list[str]) -> list[str]:
    """Leave out what lies in a folder that matches too, as ``**`` matches both: that folder is walked."""
    walked = {path for path in map(Path, matches) if is_folder(path)}
    return [match for match in matches if walked.isdisjoint(Path(match).parents)]


def real(path: str | Path) -> Path:
    """Return where a path leads, there or not; unlike ``Path.resolve``, of any path."""
    try:
        return Path(os.path.realpath(path))
    except OSError:  # a link of another user's process, which may not be followed
        return Path(os.path.abspath(path))  # noqa: PTH100 -- links are not followed


def _is_inside(path: str | Path, folders: Collection[Path]) -> bool:
    found = real(path)
    return any(folder == found or folder in found.parents for folder in folders)


def place(word: str) -> Path:
    """Return where a word's pictures are: its path, or the folder before the first sign of a pattern."""
    if _is_path(word):
        return Path(word)
    plain = list(takewhile(lambda part: not glob.has_magic(part), Path(word).parts))
    return Path(*plain)


def _is_path(word: str) -> bool:
    """Say whether a word names one thing, there or not, and is no pattern."""
    return os.path.lexists(word) or not glob.has_magic(word)


def is_folder(path: Path) -> bool:
    """Say whether a path is a folder; one that is too long to be anything is none."""
    return os.path.isdir(path)  # noqa: PTH112 -- Path.is_dir raises where the name is too long


def check(words: Iterable[str]) -> None:
    """Raise :class:`ConfigError` if one of the words is empty, or a video."""
    for word in words:
        if not word:
            raise ConfigError(
                "An empty word names no picture.", mend="check the variable it came from, or give . for here"
            )
        path = Path(word)
        if path.suffix.lower() in VIDEO_ENDINGS and not is_folder(path) and _is_path(word):
            raise ConfigError(f"{word} is a video, not a picture.", mend=f"perceived video {word}")


def _of_path(word: str, endings: Collection[str], whole: str, without: Collection[Path]) -> Iterator[Found]:
    path = Path(word)
    if is_folder(path) and not _is_whole(path, whole):
        yield from _below(path, endings, whole, without)
        return
    yield Found(location=word, relative=PurePath(path.name or "picture"))


def _below(folder: Path, endings: Collection[str], whole: str, without: Collection[Path]) -> Iterator[Found]:
    unlisted: list[OSError] = []
    for inside, folders, files in walk(folder, unlisted.append):
        if without:
            folders[:] = [name for name in folders if not _is_inside(Path(inside, name), without)]
        paths = [Path(inside, name) for name in folders if _is_whole(Path(name), whole)]
        folders[:] = [name for name in folders if not _is_whole(Path(name), whole)]
        paths += [path for name in files if (path := Path(inside, name)).suffix.lower() in endings]
        yield from (Found(location=os.fspath(path), relative=path.relative_to(folder)) for path in paths)
    for error in unlisted:
        path = Path(error.filename)
        relative = PurePath("folder") if path == folder else path.relative_to(folder)
        yield Found(location=os.fspath(path), relative=relative)


def with_gone(found: Iterable[Found], gone: Iterable[str]) -> Iterator[Found]:
    """Put pictures that are ``gone``, files of an earlier time, where they would stand among those that are found.

    They are put among the others of their folder; of a folder without any, nothing is known.
    """
    waiting: dict[str, list[str]] = {}
    for location in sorted(gone, reverse=True):
        waiting.setdefault(os.path.dirname(location), []).append(location)  # noqa: PTH120 -- as it is written
    for folder, files in groupby(found, lambda one: os.path.dirname(one.location)):  # noqa: PTH120
        missing = waiting.pop(folder, [])
        for one in files:
            while missing and missing[-1] < one.location:
                yield _beside(one, missing.pop())
            yield one
        yield from (_beside(one, location) for location in reversed(missing))


def _beside(one: Found, location: str) -> Found:
    return Found(location=location, relative=one.relative.with_name(PurePath(location).name))


def walk(
    top: str | Path, onerror: Callable[[OSError], object] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk as :func:`os.walk` does, in alphabetical order and past hidden names.

    Links to folders are followed after all else, unless they are taken out of the list of folders, and no folder is
    seen twice: they may lead in circles.
    """
    seen, waiting = set(), [os.fspath(top)]
    for start in waiting:
        for inside, folders, files in os.walk(start or os.curdir, onerror=onerror):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if (here := os.path.realpath(inside)) in seen:
                folders.clear()
                continue
            seen.add(here)
            yield inside, folders, sorted(name for name in files if not name.startswith("."))
            waiting += [path for name in folders if os.path.islink(path := os.path.join(inside, name))]  # noqa: PTH114, PTH118


def _is_whole(path: Path, whole: str) -> bool:
    return bool(whole) and path.suffix.lower() == whole


def distinct(found: Iterable[Found]) -> Iterator[Found]:
    """Pass pictures on, with a number added to a ``relative`` path whose stem another one has already.

    Names of drawings differ by their stems only, and not by case, which some disks ignore. What they add
    to a stem leaves less room for it than disks do.
    """
    taken: dict[str, int] = {}  # each name, and the last number that it was given
    for one in found:
        relative = short = _shortened(one.relative)
        first = _key(short)
        while (key := _key(relative)) in taken:
            taken[first] += 1
            relative = short.with_stem(f"{short.stem}-{taken[first]}")
        taken[key] = 1
        yield one if relative is one.relative else Found(location=one.location, relative=relative)


def _key(path: PurePath) -> str:
    return os.fspath(path.with_suffix("")).casefold()


def _shortened(path: PurePath) -> PurePath:
    stem = os.fsencode(path.stem)
    return path if len(stem) <= _LONGEST_STEM else path.with_stem(stem[:_LONGEST_STEM].decode("utf-8", "ignore"))
