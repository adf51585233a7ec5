"""The command line: thin commands, each of which calls one function of the stage it is named after.

Commands import what they need when they run, so that ``perceived predict`` works without the
packages of the extra ``train``, and ``perceived --help`` is quick.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import sys
from typing import Annotated, NoReturn

import typer

from perceived import __version__
from perceived.commands import (
    audit,
    average,
    calibrate,
    card,
    compare,
    data,
    demo,
    evaluate,
    export,
    info,
    labels,
    networks,
    predict,
    push,
    quantize,
    robustness,
    serve,
    train,
    tune,
    video,
)
from perceived.errors import ConfigError, MissingExtraError, PerceivedError, StorageError
from perceived.extras import needed_for

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line; what the caller can mend, a full disk included, ends with exit code 2."""
    _open_streams()
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    asked = f"'perceived {command}'"
    try:
        _require_folder()
        _refuse_empty(sys.argv[1:])
        with needed_for(asked, extra=command):
            app()
    except MissingExtraError as error:
        _fail(_of_the_command(error, asked, command))
    except PerceivedError as error:
        _fail(error)
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        _fail(_refused(error))


def _refused(error: OSError) -> StorageError:
    """Return what the system has refused as an error of ours."""
    if error.errno == errno.ENOSPC:
        return StorageError("The disk is full, or what takes the output is.", mend="free some space")
    where = f"{error.filename}: " if error.filename else ""
    files = error.errno in (errno.EMFILE, errno.ENFILE)
    mend = "allow more open files (ulimit -n 1024)" if files else "see what it says, and run the command again"
    return StorageError(f"The system refuses: {where}{error.strerror or error}.", mend=mend)


def _of_the_command(error: MissingExtraError, asked: str, command: str) -> PerceivedError:
    """Return what lacks an extra as a user of commands knows it, who has not asked for a module."""
    if not error.feature.startswith("perceived."):
        return error
    try:
        with needed_for(asked, extra=command):
            raise error.__cause__ or error
    except MissingExtraError as told:
        return MissingExtraError(asked, told.extra)


def _open_streams() -> None:
    """Give a process that lacks a stream an empty one; what a stream's encoding cannot write is written escaped.

    Output gets a buffer where it has none, as PYTHONUNBUFFERED asks for: without one, a part of a line may be lost.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 -- for as long as we run
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper) and isinstance(sys.stdout.buffer, io.RawIOBase):
        sys.stdout = open(  # noqa: SIM115 -- for as long as we run
            sys.stdout.fileno(),
            "w",
            buffering=1,
            encoding=sys.stdout.encoding,
            errors="backslashreplace",
            closefd=False,
        )


def _require_folder() -> None:
    """Raise :class:`ConfigError` where the folder one is in has been deleted, of which no path can be made."""
    try:
        os.getcwd()  # noqa: PTH109 -- what Path.cwd calls
    except FileNotFoundError:
        raise ConfigError("The folder you are in is gone.", mend="cd into another") from None


def _refuse_empty(words: list[str]) -> None:
    """Refuse a word that is empty, which is what is left of an unset variable: as a path it would mean this folder."""
    for before, word in itertools.pairwise(["", *words]):
        option, _, value = word.partition("=")
        if not word or (option.startswith("--") and option != word and not value):
            where = option or (before if before.startswith("--") else "")
            raise ConfigError(
                f"An empty word was given{where and ' to ' + where}.",
                mend="check the variable it came from, or give . for this folder",
            )


def _fail(error: PerceivedError) -> NoReturn:
    typer.echo(f"Error: {error}", err=True)
    try:
        sys.stdout.flush()
    except OSError:  # what is left could not be written at the end either
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    sys.exit(2)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"perceived {__version__}")
        raise typer.Exit


@app.callback()
def perceived(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train, audit and serve a classifier of perceived gender from face photographs."""


COMMANDS = (
    *(demo.demo, demo.demo_data, data.download, data.prepare, data.explore, data.split, data.augment),
    *(networks.backbones, networks.recipes, train.train, average.average, tune.tune),
    *(evaluate.evaluate, audit.audit, robustness.robustness, compare.compare, labels.labels, card.card, push.push),
    *(calibrate.calibrate, export.export, quantize.quantize),
    *(predict.predict, video.video, serve.serve, info.info),
)
"""In the order of ``perceived --help``."""
for one in COMMANDS:
    app.command()(one)
