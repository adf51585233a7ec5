"""``perceived info``: what is installed here."""

from __future__ import annotations

from typing import Annotated

import typer

from perceived import terminal


def info(
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="Print what this model says about itself.", show_default=False),
    ] = None,
) -> None:
    """Print what is installed here: versions, weights, devices. With --model, what that model says about itself."""
    from perceived import installed

    if model is not None:
        terminal.echo_json(installed.model(model))
        return
    terminal.table(("what", "version"), installed.describe().items())
    terminal.table(("weights", "bytes", "as packed", "sha256"), installed.weights(), fold=False)
    terminal.table(("device", "here"), installed.devices())
