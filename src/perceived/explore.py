"""A dataset before any network: its pictures, its charts, and how far annotations alone get.

It works on annotations without pictures too (``perceived prepare --annotations-only``).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from perceived import images, storage
from perceived.data import split
from perceived.data.celeba import ATTRIBUTES
from perceived.errors import ConfigError, DataError, ImageError
from perceived.pages import charts, report
from perceived.preprocess import Pixels
from perceived.spec import LABELS
from perceived.wording import counted
from perceived.workspace import Workspace

DEFAULT_PICTURE = "000409.jpg"
DEFAULT_ATTRIBUTES = ("Bald", "Male", "Young")
FULL_COUNTS = {"female": 118_165, "male": 84_434}
"""All of CelebA, counted; the study's text states these two the other way round."""
STUDY_BASELINE = {"components": 34, "accuracy": 0.932}
"""What the study published for :func:`baseline`."""

SHEET, COLUMNS = 24, 8
"""Pictures on the contact sheet, and in a row of it."""
SIDE, GAP = 160, 6
"""Pixels of a picture on it, and between two."""
SIZES = 8
"""Picture sizes told apart; the others are counted together."""
VARIANCE = 0.95
_TARGET = "Male"
_OTHERS = tuple(name for name in ATTRIBUTES if name != _TARGET)

Row = Mapping[str, Any]


