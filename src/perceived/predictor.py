"""From pictures in any form to answers: decode, frame, classify.

For now a picture is taken as one face: the framing is the whole picture's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np

from perceived import images
from perceived.classifier import Classifier, check_threshold, find_model, whole
from perceived.errors import ConfigError, ImageError, InputError
from perceived.preprocess import Pixels, frame
from perceived.types import Picture

Source: TypeAlias = str | os.PathLike[str] | bytes | Pixels
"""A picture: a path, an encoded file's bytes, or RGB pixels of shape ``(h, w, 3)`` and type uint8."""


class Predictor:
    """A model that reads pictures; safe to call from several threads at once.

    ``model`` is the path of an ONNX file, or the name of a model that ships with the package.
    Answers below ``threshold`` (the model's own, unless given) are ``"uncertain"``; 0 always answers.
    ``threads`` is the number of CPU threads one call uses, ``batch_size`` the number of pictures
    that go through the network together.

    Raises:
        ModelFileError: the model cannot be opened.
        ConfigError: the threshold is no probability.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        threshold: float | None = None,
        threads: int | None = None,
        batch_size: int = 16,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"A batch of {batch_size} pictures is impossible.", expected="1 or more")
        self._classifier = Classifier(find_model(model), threads=threads)
        self.spec = self._classifier.spec
        self.threshold = check_threshold(self.spec.threshold if threshold is None else threshold)
        self.batch_size = batch_size

    @overload
    def predict(self, picture: Source) -> Picture: ...  # type: ignore[overload-overlap]  # str and bytes are sequences
    @overload
    def predict(self, picture: Sequence[Source]) -> list[Picture]: ...
    def predict(self, picture: Source | Sequence[Source]) -> Picture | list[Picture]:
        """Answer for one picture, or for a list of them in their order.

        Raises:
            ImageError: the one picture cannot be read. In a list, such a picture is a row whose
                ``error`` says why, and the others are answered.
        """
        if isinstance(picture, str | os.PathLike | bytes | np.ndarray):
            return self._answer([self._read(picture, _name(picture))])[0]
        return list(self.stream(picture))

    def stream(self, pictures: Iterable[Source], names: Iterable[str] = ()) -> Iterator[Picture]:
        """Answer for pictures in their order as they come, ``batch_size`` at a time; see :meth:`predict`.

        ``names`` are what the answers call the pictures; where it ends, a path is its own name.
        """
        waiting = zip(pictures, chain(names, repeat("")), strict=False)
        while batch := list(islice(waiting, self.batch_size)):
            yield from self._answer([self._read_or_say_why(picture, name or _name(picture)) for picture, name in batch])

    def _read(self, picture: Source, name: str) -> tuple[Picture, Pixels]:
        """Decode and frame at once, so that a batch holds small pictures whatever their originals' size."""
        pixels = _decode(picture, name)
        height, width = pixels.shape[:2]
        return Picture(source=name, width=width, height=height), frame(pixels, self.spec.preprocessing)

    def _read_or_say_why(self, picture: Source, name: str) -> tuple[Picture, Pixels | None]:
        try:
            return self._read(picture, name)
        except InputError as error:
            return Picture(source=name, error=str(error)), None

    def _answer(self, batch: Sequence[tuple[Picture, Pixels | None]]) -> list[Picture]:
        readable = [(picture, pixels) for picture, pixels in batch if pixels is not None]
        if not readable:
            return [picture for picture, _ in batch]
        faces = [whole(picture.width, picture.height) for picture, _ in readable]
        framed = np.stack([pixels for _, pixels in readable])
        answers = iter(self._classifier.predict(framed, faces, threshold=self.threshold))
        return [picture if pixels is None else replace(picture, faces=(next(answers),)) for picture, pixels in batch]


def _name(picture: Source) -> str:
    if isinstance(picture, bytes):
        return "<bytes>"
    if isinstance(picture, np.ndarray):
        return "<array>"
    return os.fspath(picture)


def _decode(picture: Source, name: str) -> Pixels:
    if isinstance(picture, bytes):
        return images.decode(picture, source=name)
    if not isinstance(picture, np.ndarray):
        return images.load(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ImageError(
            f"An array of shape {picture.shape} and type {picture.dtype} is not a picture.",
            expected="RGB pixels of shape (height, width, 3) and type uint8",
        )
    if min(picture.shape[:2]) < images.MIN_SIDE:
        raise ImageError(
            f"A picture of {picture.shape[1]}×{picture.shape[0]} pixels is too small to show a face.",
            expected=f"at least {images.MIN_SIDE}×{images.MIN_SIDE}",
        )
    return picture
