"""A model's answers to every picture of a split, as a table.

Any model that turns framed pixels into probabilities is scored by this one code: a run, an ONNX
file, a function. A picture that cannot be read, or in which a model that aligns faces has none to
align, keeps its row, with the reason.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from perceived import images, prefetch, progress, storage
from perceived.data.split import SPLITS
from perceived.detector import YuNet, largest_face
from perceived.errors import ConfigError, ImageError, ModelFileError, SplitError
from perceived.models import find_trained
from perceived.preprocess import Pixels, Preprocessing, frame
from perceived.progress import Tick
from perceived.spec import LABELS, ModelSpec
from perceived.wording import counted
from perceived.workspace import Workspace

_AHEAD = 2
"""Batches read and framed while the model answers for one."""
_MAX_READERS = 8

_ANSWERS = ("id", "error", "perceived_gender", "confidence", *(f"probability_{label}" for label in LABELS))
"""Columns of :func:`score` that are not of the split."""

Probabilities = npt.NDArray[np.float32]
Predict = Callable[[Pixels], Probabilities]


class Model(Protocol):
    """What is scored: framed RGB pixels ``(n, h, w, 3)`` uint8 in, ``(n, labels)`` probabilities out."""

    @property
    def spec(self) -> ModelSpec: ...

    def probabilities(self, pixels: Pixels) -> Probabilities: ...


def load_model(path: Path) -> Model:
    """Open a run's folder, an ONNX file, or a model that ships with the package, by its name.

    Raises:
        ModelFileError: it is none of these, or it is damaged.
    """
    found = find_trained(path)
    if found.is_dir():
        import torch

        from perceived.checkpoint import TrainedModel

        trained = TrainedModel.load(found)
        trained.network.to("cuda" if torch.cuda.is_available() else "cpu")
        return trained
    from perceived.classifier import Classifier

    return Classifier(found)


def weights_file(model: Path) -> Path:
    """Return the file that holds the weights of what :func:`load_model` opens."""
    found = find_trained(model)
    if not found.is_dir():
        return found
    from perceived.checkpoint import MODEL_FILE, Run

    return Run(found).best / MODEL_FILE


def weights_sha256(model: Path) -> str:
    """Return the hash of the file that holds the weights."""
    return storage.sha256_file(weights_file(model))


def read_split(workspace: Workspace, on: str) -> pl.DataFrame:
    """Return the rows of one split: ``train``, ``val`` or ``test``."""
    if on not in SPLITS:
        raise ConfigError(f"There is no split {on!r}.", expected=f"one of {', '.join(SPLITS)}")
    rows = workspace.read_split().filter(split=on)
    if rows.is_empty():
        raise SplitError(f"The {on} split has no pictures.", mend=f"perceived split {workspace.root} --{on} 5000")
    return rows


def score(
    rows: pl.DataFrame, predict: Predict, spec: ModelSpec, *, batch_size: int = 64, tick: Tick | None = None
) -> pl.DataFrame:
    """Return ``rows`` with the columns ``perceived_gender``, ``confidence``, ``probability_{label}`` and ``error``.

    A picture that cannot be read has an ``error``, and null in the others. Threads read and frame
    the next batches while ``predict`` answers for one.

    Raises:
        ModelFileError: the answers are not probabilities of the split's labels.
    """
    if sorted(spec.labels) != sorted(LABELS):
        raise ModelFileError(
            f"The model {spec.name} distinguishes {', '.join(spec.labels)}.", expected=f"the labels {', '.join(LABELS)}"
        )
    probabilities = np.full((rows.height, len(spec.labels)), np.nan, np.float32)
    errors: list[str | None] = []
    for batch in _read_ahead(rows["path"].to_list(), spec.preprocessing, batch_size):
        places = [place for place, picture in enumerate(batch, len(errors)) if not isinstance(picture, ImageError)]
        pixels = [picture for picture in batch if not isinstance(picture, ImageError)]
        if pixels:
            probabilities[places] = _check_answers(predict(np.stack(pixels)), len(pixels), spec)
        errors += [picture.what if isinstance(picture, ImageError) else None for picture in batch]
        if tick is not None:
            tick(len(errors), rows.height)
    is_readable = pl.col("error").is_null()
    answers = {
        "perceived_gender": [spec.labels[i] for i in probabilities.argmax(axis=1)],
        "confidence": probabilities.max(axis=1),
        **{f"probability_{label}": probabilities[:, i] for i, label in enumerate(spec.labels)},
    }
    table = rows.with_columns(
        pl.Series("error", errors, dtype=pl.String), *(pl.Series(k, v) for k, v in answers.items())
    )
    return table.with_columns(pl.when(is_readable).then(pl.col(name)).alias(name) for name in answers)


def readable(scored: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of :func:`score` whose pictures could be read.

    Raises:
        SplitError: none could.
    """
    found = scored.filter(pl.col("error").is_null())
    if found.is_empty():
        why = f": {scored['error'][0]}" if scored.height else "."
        raise SplitError(f"Of {counted(scored.height, 'picture')}, none can be read{why}")
    return found


