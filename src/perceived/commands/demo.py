"""``perceived demo`` and ``perceived demo-data``: the whole study on faces of nobody, and the faces alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perceived.commands.options import Seed, Settings


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the study leaves behind.")] = Path("demo"),
    settings: Settings = None,
    photograph: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PICTURE",
            help="Answer for this photograph at the end; may be repeated.",
            show_default="scikit-image's astronaut, where that is installed",
        ),
    ] = None,
) -> None:
    """Run the whole study on faces of nobody. It takes a few minutes, and goes on if interrupted."""
    from perceived import study

    typer.echo(f"report: {study.run(out, settings=settings or [], photographs=photograph)}")


def demo_data(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder to write, laid out as CelebA is.", show_default=False)
    ],
    count: Annotated[int, typer.Option(help="Number of pictures.")] = 1000,
    seed: Seed = 0,
) -> None:
    """Write a CelebA of faces of nobody. They are generated, and the same for the same seed."""
    from perceived import demo_faces
    from perceived.progress import counter

    with counter("drawing faces") as progress:
        written = demo_faces.write(out, count=count, seed=seed, progress=progress)
    typer.echo(f"demo set: {written}")
