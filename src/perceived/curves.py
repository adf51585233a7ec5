"""A run's loss and accuracy, drawn and handed to TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.ticker

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from torch.utils.tensorboard import SummaryWriter

from perceived import storage

SCALARS = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "rate")


def draw(history: Sequence[Mapping[str, Any]], out: Path, *, title: str) -> None:
    """Write a PNG with two panels, loss and accuracy, for training and validation over image-steps."""
    steps = [line["image_steps"] for line in history]
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for panel, name in zip(panels, ("loss", "accuracy"), strict=True):
        panel.plot(steps, [line[f"train_{name}"] for line in history], "o-", color="#8a94a6", label="training")
        panel.plot(steps, [line[f"val_{name}"] for line in history], "o-", color="#1f6feb", label="validation")
        panel.set(xlabel="image-steps (pictures × epochs)", title=name.capitalize())
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False)
    panels[1].yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=1))
    figure.suptitle(f"Recipe {title}: training loss and accuracy are measured on augmented pictures", fontsize=10)
    with storage.atomic_path(out) as partial:
        figure.savefig(partial, dpi=130, format="png")
    plt.close(figure)


def write_tensorboard(history: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write the run's validations as TensorBoard events, replacing those of an earlier part of the run."""
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with SummaryWriter(str(folder)) as writer:
        for line in history:
            for name in SCALARS:
                writer.add_scalar(name, line[name], line["step"], walltime=line["seconds"])
