"""What `perceived prepare` found: for each dataset what was read, mended, held out and left out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from perceived.data.source import PROBLEMS
from perceived.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """A part moved from the partition ``of`` (``None``: from a dataset without any) to ``to``.

    ``share`` is the part of the rows in ``of`` and ``by`` the columns whose combinations it was drawn
    from alike.
    """

    of: str | None
    to: str
    share: float
    by: Sequence[str]
    seed: int
    pictures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """One dataset: ``rows`` counts those of its main table, ``examples`` those that were kept.

    ``problems`` lists what does not fit by kind, ``mended`` counts the values that were put right, and
    ``tables_sha256`` holds the hash of each table.
    """

    source: str
    name: str
    layout: str
    licence: str
    rows: int
    examples: int
    problems: Mapping[str, Sequence[str]]
    mended: Mapping[str, int]
    held_out: Sequence[HeldOut]
    tables_sha256: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "name": self.name,
            "layout": self.layout,
            "licence": self.licence,
            "rows": self.rows,
            "examples": self.examples,
            "problem_counts": {kind: len(found) for kind, found in self.problems.items()},
            "problems": {kind: list(found) for kind, found in self.problems.items()},
            "mended": dict(self.mended),
            "held_out": [{**asdict(part), "by": list(part.by)} for part in self.held_out],
            "tables_sha256": dict(self.tables_sha256),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareReport:
    """What :func:`perceived.data.table.prepare` found; ``counts`` are examples per partition and label."""

    sources: Sequence[SourceReport]
    counts: Mapping[str, Mapping[str, int]]
    examples_sha256: str
    partition: str | None = None
    """Where all pictures were put, whatever the datasets say."""

    @property
    def rows(self) -> int:
        return sum(source.rows for source in self.sources)

    @property
    def examples(self) -> int:
        return sum(source.examples for source in self.sources)

    @property
    def layout(self) -> str:
        return " + ".join(source.layout for source in self.sources)

    @property
    def problems(self) -> dict[str, list[str]]:
        """What does not fit in any of the datasets, by kind."""
        return {kind: [name for source in self.sources for name in source.problems[kind]] for kind in PROBLEMS}

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "examples": self.examples,
            "counts": {name: dict(counts) for name, counts in self.counts.items()},
            "examples_sha256": self.examples_sha256,
            "partition": self.partition,
            "problem_counts": {kind: len(found) for kind, found in self.problems.items()},
            "sources": [source.to_dict() for source in self.sources],
        }

    def table(self) -> Table:
        """Return the report as a table for the terminal."""
        table = Table(
            "",
            "count",
            Column("such as", overflow="fold"),
            title=f"{self.layout}: {counted(self.rows, 'row')}, {counted(self.examples, 'example')}",
        )
        for partition, counts in self.counts.items():
            table.add_row(partition, f"{sum(counts.values()):,}", ", ".join(f"{n:,} {k}" for k, n in counts.items()))
        for source in self.sources:
            table.add_section()
            table.add_row(f"of {source.name}", f"{source.examples:,}", source.licence)
            for part in source.held_out:
                whole = part.of or ("what was left" if part.to == "val" else "what had no partition")
                words = f"{part.share:.0%} of {whole}, alike in {', '.join(part.by)}; seed {part.seed}"
                table.add_row(f"held out for {part.to}", f"{part.pictures:,}", words)
            for change, count in source.mended.items():
                table.add_row("values mended", f"{count:,}", change)
        table.add_section()
        for kind, found in self.problems.items():
            table.add_row(PROBLEMS[kind], f"{len(found):,}", "\n".join(found[:3]))
        return table

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=120, markup=False).print(self.table())
        return text.getvalue().rstrip("\n")