def explore(
    work: Path,
    *,
    picture: str = DEFAULT_PICTURE,
    attributes: Sequence[str] = DEFAULT_ATTRIBUTES,
    out: Path | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write PNGs, ``explore.json`` and ``report.html`` about a workspace, and return what the JSON holds.

    ``out`` is by default the workspace's folder ``explore``. A dataset without the default
    ``picture`` shows its first one. Pictures that cannot be opened are listed in the answer.

    Raises:
        DataError: the workspace was never prepared, holds no attributes, or has no such picture.
        ConfigError: an attribute is unknown.
    """
    workspace = Workspace(Path(work))
    everything = workspace.read_examples()
    table = _with_attributes(everything)
    chosen = _choose(table, picture, attributes)
    instead = [f"There is no picture {picture} here; {chosen['id']} is shown in its place."]
    portrait, missing = _open([chosen])
    sheet, unreadable = _open(_sample(table, seed))
    found = {
        **describe(table),
        "baseline": baseline(table),
        "picture": {
            "id": chosen["id"],
            "partition": chosen["partition"],
            "attributes": {name: chosen[name] for name in attributes},
        },
        "contact_sheet": {"seed": seed, "ids": [row["id"] for row, _ in sheet]},
        "unreadable": missing + unreadable,
        "notes": _notes(table, everything.height - table.height) + (instead if chosen["id"] != picture else []),
    }
    _write(workspace.explore if out is None else Path(out), table, found, portrait, sheet)
    return found


def _with_attributes(table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of which CelebA's attributes are known: in a joined table, those of CelebA."""
    if any(table.schema.get(name) != pl.Boolean for name in ATTRIBUTES):
        raise DataError(
            f"The table of examples has none of CelebA's attributes: it is of {', '.join(table['source'].unique())}.",
            expected="CelebA, or a set in its shape: exploring describes its 40 attributes",
            mend="perceived prepare CELEBA --out WORK",
        )
    return table.filter(pl.col(_TARGET).is_not_null())


def describe(table: pl.DataFrame) -> dict[str, Any]:
    """Count a table of examples: by label, partition and size, and every attribute's rate by label."""
    partitions = split.count(table, "partition")
    return {
        "examples": table.height,
        "identities": table["identity"].drop_nulls().n_unique() or None,
        "labels": {label: sum(found[label] for found in partitions.values()) for label in LABELS},
        "partitions": partitions,
        "attributes": attribute_rates(table),
        "sizes": _sizes(table),
    }


def attribute_rates(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Return each other attribute's share of pictures by label, with its correlation with Male, strongest first.

    The correlation is Pearson's; for two columns of yes and no, with share ``q`` of males and rates
    ``a`` and ``b`` among males and females, it is ``(a - b) * sqrt(q(1 - q) / p(1 - p))``, where
    ``p`` is the rate among all. An attribute that all or no pictures have correlates with nothing: None.
    """
    means = {row["label"]: row for row in table.group_by("label").agg(pl.col(_OTHERS).mean()).iter_rows(named=True)}
    overall = table.select(pl.col(_OTHERS).mean()).row(0, named=True)
    males = (table["label"] == "male").mean()
    assert isinstance(males, float)
    rows = []
    for name in _OTHERS:
        rate = {label: means[label][name] if label in means else None for label in LABELS}
        spread = overall[name] * (1 - overall[name])
        correlation = None
        if spread > 0 and len(means) == len(LABELS):
            correlation = (means["male"][name] - means["female"][name]) * math.sqrt(males * (1 - males) / spread)
        rows.append({"name": name, "rate": {**rate, "all": overall[name]}, "correlation": correlation})
    return sorted(rows, key=lambda row: -abs(row["correlation"] or 0.0))


def baseline(table: pl.DataFrame) -> dict[str, Any]:
    """Predict Male from the other 39 attributes: standardise, keep 95 % of variance, logistic regression.

    Fitted on the training partition and scored on each. Where that cannot be, ``accuracy`` is None
    and ``reason`` says why.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    parts = {name: part for name in split.SPLITS if (part := table.filter(partition=name)).height}
    settings = {"attributes": len(_OTHERS), "variance": VARIANCE, "study": STUDY_BASELINE}
    reason = _unfit(parts.get("train", table.clear()))
    if reason:
        return {**settings, "components": None, "accuracy": None, "reason": reason}
    inputs = {name: part.select(_OTHERS).to_numpy().astype(np.float64) for name, part in parts.items()}
    targets = {name: (part["label"] == "male").to_numpy() for name, part in parts.items()}
    model = make_pipeline(StandardScaler(), PCA(VARIANCE), LogisticRegression(max_iter=1000))
    model.fit(inputs["train"], targets["train"])
    return {
        **settings,
        "components": int(model["pca"].n_components_),
        "rows": {name: part.height for name, part in parts.items()},
        "accuracy": {name: float(model.score(inputs[name], targets[name])) for name in parts},
        "majority": {name: float(max(target.mean(), 1 - target.mean())) for name, target in targets.items()},
    }


def _unfit(train: pl.DataFrame) -> str:
    """Say why a baseline cannot be fitted on these rows; nothing if it can."""
    if train["label"].n_unique() < 2:
        return "the training partition does not hold both labels."
    if all(train[name].n_unique() < 2 for name in _OTHERS):
        return "in the training partition no other attribute varies."
    return ""


def _sizes(table: pl.DataFrame) -> dict[str, Any]:
    """Count the commonest picture sizes; the last row, without a size, counts the others."""
    counts = table.drop_nulls(["width", "height"]).group_by("width", "height").len("count")
    counts = counts.sort("count", "width", "height", descending=True)
    common = counts.head(SIZES).to_dicts()
    others = int(counts["count"].slice(SIZES).sum())
    if others:
        common.append({"width": None, "height": None, "count": others})
    return {"different": counts.height, "common": common}


def _choose(table: pl.DataFrame, picture: str, attributes: Sequence[str]) -> Row:
    """Return the row of the picture to show, after checking the attributes to show with it."""
    if not attributes:
        raise ConfigError(
            "There are no attributes to show with the picture.",
            expected=f"one or more of CelebA's 40, such as {','.join(DEFAULT_ATTRIBUTES)}",
            mend="give some, or leave --attributes out",
        )
    for name in attributes:
        if name not in ATTRIBUTES:
            near = difflib.get_close_matches(name, ATTRIBUTES, n=3, cutoff=0.5)
            raise ConfigError(
                f"There is no attribute {name!r}.",
                expected=f"such as {', '.join(near)}" if near else "one of CelebA's 40, such as Bald, Male, Young",
            )
    if table.is_empty():
        raise DataError("The table of examples is empty.", mend="perceived prepare DATA --out WORK")
    rows = table.filter(id=picture)
    if rows.is_empty() and picture != DEFAULT_PICTURE:
        raise DataError(
            f"There is no picture {picture!r} in the table of examples.",
            expected=f"an id such as {table['id'][0]}",
        )
    return (table if rows.is_empty() else rows).row(0, named=True)


def _sample(table: pl.DataFrame, seed: int) -> list[Row]:
    """Return rows for the contact sheet: at random, half of either label where there are enough."""
    usable = table.filter(pl.col("path").is_not_null())
    halves = [usable.filter(label=label) for label in LABELS]
    drawn = [half.sample(min(SHEET // 2, half.height), seed=seed, shuffle=True) for half in halves]
    return list(pl.concat(drawn).sample(fraction=1.0, seed=seed, shuffle=True).iter_rows(named=True))


def _open(rows: Iterable[Row]) -> tuple[list[tuple[Row, Pixels]], list[dict[str, str]]]:
    """Return the pictures that open, and those that do not with the reason; rows without a path are neither."""
    opened, failed = [], []
    for row in rows:
        if row["path"] is None:
            continue
        try:
            opened.append((row, images.load(row["path"])))
        except ImageError as error:
            failed.append({"id": row["id"], "error": error.what})
    return opened, failed


def _notes(table: pl.DataFrame, others: int) -> list[str]:
    """Return what a reader must know before the figures; ``others`` is how many pictures they are not of."""
    notes = []
    if others:
        notes.append(f"{counted(others, 'picture')} of the workspace without CelebA's attributes take no part here.")
    counts = dict(table["label"].value_counts().iter_rows())
    if counts == FULL_COUNTS:
        notes.append(
            "These are the true counts of the whole of CelebA. The study's text states them the other way round, "
            "118,165 male and 84,434 female."
        )
    if "demo" in table["source"]:
        notes.append(
            "This is the demo set: faces of nobody, made by a small generative model, with synthetic attributes."
        )
    if table["path"].null_count() == table.height:
        notes.append("These are annotations alone: no pictures were looked for.")
    return notes


def _write(
    out: Path,
    table: pl.DataFrame,
    found: dict[str, Any],
    portrait: Sequence[tuple[Row, Pixels]],
    sheet: Sequence[tuple[Row, Pixels]],
) -> None:
    """Draw everything and write it; each file is whole or absent."""
    drawings = {
        "male": (charts.chart(charts.label_counts(found["labels"])), "Pictures by label"),
        "partitions": (charts.chart(charts.partition_counts(found["partitions"])), "Label by official partition"),
    }
    if found["sizes"]["common"]:
        height = 0.5 + 0.42 * len(found["sizes"]["common"])
        drawings["sizes"] = (charts.chart(charts.size_counts(found["sizes"]["common"]), height=height), "Picture sizes")
    svgs = report.save_charts(out, drawings)
    rates = charts.attribute_rates(found["attributes"])
    alone = {"attributes": (charts.chart(rates, width=8, height=11), "Attributes by label")}
    for _, pixels in portrait:
        lines = [
            f"{name.replace('_', ' ')}: {'yes' if on else 'no'}" for name, on in found["picture"]["attributes"].items()
        ]
        alone["picture"] = (charts.chart(charts.picture(pixels, lines), height=3.4), found["picture"]["id"])
    for name, (figure, title) in alone.items():
        charts.save_png(figure, out / f"{name}.png", title=title)
    if sheet:
        with storage.atomic_path(out / "contact-sheet.png") as partial:
            contact_sheet([pixels for _, pixels in sheet]).save(partial, format="png")
    storage.write_json(out / "explore.json", found)
    context = {
        "found": found,
        "charts": svgs,
        "shares": table.select(pl.col(list(found["picture"]["attributes"])).mean()).row(0, named=True),
        "portrait": report.picture_uri(portrait[0][1]) if portrait else None,
        "sheet": [{"id": r["id"], "label": r["label"], "uri": report.picture_uri(pixels)} for r, pixels in sheet],
    }
    report.write(out / "report.html", "explore.html", context)


def contact_sheet(pictures: Sequence[Pixels]) -> Image.Image:
    """Lay RGB pictures out in rows on white, each fitted into a square."""
    step = SIDE + GAP
    sheet = Image.new("RGB", (COLUMNS * step + GAP, -(-len(pictures) // COLUMNS) * step + GAP), "white")
    for place, pixels in enumerate(pictures):
        image = Image.fromarray(pixels)
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        row, column = divmod(place, COLUMNS)
        corner = (GAP + column * step + (SIDE - image.width) // 2, GAP + row * step + (SIDE - image.height) // 2)
        sheet.paste(image, corner)
    return sheet
