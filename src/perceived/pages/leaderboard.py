"""A comparison written down: the JSON, a page, Markdown, and accuracy against latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from perceived import storage
from perceived.leaderboard import MCNEMAR, SIGN_FLIP
from perceived.pages import charts, markdown, report
from perceived.pages.charts import COLORS, Draw
from perceived.wording import counted

TITLE = "Accuracy against latency, with 95% intervals; green: none is both faster and better"
HEADS = (
    "network",
    "accuracy",
    "95% interval",
    "calibration error",
    "parameters",
    "FLOPs",
    "latency",
    "file",
    "trained",
)


def write(out: Path, found: Mapping[str, Any]) -> None:
    """Write ``leaderboard.json``, ``leaderboard.html``, ``leaderboard.md`` and ``pareto.png`` into ``out``."""
    figure = charts.chart(accuracy_by_latency(found["leaderboard"]), height=4.0, width=8)
    svgs = report.save_charts(out, {"pareto": (figure, TITLE)})
    storage.write_json(out / "leaderboard.json", dict(found))
    storage.write_text(out / "leaderboard.md", as_markdown(found))
    context = {
        "found": found,
        "by_person": found["test"] == SIGN_FLIP,
        "mcnemar": found["test"] == MCNEMAR,
        "svg": svgs["pareto"],
        "heads": HEADS,
        "cells": cells,
    }
    report.write(out / "leaderboard.html", "leaderboard.html", context)


def accuracy_by_latency(rows: Sequence[Mapping[str, Any]]) -> Draw:
    """Draw each network's accuracy, with its interval, over the latency of one picture; the front is a line."""

    def draw(axes: Axes) -> None:
        front = sorted((row["latency_ms"], row["accuracy"]["value"]) for row in rows if row["pareto"])
        axes.plot(*zip(*front, strict=True), color=COLORS["accent"], linewidth=1.2, alpha=0.5, zorder=1)
        for row in rows:
            x, rate = row["latency_ms"], row["accuracy"]
            color = COLORS["accent"] if row["pareto"] else COLORS["muted"]
            axes.plot([x, x], [rate["low"], rate["high"]], color=color, linewidth=2, alpha=0.35, zorder=2)
            axes.scatter([x], [rate["value"]], s=44, color=color, zorder=3)
            axes.annotate(
                row["backbone"], (x, rate["value"]), (7, -5), textcoords="offset points", va="top", size=9.5,
                color=COLORS["ink"], parse_math=False,
            )  # fmt: skip
        axes.set_xscale("log")
        lowest, highest = (f(row["latency_ms"] for row in rows) for f in (min, max))
        axes.set_xlim(lowest / 1.3, highest * 2.2)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} ms"))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
        axes.set_xlabel("one picture on one CPU thread (log scale)")
        axes.grid()

    return draw


def as_markdown(found: Mapping[str, Any]) -> str:
    """Return the leaderboard and the tests as Markdown tables."""
    lines = markdown.table(HEADS, map(cells, found["leaderboard"]))
    budget = found["budget"]
    cost = f"{budget['minutes']:g} minutes of training, {counted(budget['seeds'], 'seed')}"
    lines += ["", f"Each: {cost}, {found['pictures']:,} {budget['on']} pictures."]
    if found["tests"]:
        lines += ["", f"Tests of pairs of these runs, of the luck of pictures, not of seeds: {found['test']}.", ""]
        heads = ("first", "second", "first right more often", "second right more often", "p", "corrected")
        lines += markdown.table(heads, map(_test, found["tests"]), left=2)
    lines += ["", *(f"- {name} is left out: {why}" for name, why in found["left_out"].items())]
    return "\n".join(lines).rstrip() + "\n"


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    rate = row["accuracy"]
    return (
        row["backbone"],
        f"{rate['value']:.2%}",
        f"{rate['low'] * 100:.2f}–{rate['high']:.2%}",
        f"{row['calibration_error']:.2%}",
        f"{row['parameters'] / 1e6:.1f} M",
        f"{row['flops'] / 1e9:.2f} G",
        f"{row['latency_ms']:.1f} ms",
        f"{row['megabytes']:.1f} MB",
        f"{row['minutes']:.1f} min",
    )


def _test(test: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (str(test["only_first"]), str(test["only_second"]))
    return (test["first"], test["second"], *counts, report.p_value(test["p"]), report.p_value(test["p_holm"]))
