"""One model file, run by ONNX Runtime: framed pixels in, calibrated probabilities out.

Everything that belongs to a model (labels, preprocessing, calibration, threshold) is read from the
file itself, so any file that ``perceived export`` wrote can take the place of any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from perceived.errors import ConfigError, InputError, ModelFileError
from perceived.preprocess import Pixels
from perceived.selection import check_threshold
from perceived.spec import METADATA_KEY, UNCERTAIN, ModelSpec
from perceived.types import Box, Face, Prediction

Probabilities = npt.NDArray[np.float32]
Real = TypeVar("Real", bound=np.floating[Any])

INPUT = "pixels"
"""Name of a model's input: uint8 RGB, ``(n, height, width, 3)``."""
OUTPUT = "logits"
"""Name of a model's output: float32, ``(n, labels)``, before calibration."""

ACTIVATION = "activation"
"""Name of a second output, which some models have: float32, ``(n, labels, h, w)``, whose mean over
``(h, w)`` is, up to a constant, the logits: what each part of the picture adds to each answer."""

CPU = "CPUExecutionProvider"
_EXPORT_AGAIN = "export the model again with 'perceived export RUN MODEL.onnx'"


class Classifier:
    """A model file and the session that runs it; safe to call from several threads at once.

    ``threads`` is the number of CPU threads one call uses; ``None`` leaves it to ONNX Runtime, which
    takes one per physical core. ``providers`` are what ONNX Runtime runs it on, as
    :func:`perceived.devices.providers` names them; without it, the CPU.

    Raises:
        ModelFileError: the file is missing, damaged, not ONNX, not one of ours, or too new.
        ConfigError: the first of the providers cannot be started here.
    """

    spec: ModelSpec
    explains: bool
    """Whether the model has activation maps."""

    def __init__(self, path: str | Path, *, threads: int | None = None, providers: Sequence[str] = (CPU,)) -> None:
        if threads is not None and threads < 1:
            raise ConfigError(f"{threads} threads cannot run a model.", expected="1 or more")
        self.path = Path(path)
        try:
            self._session = _open(self.path, threads, providers)
            self.spec = _read_spec(self._session, self.path)
            _check_signature(self._session, self.spec, self.path)
            self._shapes = {output.name: output.shape for output in self._session.get_outputs()}
        except UnicodeDecodeError as error:
            raise _damaged(self.path) from error
        self.explains = ACTIVATION in self._shapes

    def logits(self, pixels: Pixels) -> Probabilities:
        """Return the network's raw outputs, ``(n, labels)``, for framed pixels (see :meth:`probabilities`).

        Where they are close, they are the mean over a picture and its mirror image; see :func:`look`.
        """
        return look(self.first_look, np.asarray(pixels), self.spec.mirror_below)

    def first_look(self, pixels: Pixels) -> Probabilities:
        """Return what :meth:`logits` does, of the pictures as they are alone."""
        return self._run(OUTPUT, pixels)

    def activations(self, pixels: Pixels) -> Probabilities:
        """Return what each part of each picture adds to each label's logit, ``(n, labels, h, w)``.

        Raises:
            ModelFileError: the model has no such output; see :attr:`explains`.
        """
        if not self.explains:
            raise ModelFileError(
                f"The model {self.spec.name} cannot show what its answers rest on.",
                expected=f"a second output named {ACTIVATION!r}",
                mend="use a network that averages its last feature map, with a head of one layer",
            )
        return self._run(ACTIVATION, pixels)

    def _run(self, output: str, pixels: Pixels) -> Probabilities:
        expected = (self.spec.preprocessing.height, self.spec.preprocessing.width, 3)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != expected:
            raise InputError(
                f"The model {self.spec.name} cannot read an array of shape {pixels.shape} and type {pixels.dtype}.",
                expected=f"RGB pixels of shape (n, {expected[0]}, {expected[1]}, 3) and type uint8",
                mend="frame each picture with perceived.preprocess.frame(picture, classifier.spec.preprocessing)",
            )
        if len(pixels) == 0:
            return np.zeros((0, *self._shapes[output][1:]), np.float32)
        from perceived import sessions  # here, as for :func:`_open`: opening a model is what takes ONNX Runtime

        values: Probabilities = sessions.run(self._session, [output], {INPUT: pixels})[0]
        if not np.isfinite(values).all():
            raise ModelFileError(
                f"The model {self.path} answers with NaN or infinity.", mend="train and export it again"
            )
        return values

    def probabilities(self, pixels: Pixels) -> Probabilities:
        """Return calibrated probabilities, ``(n, labels)`` float32, in the order of ``spec.labels``.

        ``pixels`` are framed RGB pictures, ``(n, height, width, 3)`` uint8.

        Raises:
            InputError: the array has another shape or type.
        """
        return calibrated(self.logits(pixels), self.spec.temperature, self.spec.power)

    def predict(
        self, pixels: Pixels, faces: Sequence[Face] | None = None, *, threshold: float | None = None
    ) -> list[Prediction]:
        """Return one answer for each row of ``pixels``; see :meth:`probabilities` for their shape.

        ``faces`` says where each row lay in its picture (without it, the row is taken as the
        picture), and ``threshold`` replaces the model's own.
        """
        threshold = check_threshold(self.spec.threshold if threshold is None else threshold)
        rows = self.probabilities(pixels)
        if faces is None:
            faces = [whole(self.spec.preprocessing.width, self.spec.preprocessing.height)] * len(pixels)
        return [answer(face, row, self.spec.labels, threshold) for face, row in zip(faces, rows, strict=True)]


