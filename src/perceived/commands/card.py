"""``perceived card``: a model's card from its results."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from perceived.commands.options import RunOrModel, listed
from perceived.data.known import DATASETS


def card(
    model: RunOrModel,
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RESULTS.json]...", help="Files that evaluate, audit and robustness wrote.", show_default=False
        ),
    ] = None,
    datasets: Annotated[
        str, typer.Option(metavar="LIST", help=f"What it was trained on: {', '.join(DATASETS)}.", show_default=False)
    ] = "",
    license_id: Annotated[
        str | None,
        typer.Option("--license", metavar="ID", help="Licence of the model.", show_default="as the datasets allow"),
    ] = None,
    watts: Annotated[
        float | None, typer.Option(min=0, help="What the machine drew, for carbon dioxide.", show_default=False)
    ] = None,
    grams_per_kwh: Annotated[
        float | None,
        typer.Option(min=0, help="Carbon dioxide of its electricity.", show_default="475, the world's average"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Markdown file to write.")] = Path("MODEL_CARD.md"),
) -> None:
    """Write a model's card. Its figures come from results files, its metadata suit the Hugging Face hub."""
    from perceived import card as cards
    from perceived.errors import ConfigError

    names = listed(datasets)
    if not names:
        raise ConfigError("A card says what the model was trained on.", mend="add, for example, --datasets fairface")
    if watts is None and grams_per_kwh is not None:
        raise ConfigError("Grams a kilowatt-hour say nothing without --watts.", mend="add, for example, --watts 200")
    energy = None
    if watts is not None:
        grams = cards.GRAMS_PER_KWH if grams_per_kwh is None else grams_per_kwh
        if not math.isfinite(watts * grams):
            raise ConfigError(f"{watts} watts at {grams} grams are no energy.", expected="numbers, 0 or more")
        energy = cards.Energy(watts=watts, grams_per_kwh=grams)
    cards.write(model, out, datasets=names, results=results or [], license_id=license_id, energy=energy)
    typer.echo(f"card: {out}")
