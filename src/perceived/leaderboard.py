"""What a comparison found: each network's quality and cost, and which differences are more than luck."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch.utils.flop_counter import FlopCounterMode

from perceived import checkpoint, metrics, scoring
from perceived.classifier import Classifier
from perceived.metrics import Booleans, Floats, Integers
from perceived.significance import Counts, holm, mcnemar, sign_flip_p

LATENCY_RUNS = 30
SIGN_FLIP, SIGN_FLIP_PICTURES, MCNEMAR = "sign flips by person", "sign flips by picture", "McNemar's exact test"
"""What tests of pairs are called in results."""
_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Run:
    """A trained network: where it is, its answers on the test pictures, and what its training cost."""

    folder: Path
    answers: pl.DataFrame
    result: Mapping[str, Any]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether each picture is answered rightly; one that cannot be read is not."""
        right: npt.NDArray[np.bool_] = (
            (self.answers["perceived_gender"] == self.answers["label"]).fill_null(False).to_numpy()
        )
        return right


def best(runs: Sequence[Run]) -> Run:
    """Return the run with the highest validation accuracy; the first of equals."""
    return max(runs, key=lambda run: float(run.result["val_accuracy"]))


def entry(name: str, runs: Sequence[Run], product: Path) -> dict[str, Any]:
    """Return a network's line on the leaderboard.

    ``accuracy`` is the mean over seeds; its interval resamples the test pictures (people, where known) and the seeds,
    ``seeds`` lists each seed's own. Latency is of one picture on one thread, through the ONNX file.
    """
    chosen = best(runs)
    network = checkpoint.TrainedModel.load(chosen.folder)
    return {
        "backbone": name,
        "accuracy": accuracy(runs).to_dict(),
        "seeds": [float(run.right.mean()) for run in runs],
        "calibration_error": float(np.mean([calibration_error(run) for run in runs])),
        "parameters": sum(parameter.numel() for parameter in network.network.parameters()),
        "flops": flops(network),
        "latency_ms": latency(product),
        "megabytes": product.stat().st_size / 1e6,
        "minutes": float(np.mean([run.result["seconds"] for run in runs])) / 60,
        "image_steps": [int(run.result["image_steps"]) for run in runs],
        "input": [network.spec.preprocessing.height, network.spec.preprocessing.width],
        "model": product.name,
        "right": np.array([run.right for run in runs]),
    }


def accuracy(runs: Sequence[Run]) -> metrics.Estimate:
    """Return the accuracy averaged over seeds, with a bootstrap interval over pictures, or people, and seeds.

    Seeds are redrawn beside the pictures, their differences from the mean widened by what a mean of so few takes off.
    """
    right, seeds = np.array([run.right for run in runs], np.float64), len(runs)
    generator = np.random.default_rng(0)

    def resampled(weights: Floats) -> dict[str, Floats]:
        each = weights @ right.T / weights.sum(axis=-1, keepdims=True)
        mean = each.mean(axis=1)
        if seeds > 1:
            drawn = np.take_along_axis(each, generator.integers(0, seeds, each.shape), axis=1).mean(axis=1)
            mean = mean + (drawn - mean) * math.sqrt(seeds / (seeds - 1))
        return {"accuracy": mean}

    found = metrics.bootstrap(resampled, metrics.people(runs[0].answers["identity"]))["accuracy"]
    return dataclasses.replace(found, value=float(right.mean()))


def calibration_error(run: Run) -> float:
    """Return the calibration error of a run's answers, see :func:`perceived.metrics.calibration_error`.

    Raises:
        SplitError: no picture could be read.
    """
    readable = scoring.readable(run.answers)
    right = (readable["perceived_gender"] == readable["label"]).to_numpy()
    return float(metrics.calibration_error(readable["confidence"].to_numpy().astype(np.float64), right))


def flops(model: checkpoint.TrainedModel) -> int:
    """Return the floating-point operations of one answer; a multiplication and an addition are two."""
    size = model.spec.preprocessing
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.network(torch.zeros(1, 3, size.height, size.width))
    return int(counter.get_total_flops())


def latency(path: Path) -> float:
    """Return the median milliseconds in which one CPU thread answers for one framed picture."""
    classifier = Classifier(path, threads=1)
    size = classifier.spec.preprocessing
    pixels = np.zeros((1, size.height, size.width, 3), np.uint8)
    seconds = []
    for _ in range(_WARM_UP + LATENCY_RUNS):
        started = time.perf_counter()
        classifier.probabilities(pixels)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[_WARM_UP:]) * 1000)


def differences(first: Booleans, second: Booleans) -> Counts:
    """Return how much oftener the seeds of one network than of another have each picture right, in whole numbers.

    What each seed has right is ``(seeds, n)``.
    """
    each: Counts = first.sum(axis=0) * len(second) - second.sum(axis=0) * len(first)
    return each


def difference_p(each: Counts, groups: Integers, kind: str) -> float:
    """Return the p-value that two networks are right equally often, given the :func:`differences` ``(n,)``.

    ``kind`` is :data:`SIGN_FLIP`, where people, whose codes are ``groups``, have several pictures: differences change
    sign by person, because errors repeat by person; :data:`SIGN_FLIP_PICTURES`; or, of one seed, :data:`MCNEMAR`.
    """
    if kind == MCNEMAR:
        return mcnemar(int((each > 0).sum()), int((each < 0).sum()))
    return sign_flip_p(np.bincount(groups, weights=each).astype(np.int64) if kind == SIGN_FLIP else each)


def by_person(groups: Integers) -> bool:
    """Return whether anybody has several pictures."""
    return bool(len(np.unique(groups)) < len(groups))


def rank(entries: Sequence[dict[str, Any]], groups: Integers) -> dict[str, Any]:
    """Return the entries by accuracy, those on the Pareto front marked, and a test of every pair.

    A test compares all seeds of two networks on the same pictures, of the people ``groups``; see
    :func:`difference_p`.
    """
    ordered = sorted(entries, key=lambda row: (-row["accuracy"]["value"], row["latency_ms"]))
    right = {row["backbone"]: row.pop("right") for row in ordered}
    front = pareto([(row["latency_ms"], row["accuracy"]["value"]) for row in ordered])
    for row, on_front in zip(ordered, front, strict=True):
        row["pareto"] = on_front
    names = [row["backbone"] for row in ordered]
    several = any(len(one) > 1 for one in right.values())
    kind = SIGN_FLIP if by_person(groups) else SIGN_FLIP_PICTURES if several else MCNEMAR
    tests: list[dict[str, Any]] = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            each = differences(right[first], right[second])
            tests.append(
                {
                    "first": first,
                    "second": second,
                    "only_first": int((each > 0).sum()),
                    "only_second": int((each < 0).sum()),
                    "p": difference_p(each, groups, kind),
                }
            )
    for test, corrected in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p_holm"] = corrected
    return {"leaderboard": ordered, "test": kind, "tests": tests}


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Return which ``(cost, quality)`` no other point beats: none is cheaper and as good, or as cheap and better."""
    return [
        not any((c <= cost and q > quality) or (c < cost and q >= quality) for c, q in points)
        for cost, quality in points
    ]
