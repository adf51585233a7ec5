"""The folder WORK that `perceived prepare` makes and every later stage reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perceived.errors import DataError
from perceived.storage import read_json, sha256_file

if TYPE_CHECKING:
    import polars


@dataclass(frozen=True, slots=True)
class Workspace:
    """Names of the files in a workspace; each is written by one stage and read by later ones."""

    root: Path

    @property
    def examples(self) -> Path:
        return self.root / "examples.parquet"

    @property
    def prepare_report(self) -> Path:
        return self.root / "prepare.json"

    @property
    def split(self) -> Path:
        return self.root / "split.parquet"

    @property
    def split_report(self) -> Path:
        return self.root / "split.json"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def explore(self) -> Path:
        return self.root / "explore"

    @property
    def labels(self) -> Path:
        return self.root / "labels"

    def draws_the_test(self) -> bool:
        """Say whether 'perceived prepare' chose test pictures itself, some or all, as no dataset's authors had."""
        if not self.prepare_report.is_file():
            return True
        report = read_json(self.prepare_report)
        held_out = (part["to"] for source in report.get("sources", []) for part in source["held_out"])
        return "test" in (report.get("partition"), *held_out)

    def read_examples(self) -> polars.DataFrame:
        """Return the table of examples, or raise :class:`DataError` if it was never prepared."""
        columns = {"id", "path", "label", "partition"}
        return _read_parquet(self.examples, columns, mend=f"perceived prepare DATA --out {self.root}")

    def read_split(self) -> polars.DataFrame:
        """Return the split, or raise :class:`DataError` if it was never made, or of another table of examples."""
        mend = f"perceived split {self.root}"
        split = _read_parquet(self.split, {"id", "path", "label", "split"}, mend=mend)
        if self.split_report.is_file() and self.examples.is_file():
            made_from = read_json(self.split_report).get("examples_sha256")
            if made_from != sha256_file(self.examples):
                raise DataError(
                    f"{self.split} was drawn from another table than {self.examples.name} is now.",
                    expected="a split of the pictures that were prepared last",
                    mend=mend,
                )
        return split


def _read_parquet(path: Path, columns: set[str], *, mend: str) -> polars.DataFrame:
    import polars

    if not path.is_file():
        raise DataError(f"{path} does not exist.", mend=mend)
    try:
        table = polars.read_parquet(path, glob=False)
    except (polars.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{path} is not a readable Parquet file: {error}.", mend=f"delete it and run: {mend}"
        ) from error
    if missing := columns - set(table.columns):
        raise DataError(
            f"{path} has no column {', '.join(sorted(missing))}.",
            expected="the table as this version writes it",
            mend=f"delete it and run: {mend}",
        )
    return table
