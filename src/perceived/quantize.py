"""A model file whose network computes in int8: the same answers, but for rounding, in a half to a quarter of the time.

What ONNX Runtime's own tools make of a network is judged here: on labelled pictures, beside the file it
was made from, and refused where it costs accuracy. Weights take 7 bits of the 8, so that sums of two
products fit 16 bits, which is how processors without instructions for int8 compute them; without
that, answers would differ from processor to processor.
"""

from __future__ import annotations

import dataclasses
import io
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from perceived import compact, progress, redescribe, storage
from perceived.classifier import INPUT, Classifier, Probabilities
from perceived.data import cache, split as splits
from perceived.errors import ConfigError, ModelFileError
from perceived.models import beside, find_model, model_file
from perceived.preprocess import Pixels
from perceived.scoring import read_split, readable, score
from perceived.workspace import Workspace

PICTURES = 512
"""Training pictures that show how large the values inside the network become."""
MAX_LOSS = 0.001
"""Accuracy that may be lost: a tenth of a point."""

_OPERATIONS = ["Conv", "Relu", "Clip", "Add", "Concat", "MaxPool", "AveragePool"]
"""What computes in int8; the head, which costs next to nothing, stays in float32."""
_RANGE = 99.99
"""Percent of the values in a place that its levels span; what lies beyond is cut off."""
_STRIDE = 16
"""Pictures whose values are in memory at once."""
_ROUNDS = 30
"""How often each file answers for one picture, by turns, to compare their time."""


