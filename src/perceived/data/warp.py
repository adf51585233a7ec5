"""Random variations, done to batches of pictures: on the CPU by OpenCV, elsewhere by torch."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from perceived.data.augment import Floats, Variation
from perceived.preprocess import Pixels


def apply(pixels: Pixels, variation: Variation, size: tuple[int, int], device: torch.device) -> Tensor:
    """Warp and relight ``(n, h, w, 3)`` uint8 pictures into ``(n, 3, *size)`` float32 in 0-255 on ``device``.

    A rotation turns the picture as it is seen: the matrices are corrected for its aspect ratio. On
    the CPU the warp is OpenCV's, several times faster there than ``grid_sample``; elsewhere it is one
    batched ``grid_sample``. Both sample bilinearly and mirror the picture at its border.
    """
    matrices = _keep_aspect(variation.matrices, pixels.shape[1] / pixels.shape[2])
    warp = _warp_on_cpu if device.type == "cpu" else _warp_on_device
    warped = warp(pixels, matrices, size, device)
    gain = torch.from_numpy(variation.gain).to(device)[:, :, None, None]
    offset = torch.from_numpy(variation.offset).to(device)[:, :, None, None]
    return (warped * gain + offset).clamp_(0, 255)


def _keep_aspect(matrices: Floats, height_to_width: float) -> Floats:
    corrected = matrices.copy()
    corrected[:, 0, 1] *= height_to_width
    corrected[:, 1, 0] /= height_to_width
    return corrected


def _warp_on_cpu(pixels: Pixels, matrices: Floats, size: tuple[int, int], device: torch.device) -> Tensor:
    _, height, width, _ = pixels.shape
    warped = np.empty((len(pixels), *size, 3), np.uint8)
    to_unit, from_unit = _to_unit(size[1], size[0]), np.linalg.inv(_to_unit(width, height))
    shrink = max(height / size[0], width / size[1]) > 1
    for row, matrix in enumerate(matrices):
        full = from_unit @ np.vstack([matrix, [0, 0, 1]]) @ to_unit
        source = pixels[row]
        if shrink:
            source = cv2.resize(source, (size[1], size[0]), interpolation=cv2.INTER_AREA)
            full = np.linalg.inv(to_unit) @ np.vstack([matrix, [0, 0, 1]]) @ to_unit
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(source, full[:2], (size[1], size[0]), warped[row], flags, cv2.BORDER_REFLECT)
    return torch.from_numpy(warped).permute(0, 3, 1, 2).float()


def _to_unit(width: int, height: int) -> npt.NDArray[np.float64]:
    """Return the matrix from pixel indices to coordinates in which the picture spans -1 to 1."""
    return np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])


def _warp_on_device(pixels: Pixels, matrices: Floats, size: tuple[int, int], device: torch.device) -> Tensor:
    batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float()
    if batch.shape[2] > size[0] or batch.shape[3] > size[1]:
        batch = functional.interpolate(batch, size, mode="area")
    theta = torch.from_numpy(matrices).to(device)
    grid = functional.affine_grid(theta, [len(batch), 3, *size], align_corners=False)
    return functional.grid_sample(batch, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
