"""A search for a recipe written down: the JSON, a page, how it went, and what mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from perceived import storage
from perceived.pages import charts, report
from perceived.pages.charts import COLORS, Draw
from perceived.space import NAMES


def write(out: Path, found: Mapping[str, Any]) -> None:
    """Write ``tuning.json``, ``tuning.html``, ``history.png`` and, where importances are told, ``importance.png``."""
    drawings = {
        "history": (
            charts.chart(history(found["trials"], found["direction"], found["judged_by"]), width=8, height=3.4),
            "How the search went",
        )
    }
    if found["importance"]:
        height = 0.9 + 0.36 * len(found["importance"])
        drawings["importance"] = (
            charts.chart(importance(found["importance"]), width=8, height=height),
            "What mattered",
        )
    svgs = report.save_charts(out, drawings)
    storage.write_json(out / "tuning.json", dict(found))
    context = {
        "found": found,
        "rows": [cells(row, found) for row in ranked(found)],
        "heads": heads(found),
        "best": score(found["best"]["score"], found["judged_by"]),
        "own": found["own"] and scored(found["own"], found["judged_by"]),
        "svgs": svgs,
    }
    report.write(out / "tuning.html", "tune.html", context)


def ranked(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the trials, the best first, then those that were ended early and those that diverged."""
    sign = -1 if found["direction"] == "maximize" else 1
    return sorted(found["trials"], key=lambda row: (row["diverged"], row["pruned"], sign * (row["score"] or 0)))


def score(value: float, judged_by: str) -> str:
    """Write a score: a loss as a number, an accuracy in percent."""
    return report.number(value, 4) if judged_by.endswith("loss") else report.percent(value, 2)


def scored(row: Mapping[str, Any], judged_by: str) -> str:
    """Write the score of a trial, or that it has none."""
    return "diverged" if row["diverged"] else score(row["score"], judged_by)


def heads(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the heads of the table of trials."""
    return ("trial", "score", *(NAMES[name] for name in _chosen(found)))


def cells(row: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a trial's cells under :func:`heads`."""
    values, judged_by = row["values"], found["judged_by"]
    ended = f"ended early: {scored(row, judged_by)}" if row["pruned"] else scored(row, judged_by)
    shown = (values[name] if isinstance(values[name], str | int) else f"{values[name]:.3g}" for name in _chosen(found))
    return (str(row["trial"]), ended, *map(str, shown))


def _chosen(found: Mapping[str, Any]) -> list[str]:
    """Return the names of the values that every trial has chosen."""
    return [name for name in NAMES if all(name in row["values"] for row in found["trials"])]


def history(trials: Sequence[Mapping[str, Any]], direction: str, judged_by: str) -> Draw:
    """Draw each trial's score, those ended early hollow, and the best so far as a line."""

    def draw(axes: Axes) -> None:
        finished = [row for row in trials if not (row["pruned"] or row["diverged"])]
        ended = [row for row in trials if row["pruned"]]
        best = np.maximum.accumulate if direction == "maximize" else np.minimum.accumulate
        numbers, scores = [row["trial"] for row in finished], [row["score"] for row in finished]
        axes.step(numbers, best(scores), where="post", color=COLORS["accent"], linewidth=1.7, label="best so far")
        axes.scatter(numbers, scores, s=34, color=COLORS["accent"], zorder=3, label="finished")
        if ended:
            axes.scatter(
                [row["trial"] for row in ended], [row["score"] for row in ended], s=34, color=COLORS["surface"],
                edgecolors=COLORS["muted"], linewidths=1.2, zorder=3, label="ended early, where it stood",
            )  # fmt: skip
        axes.set(xlabel="trial", ylabel=judged_by.replace("val_", "validation "))
        axes.set_xlim(0.5, max(row["trial"] for row in trials) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if judged_by.endswith("accuracy"):
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        else:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.grid(axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, handletextpad=0.4, labelcolor=COLORS["ink"])

    return draw


def importance(shares: Mapping[str, float]) -> Draw:
    """Draw which share of the differences between trials each value explains, the largest on top."""

    def draw(axes: Axes) -> None:
        ordered = sorted(shares.items(), key=lambda item: -item[1])
        charts.bars(axes, [NAMES[name] for name, _ in ordered], [value for _, value in ordered], "{:.0%}")

    return draw
