"""``perceived labels``: which labels are probably wrong, and which pictures are there twice."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perceived import terminal
from perceived.commands.options import Seed, Work, listed

SHOWN = 10


def labels(
    work: Work,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN_OR_ONNX", help="A model that has not learnt from them judges.", show_default="cross-validation"
        ),
    ] = None,
    on: Annotated[
        str,
        typer.Option(metavar="LIST", help="Which pictures of the split.", show_default="val,test with a model, or all"),
    ] = "",
    folds: Annotated[int | None, typer.Option(help="Folds of the cross-validation.", show_default="5")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the cross-validation's recipe, last-layer."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for lists and page.", show_default="WORK/labels")] = None,
    seed: Seed = 0,
) -> None:
    """List labels that are probably wrong. Pictures that are there twice, too; the page is for looking through them."""
    from perceived import label_errors
    from perceived.rows import printable
    from perceived.wording import confidence

    names = listed(on)
    found = label_errors.find(work, model=model, on=names, folds=folds, settings=settings or [], out=out, seed=seed)
    folder = out or work / "labels"
    terminal.table(
        ("id", "labelled", "suggested", "its probability"),
        (
            (printable(row["id"]), row["label"], row["suggested"], f"{confidence(1 - row['self_confidence'])}%")
            for row in found["candidates"][:SHOWN]
        ),
    )
    twice = found["duplicates"]
    typer.echo(f"{len(found['candidates']):,} of {found['pictures']['judged']:,} labels to look at")
    typer.echo(f"{twice['pairs']:,} near-identical pairs, {len(twice['contradictions']):,} of which contradict")
    for note in found["notes"]:
        typer.echo(note)
    typer.echo(f"lists: {folder / 'labels.csv'}, {folder / 'duplicates.csv'}\npage: {folder / 'labels.html'}")
