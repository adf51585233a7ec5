"""``perceived evaluate``: how good a model is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perceived import terminal
from perceived.commands.options import Work


def evaluate(
    model: Annotated[
        Path, typer.Argument(metavar="RUN_OR_ONNX", help="A RUN folder or an exported ONNX file.", show_default=False)
    ],
    work: Work,
    on: Annotated[str, typer.Option(help="Which pictures of the split: train, val or test.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Folder for the report.", show_default="beside the model")] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Score also without these ids, such as labels.csv.", show_default=False),
    ] = None,
) -> None:
    """Score a model. The report has intervals, calibration and the most confident mistakes."""
    from perceived import evaluate as evaluation
    from perceived.models import report_folder

    folder = out or report_folder(model, f"evaluation-{on}")
    found = evaluation.evaluate(model, work, on=on, out=folder, exclude=exclude)
    terminal.table((f"on {on}", "value", "95 % from", "to"), terminal.rates(found["metrics"]))
    if cleaned := found["cleaned"]:
        heads = (f"without {cleaned['excluded']:,}", "value", "95 % from", "to")
        terminal.table(heads, terminal.rates(cleaned["metrics"]))
    for note in found["notes"]:
        typer.echo(note)
    typer.echo(f"report: {folder / 'report.html'}")
