"""``perceived calibrate``: a model's confidence, fitted to labels of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perceived import terminal
from perceived.commands.options import Model, On, Work


def calibrate(
    model: Model,
    work: Work,
    on: On = "val",
    target_error: Annotated[
        float, typer.Option(help="Share of the given answers that may be wrong; below it, 'uncertain'.")
    ] = 0.03,
    certainty: Annotated[
        float, typer.Option(help="How certainly that holds of other pictures drawn as these were. 0: of these alone.")
    ] = 0.95,
    mirror_below: Annotated[
        float | None,
        typer.Option(
            metavar="LOGITS",
            help="Look at a face's mirror image too where its logits are closer than this. 0: never.",
            show_default="the model's own",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="OUT.onnx", help="File to write.", show_default="MODEL-calibrated.onnx")
    ] = None,
) -> None:
    """Fit confidence and threshold to labelled pictures. The model is written into a new file with them."""
    from perceived import calibrate as calibration

    found = calibration.calibrate(
        model, work, on=on, target_error=target_error, certainty=certainty, mirror_below=mirror_below, out=out
    )
    terminal.table((f"on {on}", "before", "after"), terminal.calibration(found))
    chosen = found["threshold"]
    typer.echo(f"{chosen['coverage']:.1%} of the pictures are answered, {chosen['error']:.2%} of those wrongly")
    if found["mirrored"]["below"]:
        typer.echo(f"of {found['mirrored']['share']:.1%} the mirror image was looked at too")
    for note in found["notes"]:
        typer.echo(note)
    typer.echo(f"model: {found['file']}\nreport: {found['report']}")
