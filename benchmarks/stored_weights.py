"""What it costs to keep a network's weights as float16 or int8: bytes, accuracy on the same pictures, time.

    python benchmarks/stored_weights.py RUN WORK [WORK ...] --on val
    python benchmarks/stored_weights.py MODEL.onnx WORK [WORK ...] --on val

Of a RUN every kind of file is made; a MODEL.onnx, or the name of one, that computes in int8 is put beside its own
network computing in float32. The pictures of all the workspaces' splits are framed once, and all answer for the same
pixels. Must: a file loses less than 0.1 point of accuracy on 10,000 pictures or more, and the classification of one
face takes at most 5 ms. Timings interleave the files, so that all meet the same machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch

from perceived import compact, export, models
from perceived.checkpoint import TrainedModel
from perceived.classifier import Classifier, look
from perceived.data import cache, split
from perceived.model import planes
from perceived.progress import counter
from perceived.significance import mcnemar
from perceived.workspace import Workspace

BATCH = 32
Network = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="RUN|MODEL")
    parser.add_argument("work", type=Path, nargs="+")
    parser.add_argument("--on", default="val")
    parser.add_argument("--repeats", type=int, default=300, help="single faces to time with each file")
    choice = parser.parse_args()
    preprocessing = TrainedModel.load(choice.model).spec.preprocessing
    parts = []
    for work in map(Workspace, choice.work):
        table = work.read_split().filter(pl.col("split") == choice.on)
        with counter(f"framing {work.root}", quiet=False) as tick:
            pixels = cache.pixels(table, preprocessing, work.cache, progress=tick)
            parts.append((pixels, split.label_indices(table["label"])))
    with tempfile.TemporaryDirectory() as folder:
        networks, sizes = forms(choice.model, Path(folder))
        right = {kind: answers(network, parts) for kind, network in networks.items()}
        times = timings(networks, parts[0][0], choice.repeats)
    whole = right["float32"]
    print(f"{len(whole):,} pictures")
    for kind, correct in right.items():
        lost, won = int((whole & ~correct).sum()), int((~whole & correct).sum())
        print(
            f"{kind:8} {sizes[kind] / 1e6:6.1f} MB  accuracy {correct.mean():.4%}"
            f"  {(correct.mean() - whole.mean()) * 100:+.3f} points  {lost} lost, {won} won, p {mcnemar(lost, won):.2f}"
            f"  one face {times[kind] * 1e3:.2f} ms"
        )


def forms(model: Path, folder: Path) -> tuple[dict[str, Network], dict[str, int]]:
    """Return what answers for framed pictures in each form of a model, with logits, and the bytes of its file."""
    if model.is_dir():
        files = {kind: export.export(model, folder / f"{kind}.onnx", store=kind) for kind in compact.STORES}
        return {kind: Classifier(file).logits for kind, file in files.items()}, {
            kind: file.stat().st_size for kind, file in files.items()
        }
    file, trained = models.find_trained(model), TrainedModel.load(model)
    network = trained.network.eval()

    @torch.inference_mode()
    def exact(pixels: np.ndarray) -> np.ndarray:
        return look(lambda some: network(planes(some)).numpy(), pixels, trained.spec.mirror_below)

    parameters = sum(value.numel() for value in network.parameters())
    return {"float32": exact, "int8": Classifier(file).logits}, {"float32": 4 * parameters, "int8": file.stat().st_size}


def answers(network: Network, parts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return for each picture whether a network is right."""
    return np.concatenate(
        [
            network(np.ascontiguousarray(pixels[start : start + BATCH])).argmax(1) == truth[start : start + BATCH]
            for pixels, truth in parts
            for start in range(0, len(truth), BATCH)
        ]
    )


def timings(networks: dict[str, Network], pixels: np.ndarray, repeats: int) -> dict[str, float]:
    """Return the median seconds that each form takes for one face."""
    taken: dict[str, list[float]] = {kind: [] for kind in networks}
    for index in range(repeats):
        face = np.ascontiguousarray(pixels[index % len(pixels)][None])
        for kind, network in networks.items():
            started = time.perf_counter()
            network(face)
            taken[kind].append(time.perf_counter() - started)
    return {kind: statistics.median(values[len(values) // 10 :]) for kind, values in taken.items()}


if __name__ == "__main__":
    main()
