"""How the commands print: tables, JSON and figures."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import typer

WIDE = 500
"""Columns of a page that nobody sees the edge of."""


def echo_json(value: Mapping[str, Any], indent: int | None = 2) -> None:
    """Print JSON: indented, or as one line."""
    typer.echo(json.dumps(value, indent=indent, allow_nan=False))


def table(headings: Sequence[str], rows: Iterable[Iterable[Any]], *, fold: bool = True) -> None:
    """Print rows under headings, as wide as the terminal; unfolded where they go to a file, or are to be copied."""
    from rich.table import Column, Table

    drawn = Table(*(Column(heading, overflow="fold") for heading in headings), box=None, pad_edge=False)
    for row in rows:
        drawn.add_row(*map(str, row))
    show(drawn, fold=fold)


def show(drawn: Any, *, fold: bool = True) -> None:
    """Print anything Rich can draw; square brackets in it are text, as in ``perceived[train]``."""
    from rich.console import Console

    width = None if fold and (sys.stdout.isatty() or "COLUMNS" in os.environ) else WIDE
    Console(markup=False, highlight=False, width=width).print(drawn)


def rates(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, ...]]:
    """Name each rate of an evaluation, with its interval; the confusion matrix's counts are in the report."""
    for name, value in metrics.items():
        if "value" in value:
            figures = (value["value"], value["low"], value["high"])
            yield f"{prefix}{name}".replace("_", " "), *("-" if x is None else f"{x:.4f}" for x in figures)
        elif name != "confusion":
            yield from rates(value, f"{name} ")


def calibration(found: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Name what a calibration changed, before and after."""
    for name in ("temperature", "power", "calibration_error", "threshold"):
        yield name.replace("_", " "), *(f"{found[name][when]:.4f}" for when in ("before", "after"))
