"""``perceived compare``: several networks under one budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perceived import terminal
from perceived.commands.cluster import Cluster, Workers, trials
from perceived.commands.options import Settings, Work, listed
from perceived.errors import ConfigError

DECIDED = {"backbone": "--backbones", "epochs": "--budget", "seed": "--seeds"}
"""Settings of a recipe that a comparison chooses itself, and what decides them."""


def compare(
    work: Work,
    backbones: Annotated[
        str, typer.Option(metavar="LIST", help="Networks by timm's names.")
    ] = "inception_v3,efficientnet_lite0,mobilenetv2_100",
    budget: Annotated[float, typer.Option(metavar="MINUTES", help="Training time of each run.")] = 10.0,
    seeds: Annotated[int, typer.Option(help="Runs of each network.")] = 3,
    recipe: Annotated[str, typer.Option(help="A name that 'perceived recipes' lists.")] = "fast",
    settings: Settings = None,
    on: Annotated[str, typer.Option(help="Which pictures to score: val or test.")] = "test",
    out: Annotated[Path, typer.Option(help="Folder for runs, models and the leaderboard.")] = Path("comparison"),
    cluster: Cluster = None,
    workers: Workers = None,
) -> None:
    """Compare networks under one budget. The same command again resumes."""
    from perceived import compare as comparison
    from perceived.pages import leaderboard as leaderboard_page

    for setting in settings or []:
        if (key := setting.partition("=")[0].strip()) in DECIDED:
            raise ConfigError(f"--set {key}=… has no effect here: {DECIDED[key]} decides.", mend="leave it out")
    names = listed(backbones)
    with trials("compare", cluster, work, out, workers=workers) as there:
        more = {"run_all": there.run_all} if there else {}
        found = comparison.compare(
            work, names, out, minutes=budget, seeds=seeds, recipe=recipe, settings=settings or [], on=on, **more
        )
    terminal.table(leaderboard_page.HEADS, (leaderboard_page.cells(row) for row in found["leaderboard"]))
    for name, why in found["left_out"].items():
        typer.echo(f"left out: {name}: {why}")
    typer.echo(f"report: {out / 'leaderboard.html'}")
