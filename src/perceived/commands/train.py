"""``perceived train``: here, or on a cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from perceived.commands.cluster import Cluster, Workers
from perceived.commands.options import Settings, Work
from perceived.commands.remote import refuse
from perceived.errors import ConfigError
from perceived.extras import needed_for


def train(
    work: Work,
    out: Annotated[str, typer.Option(help="Folder RUN for the model and its curves.", show_default=False)],
    recipe: Annotated[
        str, typer.Option(help="A name that 'perceived recipes' lists, or a run's config.json.")
    ] = "fast",
    settings: Settings = None,
    init: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Start from a RUN, an ONNX file, or a model by name, such as default.",
            show_default="pretrained",
        ),
    ] = None,
    cluster: Cluster = None,
    workers: Workers = None,
    gpus_per_worker: Annotated[
        int | None, typer.Option(help="With --cluster: graphics cards for each process.", show_default="0")
    ] = None,
) -> None:
    """Train a model. The same command again resumes a run that was interrupted."""
    from perceived import recipes

    chosen = recipes.get(recipe, settings or [])
    if os.path.realpath(work) == os.path.realpath(out):
        raise ConfigError(f"{out} is the workspace itself.", expected="a folder of its own for the run")
    if cluster is not None:
        with needed_for("'perceived train --cluster'", extra="cluster"):
            from perceived.cluster import train as on_cluster

        cards = gpus_per_worker or 0
        on_cluster.train(work, chosen, out, address=cluster, workers=workers, gpus_per_worker=cards, init=init)
    else:
        refuse({"workers": workers, "gpus_per_worker": gpus_per_worker}, "one process", mend="add --cluster ADDRESS")
        from perceived import train as training

        training.train(work, chosen, Path(out), init=init)
    from perceived.checkpoint import Run

    if best := max(Run(Path(out)).history(), key=chosen.worth, default=None):
        typer.echo(
            f"best validation: {best['val_accuracy']:.2%}, loss {best['val_loss']:.4f}, after epoch {best['epoch']:.2f}"
        )
    typer.echo(f"run: {out}")
