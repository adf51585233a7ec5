"""What networks that do not learn make of framed pictures, computed once and kept on disk: features and opinions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from accelerate import Accelerator

from perceived import packaged_weights, storage
from perceived.acceleration import precision_of
from perceived.checkpoint import TrainedModel
from perceived.data import cache
from perceived.model import Network, planes
from perceived.preprocess import Preprocessing
from perceived.progress import counter
from perceived.scoring import weights_sha256

BATCH = 64

Values = npt.NDArray[np.float32]


def features(
    rows: pl.DataFrame, pixels: npt.NDArray[Any], preprocessing: Preprocessing, network: Network, folder: Path,
    accelerator: Accelerator, *, title: str, quiet: bool,
) -> Values:  # fmt: skip
    """Return the pooled features, ``(n, features)``, of the pictures of ``rows``, kept in ``folder``.

    ``pixels`` are these pictures, framed, ``(n, height, width, 3)`` uint8. The features are told from others by the
    pictures' paths, files and framing, the precision, and the backbone's weights.
    """
    network.to(accelerator.device).eval()

    def compute() -> Values:
        with torch.inference_mode():
            return _in_batches(
                pixels,
                lambda batch: network.features(planes(batch, accelerator.device)).float().cpu().numpy(),
                accelerator,
                title=title,
                quiet=quiet,
            )

    weights = packaged_weights.digest(
        {name: value for name, value in network.state_dict().items() if not name.startswith(("head.", "beside."))}
    )
    told = [cache.cache_key(rows, preprocessing), preprocessing.to_dict(), precision_of(accelerator), weights]
    return _kept(folder, "features", told, rows, compute)


def opinion(
    teacher: Path, trained: TrainedModel, rows: pl.DataFrame, folder: Path, accelerator: Accelerator, *, quiet: bool
) -> Values:
    """Return what ``trained``, the model of the file ``teacher``, thinks of the pictures of ``rows``, ``(n, labels)``.

    These are the soft labels of distillation. It sees the pictures in its own size and framing, which may be
    another than its pupil's; what it thinks is kept in ``folder``.
    """
    theirs = trained.spec.preprocessing
    trained.network.to(accelerator.device)

    def compute() -> Values:
        if trained.answers_features:  # as a rule they are kept from its own training
            return trained.probabilities_of(features_of(teacher, trained, rows, folder, accelerator, quiet=quiet))
        shown = _shown(trained, rows, folder, quiet=quiet)
        return _in_batches(shown, trained.probabilities, accelerator, title=f"Asking {teacher.name}", quiet=quiet)

    told = [weights_sha256(teacher), cache.cache_key(rows, theirs), precision_of(accelerator)]
    return _kept(folder, "opinions", told, rows, compute)


def features_of(
    teacher: Path, trained: TrainedModel, rows: pl.DataFrame, folder: Path, accelerator: Accelerator, *, quiet: bool
) -> Values:
    """Return a teacher's :func:`features` of the pictures of ``rows``, framed as it was trained to see them."""
    shown = _shown(trained, rows, folder, quiet=quiet)
    ours = (trained.spec.preprocessing, trained.network, folder, accelerator)
    return features(rows, shown, *ours, title=f"Features of {teacher.name}", quiet=quiet)


def standardised(values: Values) -> Values:
    """Return each column with mean 0 and deviation 1, what lies more than 5 deviations away brought nearer."""
    deviation = values.std(0)
    far: Values = (values - values.mean(0)) / np.where(deviation > 0, deviation, 1)
    return far.clip(-5, 5)


def _shown(trained: TrainedModel, rows: pl.DataFrame, folder: Path, *, quiet: bool) -> npt.NDArray[np.uint8]:
    """Return the pictures of ``rows`` as a teacher frames them."""
    with counter("Decoding pictures for the teacher", quiet=quiet) as progress:
        return cache.pixels(rows, trained.spec.preprocessing, folder, progress=progress)


def _in_batches(
    pixels: npt.NDArray[Any], ask: Callable[[npt.NDArray[Any]], Values], accelerator: Accelerator,
    *, title: str, quiet: bool,
) -> Values:  # fmt: skip
    parts = []
    with counter(title, quiet=quiet) as progress, accelerator.autocast():
        for start in range(0, len(pixels), BATCH):
            parts.append(ask(np.asarray(pixels[start : start + BATCH])))
            progress(min(start + BATCH, len(pixels)), len(pixels))
    return np.concatenate(parts)


def _kept(folder: Path, name: str, told: list[Any], rows: pl.DataFrame, compute: Callable[[], Values]) -> Values:
    """Return what ``compute`` returns, from the disk where it is there; ``told`` is what tells it from others."""

    def write(file: Path) -> None:
        with open(file, "wb") as opened:
            np.save(opened, compute())

    source = cache.bytes_of(rows["path"].to_list())
    return cache.keep(folder, f"{name}-{storage.sha256_json(told)[:16]}", write, source=source)