def kept(rows: pl.DataFrame, path: Path, model: Callable[[], Model], *, title: str) -> pl.DataFrame:
    """Return what :func:`score` makes of ``rows``, kept in the Parquet file ``path``, which is made where it is needed.

    Only answers are taken from the file. A picture that could not be read is tried again: its drive may
    be back. ``model`` is called where there is anything to answer.

    Raises:
        SplitError: none of the pictures can be read; nothing is kept then.
        ModelFileError: as :func:`score`.
    """
    known = _known(path)
    missing = rows if known is None else rows.join(known, on="id", how="anti")
    if known is not None and missing.is_empty():
        return _in_order(rows, known)
    opened = model()
    with progress.counter(title) as tick:
        scored = score(missing, opened.probabilities, opened.spec, tick=tick)
    parts = [scored] if known is None else [known, scored]
    table = _in_order(rows, pl.concat([part.select(_ANSWERS) for part in parts]))
    answered = readable(table).height
    if answered < rows.height:
        count = counted(rows.height - answered, "picture")
        progress.say(f"{title}: {count} cannot be read, and will be tried again the next time")
    storage.write_table(path, table)
    return table


def _known(path: Path) -> pl.DataFrame | None:
    """Return the answers that are kept in a file; none where there is no such file, or it is damaged."""
    try:
        return pl.read_parquet(path, columns=list(_ANSWERS), glob=False).filter(pl.col("error").is_null())
    except (FileNotFoundError, pl.exceptions.PolarsError):
        return None


def _in_order(rows: pl.DataFrame, scored: pl.DataFrame) -> pl.DataFrame:
    """Return ``rows`` with the answers to them."""
    return rows.join(scored.select(_ANSWERS), on="id", how="left", maintain_order="left")


def _read_ahead(
    paths: Sequence[str], preprocessing: Preprocessing, batch_size: int
) -> Iterator[list[Pixels | ImageError]]:
    """Yield framed pictures, or why they cannot be read, in batches; the next ones are already under way."""

    detector = YuNet() if preprocessing.alignment else None

    def read(path: str) -> Pixels | ImageError:
        try:
            image = images.load(path)
        except ImageError as error:
            return error
        face = largest_face(detector.detect(image)) if detector else None
        if detector and face is None:
            return ImageError(f"No face is found in {path}.")
        return frame(image, preprocessing, face)

    readers = min(_MAX_READERS, prefetch.processors())
    pictures = prefetch.ahead(read, paths, threads=readers, most=(1 + _AHEAD) * batch_size)
    while batch := list(itertools.islice(pictures, batch_size)):
        yield batch


def _check_answers(probabilities: Probabilities, count: int, spec: ModelSpec) -> Probabilities:
    if probabilities.shape != (count, len(spec.labels)) or not np.isfinite(probabilities).all():
        raise ModelFileError(
            f"The model {spec.name} answers {count} pictures with an array of {probabilities.shape}, "
            f"of which {np.isfinite(probabilities).sum()} values are numbers.",
            expected=f"{count} × {len(spec.labels)} probabilities",
            mend="train or export the model again",
        )
    return probabilities
