"""The network YuNet: its weights, checked by hash, and what its outputs mean.

YuNet (Wu, Peng and Yu, "YuNet: a tiny millisecond-level face detector", Machine Intelligence
Research 20, 2023) sees a picture at strides of 8, 16 and 32 pixels and says for each cell whether a
face is centred there, its box and five landmarks. The shipped file is OpenCV Zoo's, unchanged; see
``weights/THIRD_PARTY.md``. It runs in ONNX Runtime, which is several times as quick as OpenCV's own
runner and, unlike ``cv2.FaceDetectorYN``, may be called from several threads at once.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from perceived import sessions
from perceived.errors import WeightsError
from perceived.preprocess import Pixels

Floats = npt.NDArray[np.float32]

WEIGHTS = Path(__file__).parent / "weights" / "face_detection_yunet_2023mar.onnx"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
STRIDES = (8, 16, 32)
HEADS = ("cls", "obj", "bbox", "kps")
GRAIN = 32
"""The network's input is a multiple of this many pixels wide and high."""
LARGEST = 5.0
"""Logarithm of the largest box in strides: at 32 pixels larger than any input; keeps damaged weights finite."""

_FIXED_SIZE = b"\x0a\x03\x08\x80\x05" * 2
_ANY_SIZE = b"\x0a\x03\x12\x01h\x0a\x03\x12\x01w"
"""ONNX's encoding of the input's ``(640, 640)`` and of ``("h", "w")``, equally long."""


class Network:
    """YuNet, ready to run on one thread; stateless, so that threads may share it.

    ``weights`` is a file of the same network (another training, or quantised); ours is checked by its hash.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """

    def __init__(self, weights: Path | None = None) -> None:
        path = WEIGHTS if weights is None else Path(weights)
        data = _read(path)
        if weights is None:
            _check_hash(data, path)
        self._weights = weights and path.resolve()
        self._session = _open(data, path)
        self._input = self._session.get_inputs()[0].name

    def __reduce__(self) -> tuple[type[Network], tuple[Path | None]]:
        return Network, (self._weights,)

    def find(self, tile: Pixels, threshold: float) -> Floats:
        """Return the faces in one picture of at most a few hundred pixels, not yet freed of duplicates.

        ``tile`` is RGB uint8 ``(h, w, 3)``. A row of the answer is a face: box ``x0, y0, x1, y1``,
        five landmarks ``x, y`` and the score, which is at least ``threshold``; in pixels of the tile.
        """
        blob = _blob(tile)
        outputs = dict(zip(_names(), sessions.run(self._session, _names(), {self._input: blob}), strict=True))
        rows = blob.shape[2:]
        return np.concatenate([_decode(outputs, stride, rows[1] // stride, threshold) for stride in STRIDES])


@functools.cache
def _names() -> list[str]:
    return [f"{head}_{stride}" for head in HEADS for stride in STRIDES]


def _blob(tile: Pixels) -> Floats:
    """Return the network's input: BGR ``(1, 3, H, W)``, black at the right and bottom up to whole grains."""
    height, width = tile.shape[:2]
    blob = np.zeros((1, 3, -(-height // GRAIN) * GRAIN, -(-width // GRAIN) * GRAIN), np.float32)
    for plane, channel in zip(blob[0], cv2.split(tile)[::-1], strict=True):  # quicker than one transposed copy
        plane[:height, :width] = channel
    return blob


def _decode(outputs: dict[str, Floats], stride: int, columns: int, threshold: float) -> Floats:
    """Turn one stride's outputs into faces: offsets from the cell in units of the stride, sizes as logarithms."""
    cls, obj, bbox, kps = (outputs[f"{head}_{stride}"][0] for head in HEADS)
    score = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
    cells = np.flatnonzero(score >= threshold)
    corner = np.stack([cells % columns, cells // columns], 1).astype(np.float32)
    centre = (corner + bbox[cells, :2]) * stride
    half = np.exp(np.minimum(bbox[cells, 2:], LARGEST)) * (stride / 2)
    points = (np.tile(corner, 5) + kps[cells]) * stride
    return np.concatenate([centre - half, centre + half, points, score[cells, None]], 1, dtype=np.float32)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"The face detector's weights cannot be read: {path}: {error.strerror or error}.",
            expected="an ONNX file of YuNet",
        ) from error


def _check_hash(data: bytes, path: Path) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise WeightsError(
            f"{path} is not the face detector that ships with this package: its SHA-256 is {found}.",
            expected=SHA256,
            mend="install the package again, or pass the file as weights=",
        )


def _open(data: bytes, path: Path) -> onnxruntime.InferenceSession:
    """Open a YuNet for pictures of any size, whatever size its file declares: it is fully convolutional."""
    any_size = data.replace(_FIXED_SIZE, _ANY_SIZE, 1)
    try:
        session = sessions.open_session(any_size, threads=1, providers=["CPUExecutionProvider"], memory_patterns=False)
    except (*sessions.REFUSED, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} is no readable ONNX file: {error}.", expected="an ONNX file of YuNet") from error
    shape = session.get_inputs()[0].shape
    if not set(_names()) <= {output.name for output in session.get_outputs()} or len(shape) != 4:
        raise WeightsError(f"{path} is not a YuNet.", expected=f"the outputs {', '.join(_names())}")
    if isinstance(shape[2], int):
        raise WeightsError(f"{path} takes pictures of {shape[3]}×{shape[2]} pixels only.", expected="any size")
    return session
