"""Charts in one hand: drawn once, kept as PNG for a page or slide and as SVG inside a report.

The SVG's colours are the report's CSS variables, so one drawing follows its light and dark theme,
and its text stays text. Figures are made without pyplot: nothing is global, no window ever opens.
"""

from __future__ import annotations

import contextlib
import html
import io
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from perceived.preprocess import Pixels
from perceived.spec import LABELS
from perceived.storage import atomic_path
from perceived.wording import signed

COLORS = {
    "ink": "#1c2330",
    "muted": "#667085",
    "line": "#d8dde6",
    "surface": "#ffffff",
    "female": "#6d4fc4",
    "male": "#b9650a",
    "accent": "#1f7a6d",
}
"""The light theme; report.css gives every name its dark counterpart. Violet and amber stay apart
for colour-blind readers and on both grounds."""

_LABELS = [(label, label) for label in LABELS]
"""What a legend of the labels says, each in the colour of its name."""

WIDTH = 5.0
"""Inches: at the width of a report's column the text comes out at the size of its small print."""
DPI = 200
_HEADING = 0.35
"""Inches that a title takes above a figure."""

_OTHER_SCRIPTS = [
    name
    for name in ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei")
    if name in {font.name for font in font_manager.fontManager.ttflist}
]
"""Fonts, as far as they are here, for names that the first one cannot write."""

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLORS["line"],
    "axes.facecolor": "none",
    "axes.labelcolor": COLORS["muted"],
    "axes.labelsize": 9.5,
    "axes.spines.bottom": False,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": COLORS["surface"],
    "font.family": ["DejaVu Sans", *_OTHER_SCRIPTS],
    "font.size": 10,
    "grid.color": COLORS["line"],
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "patch.linewidth": 0,
    "svg.fonttype": "none",
    "text.color": COLORS["ink"],
    "xtick.color": COLORS["muted"],
    "xtick.labelsize": 9.5,
    "xtick.major.pad": 6,
    "xtick.major.size": 0,
    "ytick.color": COLORS["muted"],
    "ytick.labelsize": 9.5,
    "ytick.major.pad": 6,
    "ytick.major.size": 0,
}

Floats = npt.NDArray[np.floating]
Draw = Callable[[Axes], None]


def chart(*draws: Draw, height: float = 3.0, width: float = WIDTH) -> Figure:
    """Return a figure with a panel for each of ``draws``, side by side; sizes are in inches."""
    with _style():
        figure = Figure(figsize=(width, height), layout="constrained")
        for draw, axes in zip(draws, figure.subplots(1, len(draws), squeeze=False)[0], strict=True):
            draw(axes)
        _lay_out(figure)
    return figure


