"""Drawings of answers on disk: annotated pictures, cut-out faces, and what the network looked at."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from perceived import draw
from perceived.crop import cut
from perceived.errors import StorageError
from perceived.preprocess import Pixels
from perceived.sources import real
from perceived.storage import atomic_path, storage_errors
from perceived.types import Picture, Prediction

QUALITY = 92
SIGNATURE = "drawn by perceived"
"""Comment in every drawing: what lacks it is somebody's own."""
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
        self.folders = tuple(real(folder) for folder in (annotated, crops) if folder is not None)
        """Where drawings go, as real paths."""

    def add(self, relative: PurePath, picture: Picture, image: Pixels) -> None:
        """Draw one answered picture; ``image`` is what its boxes refer to, RGB ``(h, w, 3)``.

        Raises:
            StorageError: the disk refused it, or somebody's own picture has the name of the drawing.
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
    """Write a drawing, over an earlier one only."""
    with storage_errors(path):
        in_the_way = path.is_file() and not is_drawing(path)
    if in_the_way:
        raise StorageError(
            f"{path} is in the way, and is no drawing of ours.", mend="draw into another folder, or move it away"
        )
    with atomic_path(path) as partial:
        signed = PngInfo()
        signed.add_text("Comment", SIGNATURE)
        form = "JPEG" if path.suffix == ".jpg" else "PNG"  # Pillow sees no ending in a name of dots
        encoded = io.BytesIO()  # into a file of a full disk Pillow writes half a JPEG without a word
        Image.fromarray(pixels).save(encoded, form, quality=QUALITY, comment=SIGNATURE, pnginfo=signed)
        partial.write_bytes(encoded.getvalue())


def is_drawing(path: Path) -> bool:
    """Say whether a file is a drawing of ours."""
    try:
        with Image.open(path) as image:
            image.load()  # what a PNG says of itself may come after its pixels
            said = image.info.get("comment") or image.info.get("Comment")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return said in (SIGNATURE, SIGNATURE.encode())
