"""Charts of an audit: a dot for each rate, on the interval that it may as well have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from perceived.pages.charts import COLORS, Draw, legend, scale_start, short
from perceived.spec import LABELS

MOST = 18
"""Groups in one chart; of more, those read worst are shown."""
ROW = 0.52
"""Inches of height for each group."""

Row = Mapping[str, Any]
_MARKS = (("accuracy", "accent", -0.24), *((label, label, 0.24 * i) for i, label in enumerate(LABELS)))


def shown(groups: Sequence[Row]) -> Sequence[Row]:
    """Return the groups of a chart: all in their order, or of many the worst, lowest accuracy first."""
    if len(groups) <= MOST:
        return groups
    judged = [group for group in groups if group["accuracy"]["value"] is not None and not group["small"]]
    return sorted(judged, key=lambda group: float(group["accuracy"]["value"]))[:MOST]


def rates_by_group(groups: Sequence[Row]) -> Draw:
    """Draw accuracy and recall of either label by group; rates of few rows have hollow dots."""

    def draw(axes: Axes) -> None:
        start = _start([_rate(group, name) for group in groups for name, _, _ in _MARKS])
        for name, color, shift in _MARKS:
            rates = [(place + shift, _rate(group, name)) for place, group in enumerate(groups)]
            _dots(axes, rates, COLORS[color], start)
        names = [f"{short(group['name'])}\n{group['n']:,}{' (few)' if group['small'] else ''}" for group in groups]
        _finish(axes, names, start)
        legend(axes, [("all", "accent"), *((f"labelled {label}", label) for label in LABELS)])

    return draw


def with_and_without(groupings: Sequence[Row]) -> Draw:
    """Draw the accuracy with and without each attribute: groupings of ``yes`` and ``no``, widest gap first."""

    def draw(axes: Axes) -> None:
        sides = [{group["name"]: group for group in grouping["groups"]} for grouping in groupings]
        start = _start([side["accuracy"] for row in sides for side in row.values()])
        for name, color, shift in (("yes", "accent", -0.14), ("no", "muted", 0.14)):
            rates = [(place + shift, row[name]["accuracy"]) for place, row in enumerate(sides) if name in row]
            _dots(axes, rates, COLORS[color], start)
        names = [
            f"{short(g['by'][0].replace('_', ' '))}  {row['yes']['n']:,}"
            for g, row in zip(groupings, sides, strict=True)
        ]
        _finish(axes, names, start)
        legend(axes, [("with it", "accent"), ("without it", "muted")])

    return draw


def attributes(groupings: Sequence[Row]) -> list[Row]:
    """Return the groupings of yes and no, the widest gap in accuracy first."""
    flags = [g for g in groupings if {"yes"} <= {group["name"] for group in g["groups"]} <= {"yes", "no", "not known"}]
    return sorted(flags, key=lambda g: -(g["gaps"]["accuracy_gap"]["value"] or 0.0))


def _rate(group: Row, name: str) -> Row:
    found: Row = group["accuracy"] if name == "accuracy" else group["recall"][name]
    return found


def _start(rates: Sequence[Row]) -> float:
    """Return where the scale starts: a multiple of 5 % below every interval of enough rows."""
    lowest = min((float(rate["low"]) for rate in rates if rate["low"] is not None and not rate["few"]), default=0.9)
    return scale_start(lowest)


def _dots(axes: Axes, rates: Sequence[tuple[float, Row]], color: str, start: float) -> None:
    """Draw rates ``(place, rate)`` with their intervals; left of the scale they are arrows at its edge."""
    known = [(place, rate) for place, rate in rates if rate["value"] is not None]
    places = [place for place, _ in known]
    lows, highs = ([max(start, rate[end]) for _, rate in known] for end in ("low", "high"))
    axes.hlines(places, lows, highs, colors=color, linewidth=2.2, alpha=0.4, capstyle="round", zorder=2)
    for marker, inside in (("o", True), ("<", False)):
        drawn = [(max(start, r["value"]), place, r["few"]) for place, r in known if (r["value"] >= start) == inside]
        if drawn:
            x, y, few = zip(*drawn, strict=True)
            faces = [COLORS["surface"] if hollow else color for hollow in few]
            axes.scatter(x, y, s=27, marker=marker, c=faces, edgecolors=color, linewidths=1.1, clip_on=False, zorder=3)


def _finish(axes: Axes, names: Sequence[str], start: float) -> None:
    axes.set_yticks(range(len(names)), names, color=COLORS["ink"], parse_math=False)
    axes.tick_params(axis="y", labelsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(start, 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="x")
