"""A model's opinion of every picture by models that have not learnt from it: K-fold cross-validation.

The pictures are told by a frozen backbone's features, so that only a logistic regression is trained K
times. Nobody's pictures are on both sides of a fold: a face that has been learnt with a wrong label
would be recognised with it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from perceived import backbones, metrics
from perceived.acceleration import accelerator_for
from perceived.data import cache
from perceived.data.split import label_indices
from perceived.errors import ConfigError
from perceived.frozen import features
from perceived.progress import counter
from perceived.recipes import Recipe
from perceived.setup import build, framing
from perceived.spec import LABELS

Doubles = npt.NDArray[np.float64]

INVERSE_PENALTY = 1e-2
"""Inverse of the penalty on the weights, small because there are thousands of features."""


def probabilities(rows: pl.DataFrame, recipe: Recipe, folder: Path, *, folds: int, seed: int = 0) -> Doubles:
    """Return out-of-fold probabilities ``(n, labels)`` of ``rows`` with ``id, path, label, identity``.

    ``recipe`` says backbone, weights, size and framing. Pixels and features are kept in ``folder``.

    Raises:
        ConfigError: there are not enough people, or pictures of either label, for so many folds.
        DataError, WeightsError, StorageError: as their stages say.
    """
    people = metrics.people(rows["identity"])
    labels = label_indices(rows["label"])
    most = min(np.unique(people[labels == label]).size for label in range(len(LABELS)))
    if not 2 <= folds <= most:
        raise ConfigError(
            f"{folds} folds cannot be made of {most:,} people with pictures of the rarer label.",
            expected=f"2 to {most:,} folds" if most > 1 else "more pictures",
            mend="choose --folds accordingly",
        )
    seen = _features(rows, recipe, folder)
    answers = np.full((len(labels), len(LABELS)), np.nan)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with counter(f"{folds} folds") as tick:
        for fold, (learnt, held_out) in enumerate(splitter.split(seen, labels, people)):
            if not len(held_out) or len(np.unique(labels[learnt])) < len(LABELS):
                raise ConfigError(
                    f"{folds} folds cannot be made of these {len(labels):,} pictures: one would have no pictures, or"
                    " would have learnt a single label.",
                    expected="more people with pictures of either label",
                    mend="choose fewer --folds",
                )
            model = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=1000))
            answers[held_out] = model.fit(seen[learnt], labels[learnt]).predict_proba(seen[held_out])
            tick(fold + 1, folds)
    return answers


def _features(rows: pl.DataFrame, recipe: Recipe, folder: Path) -> npt.NDArray[np.float32]:
    accelerator = accelerator_for(recipe.precision)
    torch.manual_seed(recipe.seed)  # a backbone without pretrained weights begins with those of chance
    backbone = backbones.create(recipe.backbone, weights=recipe.weights)
    preprocessing = framing(recipe, backbone.input)
    with counter("decoding pictures") as tick:
        pixels = cache.pixels(rows, preprocessing, folder, progress=tick)
    network, _ = build(recipe, backbone)
    return features(rows, pixels, preprocessing, network, folder, accelerator, title="features", quiet=False)
