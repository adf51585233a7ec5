"""``perceived robustness``: what blur, noise, masks and the like do to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perceived import terminal
from perceived.commands.options import On, RunOrModel, Seed, Work, listed


def robustness(
    model: RunOrModel,
    work: Work,
    on: On = "test",
    kinds: Annotated[
        str | None, typer.Option("--corruptions", metavar="LIST", help="Which to try.", show_default="all")
    ] = None,
    groups: Annotated[
        str, typer.Option(metavar="LIST", help="Columns of WORK to group by, such as race,age.", show_default="none")
    ] = "",
    limit: Annotated[int, typer.Option(help="Try at most so many pictures, half of either label.")] = 1000,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="JSON", help="Compare with another model's robustness.json.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report.", show_default="beside the model")] = None,
    seed: Seed = 0,
) -> None:
    """Score a model on spoilt pictures. Each kind of corruption comes at five severities."""
    from perceived import robustness as trial
    from perceived.corruptions import KINDS

    found = trial.robustness(
        model, work, on=on, kinds=listed(kinds) if kinds else tuple(KINDS), by=listed(groups), limit=limit,
        reference=reference, out=out, seed=seed,
    )  # fmt: skip
    rows = [
        (kind, *(f"{point['accuracy']['value']:.1%}" for point in (found["clean"], *curve)))
        for kind, curve in found["corruptions"].items()
    ]
    terminal.table(("corruption", "clean", "1", "2", "3", "4", "5"), rows)
    if found["mean_corruption_error"] is not None:
        typer.echo(f"mean corruption error: {found['mean_corruption_error']:.3f} (of {found['reference']}: 1)")
    typer.echo(f"report: {Path(found['report'], 'robustness.html')}")
