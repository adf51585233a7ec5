"""From pictures in any form to answers: decode, detect, frame, classify.

Threads decode, detect and frame a bounded number of pictures ahead, while others classify the faces
of several pictures together. Answers come in the order of the pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from PIL.Image import Image

from perceived import found
from perceived.classifier import Classifier, whole
from perceived.crop import bounds, cut
from perceived.detector import MOST_PIXELS, Detector, YuNet
from perceived.devices import providers
from perceived.errors import ConfigError, ImageError, ModelFileError
from perceived.given import Source, decode, decode_reduced, is_one, name_of, settled, several
from perceived.images import MAX_PIXELS, Decoded
from perceived.models import find_model
from perceived.prefetch import ahead, processors
from perceived.preprocess import Pixels, frame, frame_corners
from perceived.selection import Selection, check_threshold
from perceived.storage import sha256_file
from perceived.types import Face, Picture, Prediction

CPU_BATCH, BATCH = 4, 32
"""Faces that go through the network together: few on a CPU, whose caches hold few (16 took half as long again
as 4, face for face, measured with a MobileNetV2 of 160 pixels), many elsewhere."""
SURROUNDINGS = 0.5
"""Share of a face's box that is added on every side for a model without an alignment: its pictures were
portraits, and this is about how CelebA's aligned ones are cut."""
UNSCALED = (1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture on its way: its answer so far, the faces still to classify and their framed pixels.

    It may travel to another process, whose predictor has the same model.
    """

    picture: Picture
    faces: Sequence[Face] = ()
    framed: Sequence[Pixels] = ()
    image: Pixels | None = None


class Predictor:
    """Finds the faces in pictures and answers for each; safe to call from several threads at once.

    Sent to another process, it opens its model again there.

    ``model`` is the path of an ONNX file, or the name of a model that ships with the package.
    ``detector`` finds the faces, and is YuNet unless another is given; with ``detect=False`` every
    picture is taken as one face. Answers below ``threshold`` (the model's own, unless given) are
    ``"uncertain"``; 0 always answers. ``min_face``, ``max_faces`` and ``main_face`` say which faces
    are answered, see :class:`perceived.selection.Selection`. ``device`` is ``"cpu"``, ``"cuda"``,
    ``"coreml"`` or ``"openvino"``. ``threads`` is the number of pictures that are worked on at the
    same time (one per processor, unless given), each by one thread; ``batch_size`` the number of
    faces that go through the network together.

    Raises:
        ModelFileError: the model cannot be opened.
        WeightsError: the detector's weights cannot be opened.
        ConfigError: a setting is out of range or contradicts another.
    """

    def __init__(
        self,
        model: str | Path = "default",
        *,
        detector: Detector | None = None,
        detect: bool = True,
        threshold: float | None = None,
        min_face: int | None = None,
        max_faces: int | None = None,
        main_face: bool = False,
        device: str = "cpu",
        threads: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        if batch_size is None:
            batch_size = CPU_BATCH if device == "cpu" else BATCH
        for what, number in (("batch_size", batch_size), ("threads", threads)):
            if number is not None and not (hasattr(number, "__index__") and number >= 1):
                raise ConfigError(f"{what} cannot be {number!r}.", expected="a whole number, 1 or more")
        if detector is not None and not callable(getattr(detector, "detect", None)):
            raise ConfigError(
                f"A value of type {type(detector).__name__} is no detector.", expected="an object with detect(image)"
            )
        if detector is not None and not detect:
            raise ConfigError("A detector was given, and detect=False says to use none.", mend="give one of them")
        if not detect and (min_face or max_faces is not None or main_face):
            raise ConfigError(
                "Without detection each picture is one face: min_face, max_faces and main_face choose among none.",
                mend="leave them out, or let faces be looked for",
            )
        self.selection = Selection(min_face=min_face or 0, max_faces=max_faces, main_face=main_face)
        self._classifier = Classifier(find_model(model), threads=1, providers=providers(device))
        self.spec = self._classifier.spec
        self._model, self._device, self._threads = self._classifier.path.resolve(), device, threads
        self.threshold = check_threshold(self.spec.threshold if threshold is None else threshold)
        self.model_sha256 = sha256_file(self._classifier.path)
        self.batch_size = batch_size
        self._detector = detector or (_yunet(min_face) if detect else None)
        # A smallest face is one of the whole picture, and other detectors may use all that there is.
        self._enough = MOST_PIXELS if detect and detector is None and not min_face else MAX_PIXELS

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_classifier": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the model again, in another process or on another machine.

        Raises:
            ModelFileError: it cannot be opened, or is not the one that was sent.
        """
        self.__dict__.update(state)
        self._classifier = Classifier(self._model, threads=1, providers=providers(self._device))
        if sha256_file(self._model) != self.model_sha256:
            raise ModelFileError(
                f"{self._model} is not the model that this predictor was made with.",
                expected=f"the SHA-256 {self.model_sha256}",
                mend="make a new predictor with it",
            )

    @property
    def threads(self) -> int:
        """How many pictures are worked on at the same time."""
        return processors() if self._threads is None else self._threads

    @property
    def labels(self) -> tuple[str, ...]:
        return self.spec.labels

    @property
    def detects(self) -> bool:
        """Whether faces are looked for; otherwise each picture is taken as one."""
        return self._detector is not None

    @overload
    def predict(self, picture: Source) -> Picture: ...  # type: ignore[overload-overlap]  # str and bytes are sequences
    @overload
    def predict(self, picture: Sequence[Source]) -> list[Picture]: ...
    def predict(self, picture: Source | Sequence[Source]) -> Picture | list[Picture]:
        """Answer for one picture, or for a list of them in their order.

        A picture in which no face is found has no ``faces``.

        Raises:
            ImageError: the one picture cannot be read. In a list, such a picture is a row whose
                ``error`` says why, and the others are answered.
        """
        if is_one(picture):
            return self.classify([self.prepare_one(picture)])[0].picture
        return list(self.stream(several(picture)))

    def predict_faces(self, crops: Iterable[Source]) -> list[Prediction]:
        """Answer for faces that were cut out already, one answer each, without looking for faces in them.

        ``crops`` is a list of pictures, or an array of RGB pixels ``(n, h, w, 3)``.

        Raises:
            InputError: ``crops`` is no list of pictures.
            ImageError: a crop cannot be read.
        """
        waiting = (self._as_face(crop, number) for number, crop in enumerate(several(crops)))
        answers: list[Prediction] = []
        while batch := list(islice(waiting, self.batch_size)):
            answers += self._classify([face for face, _ in batch], [pixels for _, pixels in batch])
        return answers

    def stream(self, pictures: Iterable[Source | ImageError], names: Iterable[str] = ()) -> Iterator[Picture]:
        """Answer for any number of pictures in their order; see :meth:`predict` for a list.

        Pictures are taken from ``pictures`` a bounded number ahead of the answers: pixels that are given must
        stay as they are until their answer comes. ``names`` are what
        the answers call the pictures; where it ends, a path is its own name. Those who read pictures
        themselves give the :class:`ImageError` of one that they could not read in its place.

        Raises:
            InputError: ``pictures`` is one picture, or a detector of one's own finds what cannot be a face.
        """
        return self.answer(self.prepare(pictures, names))

    def prepare(self, pictures: Iterable[Source | ImageError], names: Iterable[str] = ()) -> Iterator[Prepared]:
        """Do the first half of :meth:`stream`: decode, find the faces, frame them."""
        return self._prepare_ahead(several(pictures), names, most=2 * self.batch_size + self.threads, keep=False)

    def answer(self, prepared: Iterable[Prepared]) -> Iterator[Picture]:
        """Do the second half of :meth:`stream`: classify the faces of several pictures together."""
        batches = _batches(prepared, self.batch_size)
        for answered in ahead(self.classify, batches, threads=self.threads, most=self.threads + 1):
            for one in answered:
                yield one.picture

    def prepare_one(self, picture: Source, *, name: str = "", keep: bool = False) -> Prepared:
        """Decode one picture, find its faces and frame them; what :meth:`classify` needs, and ``keep`` its pixels.

        A crowd of more faces than ``batch_size`` is classified here, so that what waits stays small.

        Raises:
            ImageError: the picture cannot be read.
        """
        name = name or name_of(picture)
        return self._prepared(self._decode(picture, name, keep=keep), name, keep=keep)

    def _decode(self, picture: Source, name: str, *, keep: bool) -> Decoded:
        return decode_reduced(picture, name, at_least=MAX_PIXELS if keep else self._enough)

    def _prepared(self, decoded: Decoded, name: str, *, keep: bool) -> Prepared:
        pixels, width, height = decoded
        there, scale = self._find(pixels), (width / pixels.shape[1], height / pixels.shape[0])
        faces = self.selection.of(
            [face.scaled(*scale) for face in there] if scale != UNSCALED else there, width, height
        )
        row, image = self._row(name, width=width, height=height), pixels if keep else None
        if len(faces) <= self.batch_size:
            return Prepared(row, faces, [self._frame(pixels, face, scale) for face in faces], image)
        answers: list[Prediction] = []
        for start in range(0, len(faces), self.batch_size):
            some = faces[start : start + self.batch_size]
            answers += self._classify(some, [self._frame(pixels, face, scale) for face in some])
        return Prepared(replace(row, faces=tuple(answers)), image=image)

    def classify(self, batch: Sequence[Prepared]) -> list[Prepared]:
        """Classify the faces of several pictures together, and return the pictures with their answers."""
        faces = [face for one in batch for face in one.faces]
        framed = [pixels for one in batch for pixels in one.framed]
        fresh = iter(self._classify(faces, framed))
        return [
            Prepared(replace(one.picture, faces=(*one.picture.faces, *islice(fresh, len(one.faces)))), image=one.image)
            for one in batch
        ]

    def stream_with_pixels(
        self, pictures: Iterable[Source], names: Iterable[str] = ()
    ) -> Iterator[tuple[Picture, Pixels | None]]:
        """Answer as :meth:`stream`, and hand out the oriented picture's pixels too, ``None`` for an unreadable one.

        Pixels are large, so pictures are classified one by one and fewer are read ahead.

        Raises:
            InputError: ``pictures`` is one picture.
        """
        prepared = self._prepare_ahead(several(pictures), names, most=self.threads + 1, keep=True)
        for one in prepared:
            for answered in self.classify([one]):
                yield answered.picture, answered.image

    def explain(self, image: Pixels, prediction: Prediction) -> tuple[Pixels, npt.NDArray[np.float32]]:
        """Return what the network saw of an answered face, and where it saw the likelier label there.

        The first is RGB uint8 ``(height, width, 3)``; the second is a map of class activation of
        ``(h, w)``, coarser: a cell of it is a part of the first.

        Raises:
            ModelFileError: the model's network has no such map.
        """
        framed = self._frame(image, prediction.face)
        maps = self._classifier.activations(framed[None])
        label = max(prediction.probability, key=prediction.probability.__getitem__)
        return framed, maps[0, self.spec.labels.index(label)]

    def corners(self, image: Pixels, prediction: Prediction) -> npt.NDArray[np.float64]:
        """Return where the corners of what :meth:`explain` returns lie in ``image``, in pixels, ``(3, 2)``.

        They are the upper left, the upper right and the lower left one; turned faces have turned corners.
        """
        framing, box = self.spec.preprocessing, prediction.face.box
        if self._detector is None:
            return frame_corners(image, framing)
        if framing.alignment is None:
            part, left_top = cut(image, box, SURROUNDINGS), bounds(image, box, SURROUNDINGS)[:2]
            return frame_corners(part, framing) + left_top
        return frame_corners(image, framing, prediction.face)

    def check_explains(self) -> None:
        """Raise :class:`ModelFileError` if the model's network has no maps for :meth:`explain`."""
        size = self.spec.preprocessing
        self._classifier.activations(np.zeros((0, size.height, size.width, 3), np.uint8))

    def _prepare_ahead(
        self, pictures: Iterable[Source | ImageError], names: Iterable[str], *, most: int, keep: bool
    ) -> Iterator[Prepared]:
        decoded_here = BoundedSemaphore(self.threads + 1)

        def take() -> Iterator[tuple[Source | ImageError, str, bool]]:
            """Yield pictures with their names. Pillow images are decoded before the next is asked for, a few ahead."""
            for picture, called in zip(pictures, chain(names, repeat("")), strict=False):
                name = name_of(called or picture)
                if isinstance(picture, Image):
                    decoded_here.acquire()
                    yield settled(picture, name), name, True
                else:
                    yield picture, name, False

        def prepare(taken: tuple[Source | ImageError, str, bool]) -> Prepared:
            picture, name, held = taken
            try:
                return self._prepared_or_refused(picture, name, keep=keep)
            finally:
                if held:
                    decoded_here.release()

        return ahead(prepare, take(), threads=self.threads, most=most)

    def _prepared_or_refused(self, picture: Source | ImageError, name: str, *, keep: bool) -> Prepared:
        if isinstance(picture, ImageError):
            return Prepared(self._row(name, error=str(picture)))
        try:
            decoded = self._decode(picture, name, keep=keep)
        except ImageError as error:
            return Prepared(self._row(name, error=str(error)))
        return self._prepared(decoded, name, keep=keep)  # a detector that fails does not make bad pictures

    def _as_face(self, crop: Source, number: int) -> tuple[Face, Pixels]:
        try:
            pixels = decode(crop, name_of(crop))
        except ImageError as error:
            raise ImageError(f"crops[{number}]: {error.what}", expected=error.expected, mend=error.mend) from error
        return whole(pixels.shape[1], pixels.shape[0]), frame(pixels, self.spec.preprocessing)

    def _find(self, pixels: Pixels) -> Sequence[Face]:
        if self._detector is None:
            return [whole(pixels.shape[1], pixels.shape[0])]
        return found.faces(self._detector.detect(pixels), width=pixels.shape[1], height=pixels.shape[0])

    def _frame(self, pixels: Pixels, face: Face, scale: tuple[float, float] = UNSCALED) -> Pixels:
        """Frame a face as the model's preprocessing says; without an alignment, what is around its box.

        The picture that the face lies in is ``scale`` times as wide and as high as its ``pixels``.
        """
        if scale != UNSCALED:
            face = face.scaled(1 / scale[0], 1 / scale[1])
        if self._detector is None:
            return frame(pixels, self.spec.preprocessing)
        if self.spec.preprocessing.alignment is None:
            return frame(cut(pixels, face.box, SURROUNDINGS), self.spec.preprocessing)
        return frame(pixels, self.spec.preprocessing, face)

    def _classify(self, faces: Sequence[Face], framed: Sequence[Pixels]) -> list[Prediction]:
        if not faces:
            return []
        return self._classifier.predict(np.stack(framed), faces, threshold=self.threshold)

    def _row(
        self, name: str, *, width: int | None = None, height: int | None = None, error: str | None = None
    ) -> Picture:
        return Picture(
            source=name,
            width=width,
            height=height,
            error=error,
            model=self.spec.name,
            model_sha256=self.model_sha256,
        )


def _batches(prepared: Iterable[Prepared], size: int) -> Iterator[list[Prepared]]:
    """Gather pictures until they have ``size`` faces, or are ``size`` pictures."""
    batch: list[Prepared] = []
    faces = 0
    for one in prepared:
        if batch and faces + len(one.faces) > size:
            yield batch
            batch, faces = [], 0
        batch.append(one)
        faces += len(one.faces)
        if max(faces, len(batch)) >= size:
            yield batch
            batch, faces = [], 0
    if batch:
        yield batch


def _yunet(min_face: int | None) -> YuNet:
    return YuNet(min_face=min_face) if min_face else YuNet()
