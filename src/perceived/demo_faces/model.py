"""Faces of nobody: the model that ships with the package, and how it is sampled.

The model is an active appearance model (Cootes et al., PAMI 2001): one space of principal
components for texture, one for shape, and per gender a Gaussian over the coordinates in both. It
holds means, components and covariances of thousands of FairFace pictures (CC BY 4.0), and no
coordinates of any one face; a sample is a random draw, never a reconstruction. That samples are
nobody is measured where the model is fitted (``runs/fit_demo_faces.py``): they lie no nearer to the
faces it was fitted on than to faces it never saw, and no nearer than two strangers lie to each
other. ``Model.card`` holds the figures.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from perceived.errors import ModelFileError

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

ASSET = Path(__file__).parents[1] / "weights" / "demo_faces.npz"
WIDTH, HEIGHT = 178, 218
WINDOW = (25, 66, 128, 128)
"""Where the model's square lies in a picture of CelebA's frame: x, y, width, height."""
GRID = 32
TEXTURES, SHAPES = 200, 30
STEP = 1 / 64
"""Coordinates are rounded to this, which keeps the sum over components exact in float32: the same
picture on any machine, however many threads multiply."""


@dataclass(frozen=True, slots=True)
class Model:
    """Components as whole numbers in float32, times ``texture_step`` and ``shape_step``.

    ``means[g]`` and ``factors[g]`` are the Gaussian of gender ``g`` (0 female, 1 male): its mean and
    the Cholesky factor of its covariance.
    """

    mask: Mask
    mean: Array
    textures: Array
    texture_step: float
    shape_mean: Array
    shapes: Array
    shape_step: float
    means: npt.NDArray[np.float64]
    factors: npt.NDArray[np.float64]
    card: Mapping[str, Any]

    @property
    def size(self) -> int:
        """How many numbers make a face."""
        return int(self.means.shape[1])


@functools.cache
def load(path: Path = ASSET) -> Model:
    """Read the model.

    Raises:
        ModelFileError: the file is missing, damaged or not this model.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return Model(
                mask=importance_map() > 0,
                mean=file["mean"].astype(np.float32),
                textures=file["textures"].astype(np.float32),
                texture_step=float(file["texture_step"]),
                shape_mean=file["shape_mean"].astype(np.float32),
                shapes=file["shapes"].astype(np.float32),
                shape_step=float(file["shape_step"]),
                means=file["means"].astype(np.float64),
                factors=file["factors"].astype(np.float64),
                card=json.loads(str(file["card"])),
            )
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ModelFileError(
            f"The demo set's model {path} is not readable: {error}.", mend="install perceived again"
        ) from error


def sample(model: Model, male: npt.NDArray[np.bool_], noise: npt.NDArray[np.float64], *, breadth: float) -> Array:
    """Turn standard normal ``noise``, ``(n, TEXTURES + SHAPES)``, into coordinates of faces.

    ``breadth`` scales the distance from the gender's mean face: below one, samples are more typical.
    """
    q = np.empty_like(noise)
    for gender in (0, 1):
        own = male == bool(gender)
        q[own] = model.means[gender] + breadth * noise[own] @ model.factors[gender].T
    return (np.round(np.clip(q, -4, 4) / STEP) * STEP).astype(np.float32)


def render_texture(model: Model, coordinates: Array) -> npt.NDArray[np.uint8]:
    """Return the RGB squares ``(n, 128, 128, 3)`` at coordinates; outside the mask they are grey."""
    whole = (coordinates[:, :TEXTURES] / np.float32(STEP)) @ model.textures
    rows = model.mean + whole * np.float32(STEP * model.texture_step)
    size, inside = WINDOW[2], int(model.mask.sum())
    squares = np.full((len(rows), size, size, 3), 128, np.uint8)
    for row, square in zip(rows, squares, strict=True):
        ycc = np.full((size, size, 3), 128, np.float32)
        chroma = np.full((size // 2, size // 2, 2), 128, np.float32)
        ycc[..., 0][model.mask] = row[:inside]
        chroma[half(model.mask)] = row[inside:].reshape(-1, 2)
        ycc[..., 1:] = cv2.resize(chroma, (size, size), interpolation=cv2.INTER_LINEAR)
        square[:] = cv2.cvtColor(np.clip(np.rint(ycc), 0, 255).astype(np.uint8), cv2.COLOR_YCrCb2RGB)
    return squares


def render_shape(model: Model, coordinates: Array) -> Array:
    """Return per face the field ``(n, 32, 32, 2)``: how many pixels from its own place a point is taken."""
    whole = (coordinates[:, TEXTURES:] / np.float32(STEP)) @ model.shapes
    fields = model.shape_mean + whole * np.float32(STEP * model.shape_step)
    return np.asarray(fields, np.float32).reshape(-1, GRID, GRID, 2)


def enlarge(field: Array) -> Array:
    """Return a field given on the grid at every pixel of the square."""
    return np.asarray(cv2.resize(field, WINDOW[2:], interpolation=cv2.INTER_CUBIC), np.float32)


def importance_map() -> Array:
    """Return how much each pixel of the square counts in the fit: 0 outside the face, most at eyes and mouth."""
    y, x = np.mgrid[: WINDOW[3], : WINDOW[2]].astype(np.float32)
    aside = np.abs(x - 63.5)
    temples = np.clip((y - 10) / 34, 0, 1) * 11 + 34
    jaw = 45 * np.sqrt(np.clip(1 - (np.maximum(y - 58, 0) / 61) ** 2.6, 0, 1))
    inside = np.minimum(temples, jaw) - aside
    reach = np.clip(np.minimum(inside / 10, (y - 6) / 12), 0, 1)
    eyes = np.exp(-(((aside - 20) / 12) ** 2) - ((y - 45) / 8) ** 2)
    mouth = np.exp(-((aside / 20) ** 2) - ((y - 87) / 10) ** 2)
    return np.where((inside > 0) & (y >= 8), 0.3 + 0.7 * reach + 0.9 * eyes + 0.4 * mouth, 0).astype(np.float32)


def half(mask: Mask) -> Mask:
    """Return the mask at half the resolution: where any of four pixels is inside."""
    return np.asarray(mask.reshape(mask.shape[0] // 2, 2, mask.shape[1] // 2, 2).any((1, 3)), np.bool_)


def importance() -> Array:
    """Return the importance of each number in a texture row: luminance in the mask, then Cr and Cb at half size."""
    whole = importance_map()
    small = cv2.resize(whole, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    chroma = np.maximum(small[half(whole > 0)], 0.3)
    return np.concatenate([whole[whole > 0], np.repeat(chroma * 1.2, 2)])
