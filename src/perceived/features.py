"""A frozen backbone's features of framed pictures, computed once and kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from accelerate import Accelerator

from perceived import packaged_weights, storage
from perceived.acceleration import precision_of
from perceived.data import cache
from perceived.model import Network, planes
from perceived.preprocess import Preprocessing
from perceived.progress import Tick, counter

BATCH = 64


def keep(
    rows: pl.DataFrame, pixels: npt.NDArray[Any], preprocessing: Preprocessing, network: Network, folder: Path,
    accelerator: Accelerator, *, title: str, quiet: bool,
) -> npt.NDArray[np.float32]:  # fmt: skip
    """Return the pooled features, ``(n, features)``, of the pictures of ``rows``, kept in ``folder``.

    ``pixels`` are these pictures, framed, ``(n, height, width, 3)`` uint8. The features are told from others by the
    pictures' paths, files and framing, the precision, and the backbone's weights.
    """
    network.to(accelerator.device).eval()

    def write(file: Path) -> None:
        with counter(title, quiet=quiet) as progress, open(file, "wb") as opened:
            np.save(opened, _compute(pixels, network, accelerator, progress))

    weights = packaged_weights.digest(
        {name: value for name, value in network.state_dict().items() if not name.startswith("head.")}
    )
    told = [cache.cache_key(rows, preprocessing), preprocessing.to_dict(), precision_of(accelerator), weights]
    source = cache.bytes_of(rows["path"].to_list())
    return cache.keep(folder, f"features-{storage.sha256_json(told)[:16]}", write, source=source)


def _compute(
    pixels: npt.NDArray[Any], network: Network, accelerator: Accelerator, progress: Tick | None
) -> npt.NDArray[np.float32]:
    parts = []
    with torch.inference_mode(), accelerator.autocast():
        for start in range(0, len(pixels), BATCH):
            batch = planes(pixels[start : start + BATCH], accelerator.device)
            parts.append(network.features(batch).float().cpu().numpy())
            if progress:
                progress(min(start + BATCH, len(pixels)), len(pixels))
    return np.concatenate(parts)