def whole(width: int, height: int) -> Face:
    """Return the face that fills a picture of ``width`` × ``height`` pixels."""
    return Face(box=Box(x0=0.0, y0=0.0, x1=float(width), y1=float(height)))


def answer(face: Face, probabilities: Probabilities, labels: Sequence[str], threshold: float) -> Prediction:
    """Turn one row of probabilities into an answer: the likelier label, or ``"uncertain"`` below the threshold."""
    probability = {label: float(value) for label, value in zip(labels, probabilities, strict=True)}
    return Prediction(
        face=face,
        perceived_gender=label_at(threshold, probability),
        confidence=max(probability.values()),
        probability=probability,
    )


def label_at(threshold: float, probability: Mapping[str, float]) -> str:
    """Return the likelier label, or ``"uncertain"`` where its probability lies below the threshold."""
    likelier = max(probability, key=probability.__getitem__)
    return likelier if probability[likelier] >= threshold else UNCERTAIN


def look(network: Callable[[Pixels], Probabilities], pixels: Pixels, mirror_below: float) -> Probabilities:
    """Return a network's logits, ``(n, labels)``, averaged with those of the mirror image where they leave doubt.

    They do where the two largest differ by less than ``mirror_below``. Other answers hardly ever change by a
    second look, so few pictures are looked at twice, for nearly all that looking twice at all of them gives:
    that is what test-time augmentation by a horizontal flip does.
    """
    logits = network(pixels)
    largest = np.sort(logits, axis=1)
    doubtful = np.flatnonzero(largest[:, -1] - largest[:, -2] < mirror_below)
    if doubtful.size:
        logits[doubtful] = (logits[doubtful] + network(np.ascontiguousarray(pixels[doubtful, :, ::-1]))) / 2
    return logits


def calibrated(logits: npt.NDArray[np.floating[Any]], temperature: float, power: float = 1.0) -> Probabilities:
    """Return the probabilities, ``(n, labels)`` float32, of a network's logits of the same shape.

    Logits, less the mean of their row, are raised to ``power`` with their sign kept, and divided by
    ``temperature`` before the softmax. With a power of 1 this is temperature scaling (Guo et al. 2017,
    arXiv:1706.04599); a larger one makes sure answers surer and doubtful ones more doubtful, which
    undoes what label smoothing and soft labels do. The likelier label stays the likelier.
    """
    if power != 1:
        logits = raised(logits, power)
    return softmax(logits / logits.dtype.type(temperature))


