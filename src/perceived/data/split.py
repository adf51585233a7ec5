"""From the table of examples to train, validation and test, within the official partitions.

Within a partition and label, pictures are ordered by a hash of seed and id, and the first ones are
taken. So a split depends on nothing but seed, sizes and the pictures there are: not on row order,
machine or library version; and a smaller split of the same seed lies inside a larger one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from perceived.data import sampling
from perceived.errors import DataError, SplitError
from perceived.spec import LABELS
from perceived.storage import read_json, sha256_file, sha256_json, write_json, write_table
from perceived.workspace import Workspace

SPLITS = ("train", "val", "test")
COLUMNS = ("id", "path", "label", "identity", "split")
"""First columns of a split; after them stand the words a dataset has for its pictures, by which groups are told
apart: source, licence, race, age."""

Counts = dict[str, dict[str, int]]
"""Split to label to number of pictures."""


def make(
    work: Path,
    *,
    train: int = 20000,
    val: int = 5000,
    test: int = 5000,
    everything: bool = False,
    balance: bool = True,
    weigh_by: Sequence[str] = (),
    boost: Mapping[str, float] | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """Choose the pictures of each split and write ``split.parquet`` and ``split.json``.

    Returns columns ``id, path, label, identity, split`` and those of :func:`sampling.groups`, in the order train, val,
    test, and within each in the order of the table of examples. ``balance`` takes as many female as male
    pictures (one more female where a size is odd); without it each label keeps its share of the partition.
    ``everything`` takes every picture, in natural proportions, whatever the sizes say. ``weigh_by`` adds
    a column ``weight``: how often to draw each picture, so that the groups of a split count alike.
    ``boost`` multiplies it for some groups: ``{"race=Black": 2}``.

    Raises:
        ConfigError: ``weigh_by`` or ``boost`` names no group, or a factor is no number above 0.
        DataError: the workspace was never prepared, or its table has changed since.
        SplitError: a size is impossible, or a partition holds too few pictures; the message says
            how many there are.
    """
    workspace = Workspace(Path(work))
    examples = workspace.read_examples()
    examples_sha256 = _verified_sha256(workspace)
    sizes = {"train": train, "val": val, "test": test}
    frame = choose(examples, sizes=None if everything else sizes, balance=balance and not everything, seed=seed)
    boost = boost or {}
    sampling.check_boost(frame, boost)
    if weigh_by or boost:
        parts = frame.partition_by("split", maintain_order=True)
        frame = pl.concat(
            [part.with_columns(sampling.boosted(part, sampling.weights(part, weigh_by), boost)) for part in parts]
        )
    write_table(workspace.split, frame)
    write_json(
        workspace.split_report,
        {
            "seed": seed,
            "balance": balance and not everything,
            "everything": everything,
            "weigh_by": list(weigh_by),
            "boost": dict(boost),
            "sizes": {name: frame.filter(pl.col("split") == name).height for name in SPLITS},
            "counts": count(frame, "split"),
            "examples_sha256": examples_sha256,
        },
    )
    return frame


def label_indices(column: pl.Series, labels: Sequence[str] = LABELS) -> npt.NDArray[np.int64]:
    """Return each word's position in ``labels``; a word that is not among them is an error of polars."""
    return column.replace_strict({label: i for i, label in enumerate(labels)}, return_dtype=pl.Int64).to_numpy()


def fingerprint(table: pl.DataFrame) -> str:
    """Return a hash of which pictures a split holds, with their labels, sides and weights: runs record it."""
    columns = ("id", "label", "split", "weight")
    return sha256_json([table[name].to_list() for name in columns if name in table.columns])


def pictures_fingerprint(table: pl.DataFrame) -> str:
    """Return the same of a split however its pictures are weighed: it tells what a model has seen."""
    return fingerprint(table.drop("weight", strict=False))


def choose(examples: pl.DataFrame, *, sizes: dict[str, int] | None, balance: bool, seed: int) -> pl.DataFrame:
    """Choose from a table of examples; ``sizes`` of ``None`` takes them all.

    Raises:
        SplitError: as :func:`make`.
    """
    usable = examples.filter(pl.col("path").is_not_null()).with_row_index("_order")
    if usable.is_empty():
        raise SplitError(
            "The table of examples names no pictures.", mend="run 'perceived prepare' on a copy of CelebA with pictures"
        )
    available = count(usable, "partition")
    wanted = available if sizes is None else allocate(available, sizes, balance=balance)
    _check_classes(wanted)
    key = _chance(usable["id"], seed)
    quota = pl.DataFrame(
        [(name, label, n) for name, counts in wanted.items() for label, n in counts.items()],
        schema={"partition": pl.String, "label": pl.String, "_quota": pl.Int64},
        orient="row",
    )
    ranked = usable.with_columns(_key=key).sort("_key", "id")
    ranked = ranked.with_columns(_rank=pl.int_range(pl.len()).over("partition", "label"))
    chosen = ranked.join(quota, on=("partition", "label")).filter(pl.col("_rank") < pl.col("_quota"))
    position = pl.col("partition").replace_strict({name: i for i, name in enumerate(SPLITS)})
    return chosen.sort(position, "_order").rename({"partition": "split"}).select(*COLUMNS, *sampling.groups(examples))


