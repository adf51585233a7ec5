"""A frozen backbone's features of framed pictures, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator

from perceived import backbones, storage
from perceived.data import cache
from perceived.model import Network, planes
from perceived.progress import counter

BATCH = 64


def keep(
    pixels: npt.NDArray[Any], network: Network, folder: Path, accelerator: Accelerator, key: Sequence[Any],
    *, title: str, quiet: bool, source: str | None,
) -> npt.NDArray[np.float32]:  # fmt: skip
    """Return the pooled features, ``(n, features)``, of ``(n, height, width, 3)`` uint8 pictures, kept in ``folder``.

    ``key`` is JSON data that tells the pictures from others, and ``source`` what changes with their files, as
    :func:`perceived.data.cache.bytes_of` gives it; the backbone is told by its weights.
    """
    network.to(accelerator.device).eval()

    def write(file: Path) -> None:
        with counter(title, quiet=quiet) as progress, open(file, "wb") as opened:
            np.save(opened, _compute(pixels, network, accelerator, progress))

    told = backbones.digest(
        {name: value for name, value in network.state_dict().items() if not name.startswith("head.")}
    )
    return cache.keep(folder, f"features-{storage.sha256_json([*key, told])[:16]}", write, source=source)


def _compute(
    pixels: npt.NDArray[Any], network: Network, accelerator: Accelerator, progress: cache.Progress | None
) -> npt.NDArray[np.float32]:
    parts = []
    with torch.inference_mode(), accelerator.autocast():
        for start in range(0, len(pixels), BATCH):
            batch = planes(pixels[start : start + BATCH], accelerator.device)
            parts.append(network.features(batch).float().cpu().numpy())
            if progress:
                progress(min(start + BATCH, len(pixels)), len(pixels))
    return np.concatenate(parts)
