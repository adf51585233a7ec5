"""A run's loss and accuracy, drawn and handed to TensorBoard."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter
from torch.utils.tensorboard import SummaryWriter

from perceived.pages import charts

EVENTS = "events.out.tfevents."
"""How the names of TensorBoard's files begin."""
SCALARS = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "rate")

History = Sequence[Mapping[str, Any]]
"""The lines of a run's ``metrics.jsonl``, one for each validation."""


def draw(history: History, out: Path, *, title: str) -> None:
    """Write a PNG with two panels, loss and accuracy, for training and validation over image-steps."""
    figure = charts.chart(panel(history, "loss"), panel(history, "accuracy"), width=2 * charts.WIDTH, height=3.6)
    charts.save_png(figure, out, title=f"Recipe {title}: training is measured on augmented pictures")


def panel(history: History, name: str) -> charts.Draw:
    """Draw ``"loss"`` or ``"accuracy"`` of training and validation over image-steps."""

    def draw_panel(axes: Axes) -> None:
        steps = [line["image_steps"] for line in history]
        for side, key, color in (("training", "train", "muted"), ("validation", "val", "accent")):
            values = [line[f"{key}_{name}"] for line in history]
            axes.plot(steps, values, color=charts.COLORS[color], linewidth=1.8, marker="o", markersize=4.5, label=side)
        finish(axes, name)

    return draw_panel


def finish(axes: Axes, name: str) -> None:
    """Label a panel of ``"loss"`` or ``"accuracy"`` over image-steps."""
    axes.set(xlabel="image-steps (pictures × epochs)", ylabel=name, xlim=(0, None))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if name == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="y")
    axes.legend(labelcolor=charts.COLORS["ink"])


@contextlib.contextmanager
def tensorboard(folder: Path, history: History, *, started: float) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Write a run's validations as TensorBoard events and yield what adds one more, to be seen while the run goes on.

    One file takes the place of those of an earlier part of the run; ``started`` is the time, in seconds since 1970,
    from which the run's seconds count.
    """
    for old in folder.glob(f"{EVENTS}*"):
        old.unlink()
    with SummaryWriter(str(folder)) as writer:

        def add(line: Mapping[str, Any]) -> None:
            for name in SCALARS:
                writer.add_scalar(name, line[name], line["step"], walltime=started + line["seconds"])
            writer.flush()

        for line in history:
            add(line)
        yield add
