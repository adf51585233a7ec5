"""``perceived average``: the mean of several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def average(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...",
            help="Two or more RUNs, ONNX files, or names; at least one RUN. One named twice counts twice.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder to write.", show_default=False)],
) -> None:
    """Average the weights of models that went on from one another. The mean often answers better than each."""
    from perceived import average as averaging

    averaging.average(models, out)
    typer.echo(f"run: {out}")