def draw(rows: pl.DataFrame, most: int, *, seed: int = 0) -> pl.DataFrame:
    """Return at most ``most`` rows in their order, those that :func:`choose` would take first, whatever their label."""
    first = rows.select("id", _key=_chance(rows["id"], seed)).sort("_key", "id").head(most)
    return rows.filter(pl.col("id").is_in(first["id"].implode()))


def _chance(ids: pl.Series, seed: int) -> pl.Series:
    """Return what pictures are ordered by: a hash of seed and id."""
    return pl.Series(
        [hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest() for name in ids], dtype=pl.Binary
    )


def allocate(available: Counts, sizes: dict[str, int], *, balance: bool) -> Counts:
    """Share each split's size out among the labels.

    Raises:
        SplitError: a size is negative, all are zero, or more is asked for than available.
    """
    if any(size < 0 for size in sizes.values()) or not any(sizes.values()):
        raise SplitError(f"Sizes of {_words(sizes)} make no split.", expected="sizes of 0 or more, not all 0")
    wanted = {name: _share(available[name], sizes[name], balance=balance) for name in SPLITS}
    short = [name for name in SPLITS if any(wanted[name][label] > available[name][label] for label in LABELS)]
    if short:
        raise _too_few(short, available, sizes, balance=balance)
    return wanted


def count(frame: pl.DataFrame, column: str) -> Counts:
    """Count the pictures of each label in each value of ``column`` (``partition`` or ``split``)."""
    found = {(part, label): n for part, label, n in frame.group_by(column, "label").len().iter_rows()}
    return {name: {label: found.get((name, label), 0) for label in LABELS} for name in SPLITS}


def most(available: dict[str, int], *, balance: bool) -> int:
    """Return the largest size with as many of each label that a partition allows, or all of it."""
    if not balance:
        return sum(available.values())
    return 2 * min(available.values())


def _share(available: dict[str, int], size: int, *, balance: bool) -> dict[str, int]:
    total = sum(available.values())
    if balance or total == 0:
        return {"female": size - size // 2, "male": size // 2}
    male = round(size * available["male"] / total)
    return {"female": size - male, "male": male}


def _check_classes(wanted: Counts) -> None:
    for name, counts in wanted.items():
        if any(counts.values()) and not all(counts.values()):
            present = next(label for label, n in counts.items() if n)
            raise SplitError(
                f"Every picture of the {name} split is {present}: there is nothing to tell apart.",
                expected="pictures of both labels",
                mend=f"ask for more of them, leave them out with --{name} 0, or prepare data whose {name} partition "
                "holds both labels",
            )


def _too_few(short: list[str], available: Counts, sizes: dict[str, int], *, balance: bool) -> SplitError:
    kind = "balanced" if balance else "natural"
    limits = {name: most(available[name], balance=balance) for name in short}
    asked = "; ".join(
        f"{name} of {sizes[name]:,} asked for, but the {name} partition holds {available[name]['female']:,} female and "
        f"{available[name]['male']:,} male pictures"
        for name in short
    )
    natural = all(sizes[name] <= sum(available[name].values()) and all(available[name].values()) for name in short)
    other = ["--no-balance"] if balance and natural else []
    if all(all(counts.values()) or not any(counts.values()) for counts in available.values()):
        other.append("--all")
    flags = " ".join(f"--{name} {limit}" for name, limit in limits.items())
    return SplitError(
        f"Too few pictures for a {kind} split: {asked}.",
        expected=f"at most {_words(limits)} ({kind})",
        mend=f"use {', or '.join([flags, *other])}",
    )


def _words(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} {size:,}" for name, size in sizes.items())


def _verified_sha256(workspace: Workspace) -> str:
    """Return the hash of the table of examples, if it is the one ``prepare`` recorded."""
    found = sha256_file(workspace.examples)
    if workspace.prepare_report.is_file() and read_json(workspace.prepare_report).get("examples_sha256") != found:
        raise DataError(
            f"{workspace.examples} is not the file that prepare.json describes.",
            expected="the table as 'perceived prepare' left it",
            mend=f"perceived prepare DATA --out {workspace.root}",
        )
    return found