def quantize(
    model: str | Path,
    work: Path,
    *,
    out: Path | None = None,
    on: str = "val",
    pictures: int = PICTURES,
    max_loss: float = MAX_LOSS,
    seed: int = 0,
) -> dict[str, Any]:
    """Write ``model``, an ONNX file or a name, as one that computes in int8, and return what was found of it.

    Up to ``pictures`` of the training split, drawn by ``seed``, set the scales; the split ``on`` compares
    accuracy before and after. ``out`` is by default ``NAME-int8.onnx`` beside the model, or in the working
    folder for a model that ships with the package. Calibration is kept: ``perceived calibrate`` refits it.

    Raises:
        ConfigError: a setting makes no sense, or ``out`` is no name for a new model.
        ModelFileError: the model cannot be opened, computes in int8 already, or would lose more than
            ``max_loss`` of its accuracy (a share, not points); no file is left.
        DataError: a training picture cannot be read.
        SplitError: none of the pictures to compare on can be read.
    """
    _check(pictures, max_loss)
    path, workspace = find_model(model), Workspace(Path(work))
    target = model_file(beside(model, "int8") if out is None else out, made_of=path)
    storage.check_folder(target.parent)
    before = Classifier(path)
    if compact.computes_in_int8(onnx.load(path).graph):
        raise ModelFileError(
            f"{path} computes in int8 already.", mend="give the file that 'perceived export' wrote of the run"
        )
    training, judged = read_split(workspace, "train"), read_split(workspace, on)
    shown = training.sample(min(pictures, training.height), seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        with progress.counter("decoding training pictures") as tick:
            scales = cache.pixels(shown, before.spec.preprocessing, workspace.cache, progress=tick)
        rounded = _rounded(before, scales, Path(folder))
        count, found = _compare(before, Classifier(rounded), judged)
        lost = round((found["accuracy"]["before"] - found["accuracy"]["after"]) * count)
        if lost > max_loss * count + 1e-9:  # counted in pictures: shares differ by what rounds off
            raise ModelFileError(
                f"In int8, {path.name} is right about {found['accuracy']['after']:.2%} of the {on} pictures, "
                f"and before about {found['accuracy']['before']:.2%}.",
                expected=f"a loss of at most {max_loss:.2%}",
                mend="try more --pictures, allow a larger --max-loss, or keep the file as it is",
            )
        found = {
            "from_sha256": storage.sha256_file(path),
            "onnxruntime": onnxruntime.__version__,
            "scaled_by": {"split": "train", "pictures": shown.height, "seed": seed},
            "compared_on": {
                "split": on,
                "pictures": count,
                "unreadable": judged.height - count,
                "split_sha256": splits.fingerprint(workspace.read_split()),
            },
            **found,
        }
        if max_loss * count < 1:
            found["note"] = f"A loss of {max_loss:.2%} is less than one of these {count:,} pictures: compare on more."
        described = dataclasses.replace(before.spec, provenance={**before.spec.provenance, "int8": found})
        redescribe.write(rounded, described, target)
    return {**found, "file": str(target)}


def _check(pictures: int, max_loss: float) -> None:
    if pictures < 1:
        raise ConfigError(f"{pictures} pictures show nothing of a network.", expected="1 or more, such as 512")
    if not 0 <= max_loss < 1:
        raise ConfigError(f"A loss of accuracy of {max_loss} makes no sense.", expected="a share, such as 0.001")


class _Pictures(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Framed pictures, one at a time, in the manner of ONNX Runtime's tools."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels
        self._left: Iterator[Pixels] = iter(pixels)

    def __len__(self) -> int:
        return len(self._pixels)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = iter(self._pixels[start_index:end_index])

    def get_next(self) -> dict[str, Pixels] | None:
        picture = next(self._left, None)
        return None if picture is None else {INPUT: picture[None]}


def _rounded(model: Classifier, pixels: Pixels, folder: Path) -> Path:
    """Write the model as one that computes in int8 into ``folder``, and return its file."""
    plain, bare, out = (folder / name for name in ("plain.onnx", "bare.onnx", "int8.onnx"))
    with redirect_stdout(io.StringIO()):  # the tools print as they go
        quant_pre_process(model.path, plain, skip_symbolic_shape=True)
        quantization.quantize_static(
            plain,
            bare,
            _Pictures(pixels),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_OPERATIONS,
            nodes_to_exclude=_last(plain),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.Percentile,
            extra_options={
                "CalibPercentile": _RANGE,
                "CalibStridedMinMax": next(n for n in range(_STRIDE, 0, -1) if len(pixels) % n == 0),
                "QDQKeepRemovableActivations": True,  # so that the float32 network can be had back
            },
        )
    redescribe.write(bare, model.spec, out)
    return out


def _last(path: Path) -> list[str]:
    """Return the names of the nodes whose values are the answers: 256 levels would be too few for them."""
    graph = onnx.load(path).graph
    outputs = {output.name for output in graph.output}
    return [node.name for node in graph.node if outputs & set(node.output)]


def _compare(before: Classifier, after: Classifier, rows: pl.DataFrame) -> tuple[int, dict[str, Any]]:
    """Return of how many pictures two files were asked, and how their answers compare.

    These are accuracies, how many answers changed, how much probabilities did, and the share of the time it takes.
    """
    answers: list[tuple[Probabilities, Probabilities]] = []

    def ask(pixels: Pixels) -> Probabilities:
        answers.append((before.probabilities(pixels), after.probabilities(pixels)))
        return answers[-1][0]

    with progress.counter(f"scoring {before.spec.name}") as tick:
        scored = readable(score(rows, ask, before.spec, tick=tick))
    old, new = (np.concatenate(part) for part in zip(*answers, strict=True))
    truth = splits.label_indices(scored["label"], before.spec.labels)
    right = [one.argmax(axis=1) == truth for one in (old, new)]
    return scored.height, {
        "accuracy": {"before": float(right[0].mean()), "after": float(right[1].mean())},
        "changed_answers": int((old.argmax(axis=1) != new.argmax(axis=1)).sum()),
        "mean_difference": float(np.abs(old - new).mean()),
        "largest_difference": float(np.abs(old - new).max()),
        "time": _time(before, after),
    }


def _time(before: Classifier, after: Classifier) -> float:
    """Return the time of one answer on one thread, as a share of what it was: medians, measured by turns."""
    models = [Classifier(one.path, threads=1) for one in (before, after)]
    picture = np.zeros((1, before.spec.preprocessing.height, before.spec.preprocessing.width, 3), np.uint8)
    seconds = np.empty((_ROUNDS, len(models)))
    for row in seconds:
        for i, model in enumerate(models):
            start = time.perf_counter()
            model.first_look(picture)
            row[i] = time.perf_counter() - start
    old, new = np.median(seconds, axis=0)
    return float(new / old)
