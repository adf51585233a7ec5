"""``perceived evaluate``: how good a model is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perceived import terminal
from perceived.commands.options import On, RunOrModel, Work


def evaluate(
    model: RunOrModel,
    work: Work,
    on: On = "test",
    out: Annotated[Path | None, typer.Option(help="Folder for the report.", show_default="beside the model")] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Score also without these ids, such as labels.csv.", show_default=False),
    ] = None,
) -> None:
    """Score a model. The report has intervals, calibration and the most confident mistakes."""
    from perceived import evaluate as evaluation

    found = evaluation.evaluate(model, work, on=on, out=out, exclude=exclude)
    terminal.table((f"on {on}", "value", "95 % from", "to"), terminal.rates(found["metrics"]))
    if cleaned := found["cleaned"]:
        heads = (f"without {cleaned['excluded']:,}", "value", "95 % from", "to")
        terminal.table(heads, terminal.rates(cleaned["metrics"]))
    for note in found["notes"]:
        typer.echo(note)
    typer.echo(f"report: {Path(found['report'], 'report.html')}")
