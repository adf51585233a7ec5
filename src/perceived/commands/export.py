"""``perceived export``: a run, as one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder that 'perceived train' wrote.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="ONNX file to write.", show_default=False)],
    store: Annotated[
        str,
        typer.Option(
            metavar="TYPE", help="Keep the weights as float32, float16 (half the space) or int8 (a quarter of it)."
        ),
    ] = "float32",
) -> None:
    """Write a run's best model as one ONNX file. It is checked against the run's own answers."""
    from perceived import export as exporter

    typer.echo(f"model: {exporter.export(run, out, store=store)}")