def raised(logits: npt.NDArray[Real], power: float) -> npt.NDArray[Real]:
    """Return logits, less the mean of their row, raised to ``power`` with their sign kept."""
    centred = logits - logits.mean(axis=-1, keepdims=True)
    bent: npt.NDArray[Real] = np.sign(centred) * np.abs(centred) ** logits.dtype.type(power)
    return bent


def softmax(logits: npt.NDArray[np.float32]) -> Probabilities:
    """Return the softmax over the last axis, without overflow for large logits."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: Probabilities = (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)
    return result


def _open(path: Path, threads: int | None, providers: Sequence[str]) -> Any:
    import onnxruntime as ort

    from perceived import sessions

    _check_readable(path)
    try:
        session = sessions.open_session(path, threads=threads or 0, providers=providers)
    except sessions.DAMAGED as error:
        raise _damaged(path) from error
    except sessions.REFUSED as error:
        raise ModelFileError(
            f"ONNX Runtime {ort.__version__} cannot run {path}: {str(error).strip()}",
            expected="an ONNX file that 'perceived export' wrote, of an opset this ONNX Runtime knows",
            mend=f"pip install --upgrade onnxruntime, or {_EXPORT_AGAIN}",
        ) from error
    if providers[0] not in session.get_providers():  # it goes on with the others
        raise ConfigError(
            f"ONNX Runtime {ort.__version__} cannot start {providers[0]} on this machine.",
            expected="the device, its driver and the libraries that this ONNX Runtime was built for",
            mend="install them, see onnxruntime.ai/docs/execution-providers, or choose another device",
        )
    return session


def _check_readable(path: Path) -> None:
    """Raise :class:`ModelFileError` in our words where ONNX Runtime would say little."""
    if path.is_dir():
        raise ModelFileError(
            f"{path} is a folder, not a model file.",
            mend=f"perceived export {path} MODEL.onnx, and give MODEL.onnx instead",
        )
    if path.exists() and not path.is_file():
        raise ModelFileError(f"{path} is a device or a pipe, not a model file.", mend="give the path of an ONNX file")
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError as error:
        raise ModelFileError(f"The model file {path} does not exist.", mend=_EXPORT_AGAIN) from error
    except OSError as error:
        raise ModelFileError(
            f"The model file {path} cannot be read: {error.strerror}.", mend="check its permissions"
        ) from error


def _read_spec(session: Any, path: Path) -> ModelSpec:
    metadata = session.get_modelmeta().custom_metadata_map
    if METADATA_KEY not in metadata:
        raise ModelFileError(
            f"{path} is an ONNX file, but not one of ours: its metadata has no entry {METADATA_KEY!r}.",
            expected="labels, preprocessing and calibration inside the file",
            mend=_EXPORT_AGAIN,
        )
    try:
        return ModelSpec.from_json(metadata[METADATA_KEY])
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error.what}", expected=error.expected, mend=error.mend) from error


def _damaged(path: Path) -> ModelFileError:
    return ModelFileError(
        f"{path} is not an ONNX file, or it is damaged ({path.stat().st_size:,} bytes).",
        expected="a whole ONNX file that 'perceived export' wrote",
        mend=f"copy the file again, or {_EXPORT_AGAIN}",
    )


def _check_signature(session: Any, spec: ModelSpec, path: Path) -> None:
    size = spec.preprocessing
    expected = (
        [(INPUT, "tensor(uint8)", [size.height, size.width, 3])],
        [(OUTPUT, "tensor(float)", [len(spec.labels)])],
    )
    found = tuple(
        [(node.name, node.type, list(node.shape[1:])) for node in nodes if node.name != ACTIVATION]
        for nodes in (session.get_inputs(), session.get_outputs())
    )
    if found != expected:
        raise ModelFileError(
            f"{path} has other inputs or outputs than its own specification says: {_describe(found)}.",
            expected=_describe(expected),
            mend=_EXPORT_AGAIN,
        )


def _describe(signature: Sequence[Sequence[tuple[str, str, list[Any]]]]) -> str:
    def one(name: str, kind: str, shape: list[Any]) -> str:
        return f"{name} {kind} ({', '.join(map(str, ['n', *shape]))})"

    return " -> ".join(", ".join(one(*node) for node in side) for side in signature)
