"""``perceived tune``: a search for a better recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from perceived import terminal
from perceived.commands.cluster import Cluster, Workers, trials
from perceived.commands.options import Seed, Settings, Work

SHOWN = 5


def tune(
    work: Work,
    count: Annotated[int, typer.Option("--trials", help="Recipes to try, those of an earlier call among them.")] = 20,
    recipe: Annotated[str, typer.Option(help="The recipe to search around.")] = "fast",
    settings: Settings = None,
    out: Annotated[Path, typer.Option(help="Folder for trials, runs and report.")] = Path("tuning"),
    seed: Seed = 0,
    cluster: Cluster = None,
    workers: Workers = None,
) -> None:
    """Search for a better recipe. It tries rates, frozen stages, augmentation and head; run again, it resumes."""
    from perceived import tune as tuning
    from perceived.pages import tune as tune_page

    with trials("tune", cluster, work, out, workers=workers) as there:
        more: dict[str, Any] = {"learn": there.learn, "at_once": there.at_once} if there else {}
        found = tuning.tune(work, out, trials=count, recipe=recipe, settings=settings or [], seed=seed, **more)
    rows = tune_page.ranked(found)
    terminal.table(tune_page.heads(found), (tune_page.cells(row, found) for row in rows[:SHOWN]))
    typer.echo(f"report: {out / 'tuning.html'}\nbest:\n{found['command']}")
