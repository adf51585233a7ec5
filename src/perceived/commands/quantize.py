"""``perceived quantize``: a model file that computes in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perceived import terminal
from perceived.commands.options import Model, Seed, Work


def quantize(
    model: Model,
    work: Work,
    on: Annotated[str, typer.Option(help="Which pictures of the split compare before and after.")] = "val",
    pictures: Annotated[
        int, typer.Option(help="Training pictures that show how large values inside the network become.")
    ] = 512,
    max_loss: Annotated[float, typer.Option(help="Share of right answers that may be lost.")] = 0.001,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="OUT.onnx", help="File to write.", show_default="MODEL-int8.onnx")
    ] = None,
) -> None:
    """Write a model file that computes in int8. It takes a fraction of the time; refuse where that costs accuracy."""
    from perceived import quantize as quantization

    found = quantization.quantize(model, work, out=out, on=on, pictures=pictures, max_loss=max_loss, seed=seed)
    accuracy, count = found["accuracy"], found["compared_on"]["pictures"]
    rows = [
        ("accuracy", f"{accuracy['before']:.2%}", f"{accuracy['after']:.2%}"),
        ("time of an answer, one thread", "100 %", f"{100 * found['time']:.0f} %"),
        ("other answers", "", f"{found['changed_answers']:,} of {count:,}"),
        ("mean difference of probability", "", f"{found['mean_difference']:.4f}"),
    ]
    terminal.table((f"on {on}", "before", "int8"), rows)
    if note := found.get("note"):
        typer.echo(note)
    typer.echo(f"model: {found['file']}")
