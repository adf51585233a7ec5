"""What a training run reads: framed pictures and labels of a split, turned into batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional

from perceived.data import augment, cache, degrade, split, warp
from perceived.data.celeba import ATTRIBUTES, LABEL
from perceived.errors import DataError
from perceived.preprocess import Preprocessing
from perceived.progress import Tick
from perceived.recipes import Recipe
from perceived.spec import LABELS
from perceived.wording import counted
from perceived.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Feed:
    """Training and validation pictures of one split, ``(n, height, width, 3)`` uint8, with label indices.

    In a run on cached features the arrays are ``(n, features)`` float32 instead.
    """

    train: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    train_labels: npt.NDArray[np.int64]
    val: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    val_labels: npt.NDArray[np.int64]
    fingerprint: str
    pictures_fingerprint: str
    licences: Mapping[str, str]
    """Of the datasets that the training pictures are from, by name."""
    attributes: npt.NDArray[np.float32]
    """What else to learn of the training pictures, ``(n, attributes)`` of 0, 1 and NaN for unknown; mostly none."""
    features: npt.NDArray[np.float32]
    """What teachers' backbones make of them, ``(n, features)``, each of mean 0 and deviation 1; mostly none."""
    soft_labels: npt.NDArray[np.float32] | None = None
    """A teacher's probabilities for the training pictures, ``(n, labels)``."""
    weights: npt.NDArray[np.float64] | None = None
    """How often to show each training picture, ``(n,)`` of mean 1; without them each once an epoch."""

    def batch(
        self, showings: npt.NDArray[np.int64], recipe: Recipe, epoch: int, size: tuple[int, int], device: torch.device
    ) -> Tensor:
        """Return augmented training pictures, ``(n, 3, *size)`` float in 0-255 (or cached features).

        ``showings`` are as :meth:`perceived.schedule.Schedule.showings` numbers them: a picture that comes twice in
        an epoch is varied in two ways.
        """
        picked = self.train[showings % len(self.train)]
        if picked.dtype != np.uint8:
            return torch.from_numpy(picked).to(device)
        pixels = np.asarray(picked, np.uint8)
        pixels = degrade.batch(pixels, recipe.degradation, showings, seed=recipe.seed, epoch=epoch)
        variation = augment.draw(recipe.augmentation, showings, seed=recipe.seed, epoch=epoch)
        return warp.apply(pixels, variation, size, device)

    def labels(self, rows: npt.NDArray[np.int64], device: torch.device) -> Tensor:
        """Return training labels, ``(n, labels)`` of 0 and 1."""
        return functional.one_hot(torch.from_numpy(self.train_labels[rows]).to(device), len(LABELS)).float()

    def targets(self, rows: npt.NDArray[np.int64], teacher_share: float, device: torch.device) -> Tensor:
        """Return what to learn, ``(n, labels)`` probabilities: the labels, or what a teacher makes of them.

        ``teacher_share`` of those is the teacher's opinion (Hinton et al. 2015, arXiv:1503.02531).
        """
        labels = self.labels(rows, device)
        if self.soft_labels is None:
            return labels
        return torch.lerp(labels, torch.from_numpy(self.soft_labels[rows]).to(device), teacher_share)

    def validation_batch(self, rows: npt.NDArray[np.int64], size: tuple[int, int], device: torch.device) -> Tensor:
        """Return validation pictures without augmentation, in the same form."""
        picked = torch.from_numpy(self.val[rows]).to(device)
        if picked.dtype != torch.uint8:
            return picked
        pixels = picked.permute(0, 3, 1, 2).float()
        return pixels if pixels.shape[2:] == size else functional.interpolate(pixels, size, mode="area")


def load(work: Path, recipe: Recipe, preprocessing: Preprocessing, *, progress: Tick | None = None) -> Feed:
    """Read a workspace's split through the pixel cache.

    Raises:
        DataError: there is no split, or one side of it is empty or holds a single label.
    """
    workspace = Workspace(work)
    table = workspace.read_split()
    train, val = rows(table, recipe)
    for name, part in (("train", train), ("val", val)):
        present = part["label"].unique().sort().to_list()
        if present != sorted(LABELS):
            raise DataError(
                f"The {name} side of the split holds {counted(len(part), 'picture')} with the labels {present}.",
                expected=f"pictures of both {' and '.join(LABELS)}",
                mend=f"perceived split {work}",
            )
    return Feed(
        cache.pixels(train, preprocessing, workspace.cache, progress=progress),
        split.label_indices(train["label"]),
        cache.pixels(val, preprocessing, workspace.cache, progress=progress),
        split.label_indices(val["label"]),
        split.fingerprint(table),
        split.pictures_fingerprint(table),
        dict(train.select("source", "licence").unique("source").sort("source").iter_rows())
        if {"source", "licence"} <= set(train.columns)
        else {},
        _attributes(workspace, train) if recipe.attribute_weight else np.empty((len(train), 0), np.float32),
        np.empty((len(train), 0), np.float32),
        weights=train["weight"].to_numpy() if "weight" in train.columns else None,
    )


def _attributes(workspace: Workspace, train: pl.DataFrame) -> npt.NDArray[np.float32]:
    """Return CelebA's attributes other than the label, ``(n, attributes)``, unknown ones as NaN.

    Raises:
        DataError: no picture has any.
    """
    examples = workspace.read_examples()
    names = [name for name in ATTRIBUTES if examples.schema.get(name) == pl.Boolean and name != LABEL]
    found = train.select("id").join(examples.select("id", *names), on="id", how="left", maintain_order="left")
    if not names or found[names[0]].null_count() == len(found):
        raise DataError(
            "The recipe learns attributes beside the label, and the pictures have none.",
            expected="pictures of CelebA",
            mend="--set attribute_weight=0",
        )
    return found.select(pl.col(names).cast(pl.Float32).fill_null(float("nan"))).to_numpy()


def rows(table: pl.DataFrame, recipe: Recipe) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the training and the validation pictures of a split, in the order of :func:`load`."""
    train, val = (table.filter(split=name) for name in ("train", "val"))
    return train, split.draw(val, recipe.validation_limit) if recipe.validation_limit else val
