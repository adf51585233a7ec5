"""Arguments that several commands have."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from perceived.errors import ConfigError

Work = Annotated[
    Path, typer.Argument(metavar="WORK", help="Folder that 'perceived prepare' wrote.", show_default=False)
]
RunOrModel = Annotated[
    Path, typer.Argument(metavar="RUN_OR_ONNX", help="A RUN folder or an exported ONNX file.", show_default=False)
]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="An ONNX file, or a shipped model's name.", show_default=False)
]
On = Annotated[str, typer.Option(help="Which pictures of the split: train, val or test.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated.")
]


def listed(text: str) -> tuple[str, ...]:
    """Return the words of an option that takes several, with commas between them."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def meanings(option: str, settings: Iterable[str] | None, allowed: tuple[str, ...]) -> dict[str, str]:
    """Read ``WORD=LABEL`` and the like, what a user says of a file's words; words become lower case.

    Raises:
        ConfigError: a setting maps no word to one of the ``allowed`` meanings, or gives a word, or a label
            itself, another one than it has.
    """
    from perceived.spec import LABELS

    words: dict[str, str] = {}
    for setting in settings or ():
        word, _, meaning = (part.strip().lower() for part in setting.rpartition("="))
        if not word or meaning not in allowed:
            raise ConfigError(
                f"{option} {setting} maps no word to a label.",
                expected=f"WORD=LABEL, LABEL being one of {', '.join(allowed)}",
                mend=f"for example: {option} 0=female {option} 1=male",
            )
        if (word in LABELS and word != meaning) or words.get(word, meaning) != meaning:
            raise ConfigError(f"{option} {setting} gives {word!r} another meaning than it has.", mend="leave it out")
        words[word] = meaning
    return words
