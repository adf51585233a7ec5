"""Tables in Markdown."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

_BREAKS = {"Cc", "Zl", "Zp"}
"""Categories of Unicode whose characters may end a line, and with it a row."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> list[str]:
    """Return the lines of a table; all columns but the first ``left`` are aligned to the right."""
    aligned = "|".join(["---"] * left + ["--:"] * (len(heads) - left))
    return [f"| {' | '.join(heads)} |", f"|{aligned}|", *(f"| {' | '.join(map(plain, row))} |" for row in rows)]


def plain(text: str) -> str:
    """Escape what Markdown would read in a name."""
    line = "".join(" " if unicodedata.category(c) in _BREAKS else c for c in text)
    return "".join(f"\\{c}" if c in "\\|*_`<[#&~" else c for c in line)
