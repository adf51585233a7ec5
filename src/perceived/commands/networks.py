"""What can be trained: ``perceived backbones`` and ``perceived recipes``."""

from __future__ import annotations

from typing import Annotated

import typer

from perceived import terminal


def backbones() -> None:
    """List the pretrained networks. Say where weights come from, and under which licence."""
    from perceived import packaged_weights

    known = packaged_weights.known()
    rows = ((r["backbone"], f"{r['package']} {r['version']}", r["license"], r["sha256"][:12]) for r in known)
    terminal.table(("backbone", "package", "licence", "sha256"), rows)


def recipes(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print this recipe's settings.")] = None,
) -> None:
    """List the training recipes. With a name, the settings 'train --set' can change."""
    from perceived import recipes as known

    if name is None:
        terminal.table(("recipe", "what"), known.summaries().items())
        return
    for setting in known.settings(known.get(name)):
        typer.echo(setting)
