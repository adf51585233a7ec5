"""A robustness trial written down: the JSON, curves, and a page with one face in all its spoilt versions."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from perceived import corruptions, storage
from perceived.audit import SMALL
from perceived.corruptions import SEVERITIES
from perceived.errors import DataError
from perceived.pages import charts, report
from perceived.pages.charts import COLORS, Draw, short
from perceived.preprocess import Pixels

Found = Mapping[str, Any]
MOST = 14
"""Lines in one chart of groups; of more groups, those that end lowest are drawn."""
ROW = 0.068
"""Share of the chart's height that a line's name takes beside it: ``MOST`` of them fit."""


def write(out: Path, found: Found, *, reference: Found | None, example: Pixels | None, kinds: Sequence[str]) -> None:
    """Write ``robustness.json``, ``robustness.html`` and PNGs of the curves and of an example into ``out``."""
    curves = charts.panels([curve(found, kind, reference) for kind in kinds])
    drawings = {"curves": (curves, "Accuracy by severity of each corruption")}
    for number, (name, groups) in enumerate(found["groups"].items()):
        lines = charts.chart(group_curves(shown(groups)), height=3.8, width=8)
        drawings[f"groups-{number}"] = (lines, f"By {name}{told(groups)}")
    charts.remove(out, {f"groups-{number}" for number in range(_groupings_before(out))} - drawings.keys())
    svgs = report.save_charts(out, drawings)
    storage.write_json(out / "robustness.json", dict(found))
    pictures = {} if example is None else {kind: spoilt(example, kind, found["seed"]) for kind in kinds}
    context = {
        "found": found,
        "reference": reference,
        "svgs": svgs,
        "pictures": {kind: [report.picture_uri(p) for p in row] for kind, row in pictures.items()},
        "original": None if example is None else report.picture_uri(example),
        "docs": {kind: (corruptions.KINDS[kind].__doc__ or "").strip() for kind in kinds},
        "mean": report.mean,
        "answered": answered,
        "severities": SEVERITIES,
        "small": SMALL,
        "told": told,
    }
    report.write(out / "robustness.html", "robustness.html", context)


def _groupings_before(out: Path) -> int:
    """Return how many groupings a trial in a folder has charts of."""
    with contextlib.suppress(DataError, KeyError, TypeError):  # none, or nothing of ours
        return len(storage.read_json(out / "robustness.json")["groups"])
    return 0


def spoilt(example: Pixels, kind: str, seed: int) -> list[Pixels]:
    """Return the first picture of a trial at all severities of a corruption, as the network saw it."""
    return [corruptions.corrupt(example, kind, severity, seed=seed) for severity in SEVERITIES]


def answered(curve: Sequence[Found]) -> float | None:
    """Return the accuracy of all answers that were sure enough, of whichever severity."""
    given = np.array([1 - point["abstention"]["value"] for point in curve])
    right = np.array([point["answered"]["value"] or 0 for point in curve])
    return float((given * right).sum() / given.sum()) if given.any() else None


def curve(found: Found, kind: str, reference: Found | None = None) -> Draw:
    """Draw accuracy with its interval by severity, abstention dashed, and a reference in grey."""

    def draw(axes: Axes) -> None:
        points = [found["clean"], *found["corruptions"][kind]]
        places = range(len(points))
        rates = {end: [point["accuracy"][end] for point in points] for end in ("value", "low", "high")}
        if reference is not None:
            other = [point["accuracy"]["value"] for point in (reference["clean"], *reference["corruptions"][kind])]
            axes.plot(places, other, color=COLORS["muted"], linewidth=1.4)
        axes.fill_between(places, rates["low"], rates["high"], color=COLORS["accent"], alpha=0.18, linewidth=0)
        axes.plot(places, rates["value"], "o-", color=COLORS["accent"], markersize=3.6, linewidth=1.8)
        abstained = [point["abstention"]["value"] for point in points]
        if any(abstained):
            axes.plot(places, abstained, color=COLORS["male"], linewidth=1.4, linestyle=(0, (3, 2)))
        axes.set_title(kind, loc="left", fontsize=10, color=COLORS["ink"], pad=3)
        axes.set(ylim=(0, 1.02), xlim=(-0.2, len(points) - 0.8))
        axes.set_xticks(list(places), ["clean", *map(str, SEVERITIES)])
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.tick_params(labelsize=8.5)
        axes.grid(axis="y")

    return draw


def shown(groups: Mapping[str, Found]) -> Mapping[str, Found]:
    """Return the groups of a chart: all in their order, or of many those of enough pictures that end lowest."""
    if len(groups) <= MOST:
        return groups
    judged = {name: group for name, group in groups.items() if group["n"] >= SMALL} or groups
    lowest = sorted(judged, key=lambda name: float(judged[name]["mean_accuracy_by_severity"][-1]))
    return {name: judged[name] for name in lowest[:MOST]}


def told(groups: Mapping[str, Found]) -> str:
    """Say which of the groups a chart shows, where it is not all of them."""
    count = len(shown(groups))
    return "" if count == len(groups) else f": the {count} of {len(groups)} groups that end lowest"


def group_curves(groups: Mapping[str, Found]) -> Draw:
    """Draw the mean accuracy over all corruptions by severity, a line for each group with its name at the end."""

    def draw(axes: Axes) -> None:
        lines = {name: [g["clean"]["accuracy"]["value"], *g["mean_accuracy_by_severity"]] for name, g in groups.items()}
        highest = min(1.004, max(map(max, lines.values())) + 0.01)
        lowest = min(highest - 0.06, min(map(min, lines.values())) - 0.01)
        ends = _apart([values[-1] for values in lines.values()], lowest, highest)
        enough = [name for name in lines if groups[name]["n"] >= SMALL]
        worst = min(enough, key=lambda name: lines[name][-1], default=None)
        for (name, values), end in zip(lines.items(), ends, strict=True):
            color = COLORS["male"] if name == worst else COLORS["accent"] if name in enough else COLORS["muted"]
            axes.plot(range(len(values)), values, color=color, lw=1.6, alpha=0.8, ls="-" if name in enough else ":")
            axes.plot([len(SEVERITIES), len(values) - 0.92], [values[-1], end], color=color, lw=0.7, alpha=0.8)
            text = f"{short(name, 24)} ({groups[name]['n']:,}{'' if name in enough else ', few'})"
            axes.text(len(values) - 0.9, end, text, color=COLORS["ink"], fontsize=9, va="center", parse_math=False)
        axes.set(xlim=(-0.1, len(SEVERITIES) + 1.9), ylim=(lowest, highest))
        axes.set_xticks(range(len(SEVERITIES) + 1), ["clean", *map(str, SEVERITIES)])
        axes.set_xlabel("severity")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="y")

    return draw


def _apart(values: Sequence[float], lowest: float, highest: float) -> list[float]:
    """Return heights for names near ``values``, in their order, ``ROW`` apart and within the chart."""
    gap, order = ROW * (highest - lowest), np.argsort(values)
    steps = gap * np.arange(len(values))
    level = np.asarray(values, float)[order] - steps  # names that touch lie on one level
    upward = np.maximum.accumulate(level)
    downward = np.minimum.accumulate(level[::-1])[::-1]
    placed = np.clip((upward + downward) / 2, lowest + gap / 2, highest - gap / 2 - steps[-1]) + steps
    heights = np.empty(len(values))
    heights[order] = placed
    return [float(height) for height in heights]
