"""What it costs to keep a network's weights as float16 or int8: bytes, accuracy on the same pictures, time.

    python benchmarks/stored_weights.py RUN WORK [WORK ...] --on val

The pictures of all the workspaces' splits are framed once, and every file answers for the same pixels.
Must: a file loses less than 0.1 point of accuracy on 10,000 pictures or more, and the classification of
one face takes at most 5 ms. Timings interleave the files, so that all meet the same machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from perceived import compact, export
from perceived.checkpoint import TrainedModel
from perceived.classifier import Classifier
from perceived.data import cache, split
from perceived.progress import counter
from perceived.significance import mcnemar
from perceived.workspace import Workspace

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("work", type=Path, nargs="+")
    parser.add_argument("--on", default="val")
    parser.add_argument("--repeats", type=int, default=300, help="single faces to time with each file")
    choice = parser.parse_args()
    preprocessing = TrainedModel.load(choice.run).spec.preprocessing
    parts = []
    for work in map(Workspace, choice.work):
        table = work.read_split().filter(pl.col("split") == choice.on)
        with counter(f"framing {work.root}", quiet=False) as tick:
            pixels = cache.pixels(table, preprocessing, work.cache, progress=tick)
            parts.append((pixels, split.label_indices(table["label"])))
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: export.export(choice.run, Path(folder) / f"{kind}.onnx", store=kind) for kind in compact.STORES}
        right = {kind: answers(file, parts) for kind, file in files.items()}
        times = timings({kind: Classifier(file) for kind, file in files.items()}, parts[0][0], choice.repeats)
        sizes = {kind: file.stat().st_size for kind, file in files.items()}
    whole = right["float32"]
    print(f"{len(whole):,} pictures")
    for kind, correct in right.items():
        lost, won = int((whole & ~correct).sum()), int((~whole & correct).sum())
        print(
            f"{kind:8} {sizes[kind] / 1e6:6.1f} MB  accuracy {correct.mean():.4%}"
            f"  {(correct.mean() - whole.mean()) * 100:+.3f} points  {lost} lost, {won} won, p {mcnemar(lost, won):.2f}"
            f"  one face {times[kind] * 1e3:.2f} ms"
        )


def answers(file: Path, parts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return for each picture whether a model file is right."""
    classifier = Classifier(file)
    return np.concatenate(
        [
            classifier.logits(np.ascontiguousarray(pixels[start : start + BATCH])).argmax(1)
            == truth[start : start + BATCH]
            for pixels, truth in parts
            for start in range(0, len(truth), BATCH)
        ]
    )


def timings(classifiers: dict[str, Classifier], pixels: np.ndarray, repeats: int) -> dict[str, float]:
    """Return the median seconds that each file takes for one face."""
    taken: dict[str, list[float]] = {kind: [] for kind in classifiers}
    for index in range(repeats):
        face = np.ascontiguousarray(pixels[index % len(pixels)][None])
        for kind, classifier in classifiers.items():
            started = time.perf_counter()
            classifier.logits(face)
            taken[kind].append(time.perf_counter() - started)
    return {kind: statistics.median(values[len(values) // 10 :]) for kind, values in taken.items()}


if __name__ == "__main__":
    main()
