"""``perceived push``: a model and its card, to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perceived import terminal
from perceived.commands.options import Model


def push(
    model: Model,
    to: Annotated[str, typer.Option(metavar="hf://OWNER/NAME", help="Repository to send it to.", show_default=False)],
    card: Annotated[Path, typer.Option(metavar="FILE", help="The model's card, by 'perceived card'.")] = Path(
        "MODEL_CARD.md"
    ),
    private: Annotated[bool, typer.Option("--private", help="A new repository is seen by its owner only.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all and show what would be sent.")] = False,
) -> None:
    """Publish a model with its card on the Hugging Face hub. --dry-run asks no network."""
    from perceived import push as publishing

    upload = publishing.gather(model, to, card)
    terminal.table(("file", "bytes", "sha256"), upload.rows())
    terminal.table(("metadata", "value"), ((key, value) for key, value in upload.metadata.items()))
    if dry_run:
        typer.echo(f"nothing is sent: this would go to {to}")
        return
    typer.echo(f"model: {publishing.send(upload, private=private)}")
