"""Arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Work = Annotated[
    Path, typer.Argument(metavar="WORK", help="Folder that 'perceived prepare' wrote.", show_default=False)
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated.")
]


def listed(text: str) -> tuple[str, ...]:
    """Return the words of an option that takes several, with commas between them."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