def panels(draws: Sequence[Draw]) -> Figure:
    """Return a figure of several panels in rows of three, all with the same axes."""
    columns, width, height = 3, 8.0, 1.9
    rows = -(-len(draws) // columns)
    with _style():
        figure = Figure(figsize=(width, height * rows + 0.3), layout="constrained")
        places = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        for axes, draw in zip_longest(places, draws):
            if draw is None:
                axes.set_axis_off()
            else:
                draw(axes)
        _lay_out(figure)
    return figure


def _lay_out(figure: Figure) -> None:
    """Give a figure's parts their places once, for every file that it is written to."""
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.execute(figure)


def save_png(figure: Figure, path: Path, *, title: str) -> None:
    """Write a figure as PNG in the light theme, under its title (a page gives it a caption instead)."""
    width, height = figure.get_size_inches()
    with _style(), atomic_path(path) as partial, _laid_out(figure):
        places = {axes: axes.get_position() for axes in figure.axes}
        scale = height / (height + _HEADING)
        figure.set_size_inches(width, height + _HEADING)
        for axes, place in places.items():
            axes.set_position((place.x0, place.y0 * scale, place.width, place.height * scale))
        top = 1 - 0.1 / (height + _HEADING)
        heading = figure.text(0.02, top, title, va="top", size=12, weight="bold", parse_math=False)
        try:
            figure.savefig(partial, format="png", dpi=DPI, pil_kwargs={"compress_level": 3})
        finally:
            heading.remove()
            figure.set_size_inches(width, height)
            for axes, place in places.items():
                axes.set_position(place)


def short(name: str, most: int = 40) -> str:
    """Return a name of at most so many letters, which leaves room for the chart; its table has the whole one."""
    return name if len(name) <= most else name[: most - 1] + "…"


def remove(folder: Path, names: Iterable[str]) -> None:
    """Remove charts of an earlier result from a folder, as far as they are there."""
    for name in names:
        (folder / f"{name}.png").unlink(missing_ok=True)


@contextlib.contextmanager
def _style(more: Mapping[str, Any] = MappingProxyType({})) -> Iterator[None]:
    """Draw in our style, and a letter that no font here has as a box, without a word."""
    with mpl.rc_context(_STYLE | more), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


@contextlib.contextmanager
def _laid_out(figure: Figure) -> Iterator[None]:
    """Keep a figure as it has been laid out: to do that again for each file takes as long as to draw it."""
    layout = figure.get_layout_engine()
    figure.set_layout_engine("none")
    try:
        yield
    finally:
        figure.set_layout_engine(layout)


def to_svg(figure: Figure, *, title: str) -> str:
    """Return a figure as an ``<svg>`` element to stand in a page; ``title`` is read to the blind."""
    buffer = io.StringIO()
    with _style({"svg.hashsalt": title}), _laid_out(figure):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", text, flags=re.DOTALL)
    text = re.sub(
        r' id="(?:figure|axes|patch|text|line2d|matplotlib\.axis|xtick|ytick|legend|\w*Collection)_\d+"', "", text
    )
    text = re.sub(r"(font(?:-family)?:[^;\"]*)'DejaVu Sans'[^;\"]*", r"\1var(--sans)", text)
    for name, color in COLORS.items():
        text = text.replace(color, f"var(--{name})")
    size = re.search(r'width="[\d.]+pt" height="[\d.]+pt"', text)
    assert size is not None
    return text.replace(size[0], f'role="img" aria-label="{html.escape(title)}"', 1)


def label_counts(counts: Mapping[str, int]) -> Draw:
    """Draw a bar for each label, with its count and share written on it."""

    def draw(axes: Axes) -> None:
        total = sum(counts.values())
        bars = axes.bar(list(counts), list(counts.values()), width=0.62, color=[COLORS[name] for name in counts])
        for bar, count in zip(bars, counts.values(), strict=True):
            place = (bar.get_x() + bar.get_width() / 2, bar.get_height())
            axes.annotate(f"{count:,}", place, (0, 17), textcoords="offset points", ha="center", size=13, weight="bold")
            axes.annotate(
                _share(count, total), place, (0, 4), textcoords="offset points", ha="center", size=9.5,
                color=COLORS["muted"],
            )  # fmt: skip
        axes.set_ylim(0, max(counts.values()) * 1.2 or 1)
        axes.spines["bottom"].set_visible(True)
        axes.set_yticks([])
        axes.tick_params(axis="x", labelsize=11, labelcolor=COLORS["ink"])

    return draw


def partition_counts(counts: Mapping[str, Mapping[str, int]]) -> Draw:
    """Draw the share of each label in each partition, with the counts written in the bars."""

    def draw(axes: Axes) -> None:
        names = [name for name, found in counts.items() if sum(found.values())]
        middle: dict[str, Any] = {"ha": "center", "va": "center", "color": COLORS["surface"], "linespacing": 1.35}
        for row, name in enumerate(names):
            total, left = sum(counts[name].values()), 0.0
            for label in LABELS:
                count = counts[name][label]
                share = count / total
                axes.barh(row, share, left=left, height=0.62, color=COLORS[label])
                text = f"{count:,}\n{_share(count, total)}" if share > 0.14 else ""
                axes.text(left + share / 2, row, text, **middle)
                left += share
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", labelsize=11, labelcolor=COLORS["ink"])
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.invert_yaxis()
        legend(axes, _LABELS, marker="s")

    return draw


def attribute_rates(rows: Sequence[Mapping[str, Any]]) -> Draw:
    """Draw each attribute's rate among either label as two dots joined by a line."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(rows))
        rates = {label: np.array([row["rate"][label] for row in rows], float) for label in LABELS}
        axes.hlines(places, rates[LABELS[0]], rates[LABELS[1]], color=COLORS["line"], linewidth=2.4, zorder=1)
        for label in LABELS:
            axes.scatter(rates[label], places, s=30, color=COLORS[label], zorder=2)
        names = [f"{row['name'].replace('_', ' ')}  {signed(row['correlation'])}" for row in rows]
        axes.set_yticks(places, names, color=COLORS["ink"])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("share of pictures that have it; beside the name, its correlation with Male")
        axes.grid(axis="x")
        legend(axes, _LABELS)

    return draw


def size_counts(sizes: Sequence[Mapping[str, Any]]) -> Draw:
    """Draw how many pictures have each of the commonest sizes."""

    def draw(axes: Axes) -> None:
        names = [f"{row['width']} × {row['height']}" if row["width"] else "other" for row in sizes]
        bars(axes, names, [row["count"] for row in sizes], "{:,}")

    return draw


def bars(axes: Axes, names: Sequence[str], values: Sequence[float], written: str) -> None:
    """Draw a bar for each value, the first on top, with the value at its end as ``written`` formats it."""
    drawn = axes.barh(names, values, height=0.62, color=COLORS["accent"])
    axes.bar_label(drawn, [written.format(value) for value in values], padding=5)
    axes.set_xlim(0, max(values) * 1.18)
    axes.set_xticks([])
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelcolor=COLORS["ink"])


def picture(pixels: Pixels, lines: Sequence[str]) -> Draw:
    """Draw an RGB picture with lines of text beside it."""

    def draw(axes: Axes) -> None:
        axes.imshow(pixels)
        axes.set_anchor("W")
        axes.set_axis_off()
        axes.annotate(
            "\n".join(lines), (1, 1), (14, 0), xycoords="axes fraction", textcoords="offset points",
            va="top", size=12, linespacing=1.7,
        )  # fmt: skip

    return draw


def scale_start(lowest: float) -> float:
    """Return where a scale of shares starts: at a multiple of 5 %, a little below the ``lowest`` that is shown."""
    return max(0.0, math.floor((lowest - 0.005) * 20) / 20)


def reliability(confidence: Floats, accuracy: Floats) -> Draw:
    """Draw the accuracy of answers against their mean confidence, one dot for each bin of equal mass."""

    def draw(axes: Axes) -> None:
        start = scale_start(min(float(np.nanmin(confidence)), float(np.nanmin(accuracy)), 0.9))
        axes.plot([start, 1], [start, 1], color=COLORS["muted"], linewidth=1, linestyle=(0, (3, 3)))
        axes.scatter(confidence, accuracy, s=34, color=COLORS["accent"], alpha=0.75, clip_on=False, zorder=3)
        axes.set(
            xlim=(start, 1.005), ylim=(start, 1.005), xlabel="confidence of the answer", ylabel="share that is right"
        )
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid()

    return draw


def risk_coverage(coverage: Floats, risk: Floats, *, target: float, chosen: float) -> Draw:
    """Draw the error among answered pictures against the share answered, with the target and the point chosen."""

    def draw(axes: Axes) -> None:
        axes.axhline(target, color=COLORS["muted"], linewidth=1, linestyle=(0, (3, 3)))
        axes.plot(coverage, risk, color=COLORS["accent"], linewidth=1.7)
        error = np.interp(chosen, coverage, risk)
        axes.scatter([chosen], [error], s=42, color=COLORS["accent"], zorder=3, clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, max(2 * target, 1.08 * float(np.max(risk)))))
        axes.set(xlabel="share of pictures answered", ylabel="share of answers that is wrong")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
        axes.grid()

    return draw


def score_histogram(scores: Mapping[str, Floats], *, positive: str) -> Draw:
    """Draw how the probability of ``positive`` is spread over the pictures of each true label."""

    def draw(axes: Axes) -> None:
        edges = np.linspace(0, 1, 26)
        for label, values in scores.items():
            counts = np.histogram(values, edges)[0]
            axes.stairs(counts, edges, color=COLORS[label], linewidth=1.7, label=label)
            axes.stairs(counts, edges, color=COLORS[label], fill=True, alpha=0.14)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.set(xlim=(0, 1), xlabel=f"probability of {positive}", ylabel="pictures (log scale)")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="y")
        legend(axes, _LABELS, marker="s")

    return draw


def legend(axes: Axes, entries: Sequence[tuple[str, str]], *, marker: str = "o") -> None:
    """Write in a line above the panel what is drawn in which of :data:`COLORS`: texts with the names of colours."""
    handles = [axes.scatter([], [], s=40, marker=marker, color=COLORS[color]) for _, color in entries]
    axes.legend(
        handles, [text for text, _ in entries], loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=len(entries),
        handletextpad=0.2, columnspacing=1.2, labelcolor=COLORS["ink"],
    )  # fmt: skip


def _share(count: int, total: int) -> str:
    return f"{count / total:.1%}" if total else ""
