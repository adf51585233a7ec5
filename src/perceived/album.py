"""Drawings of answers on disk: annotated pictures, cut-out faces, and what the network looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt
from PIL import Image

from perceived import draw
from perceived.crop import cut
from perceived.preprocess import Pixels
from perceived.storage import atomic_path
from perceived.types import Picture, Prediction

QUALITY = 92
MARGIN = 0.3
"""Share of a face's box that a cut-out adds on every side."""
Explain = Callable[[Pixels, Prediction], tuple[Pixels, npt.NDArray[np.float32]]]


class Album:
    """Draws answered pictures into folders; ``explain`` is :meth:`perceived.Predictor.explain`.

    A picture ``a/b.png`` becomes ``a/b.jpg`` in the folder ``annotated``, its first face
    ``a/b-face1.png`` in ``crops`` and, with ``explain``, ``a/b-face1-activation.png`` in ``annotated``.
    """

    def __init__(self, annotated: Path | None, crops: Path | None, *, explain: Explain | None = None) -> None:
        self._annotated = annotated
        self._crops = crops
        self._explain = explain

    def add(self, relative: PurePath, picture: Picture, image: Pixels) -> None:
        """Draw one answered picture; ``image`` is what its boxes refer to, RGB ``(h, w, 3)``.

        Raises:
            StorageError: the disk refused it.
            ModelFileError: the model cannot explain itself.
        """
        if self._annotated is not None:
            _save(draw.annotate(image, picture.faces), (self._annotated / relative).with_suffix(".jpg"))
        for number, prediction in enumerate(picture.faces, 1):
            name = f"{relative.stem}-face{number}"
            if self._crops is not None:
                _save(cut(image, prediction.face.box, MARGIN), self._crops / relative.with_name(f"{name}.png"))
            if self._annotated is not None and self._explain is not None:
                seen = draw.overlay(*self._explain(image, prediction))
                _save(seen, self._annotated / relative.with_name(f"{name}-activation.png"))


def _save(pixels: Pixels, path: Path) -> None:
    with atomic_path(path) as partial:
        Image.fromarray(pixels).save(partial, quality=QUALITY)
