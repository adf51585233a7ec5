"""What a caller may give as a picture: a path, an encoded file's bytes, a Pillow image or pixels."""

from __future__ import annotations

import io
import os
from array import array
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
from PIL.Image import Image

from perceived import images
from perceived.colour import Pixels
from perceived.errors import ImageError, InputError

Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | npt.NDArray[Any] | Image
"""A picture: a path, an encoded file's bytes, a Pillow image, or RGB pixels of shape ``(h, w, 3)`` and type uint8,
which are looked at as they come: OpenCV's annotations do not say that its pictures are uint8."""
ONE = (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray, Image)
"""The types of one picture, for ``isinstance``."""


def is_one(picture: object) -> TypeGuard[Source]:
    """Say whether something is one picture, and no list of them, as an array ``(n, h, w, 3)`` is."""
    return isinstance(picture, ONE) and not (isinstance(picture, np.ndarray) and picture.ndim == 4)


def several(pictures: object) -> Iterable[Source]:
    """Return what is a list of pictures as it is; a picture, a file or a mapping is none.

    Raises:
        InputError: it is one picture.
        ImageError: it is neither a list of pictures nor one.
    """
    if is_one(pictures):
        raise InputError("Expected several pictures, got one.", expected="a list", mend="[picture]")
    if not isinstance(pictures, Iterable) or isinstance(pictures, Mapping) or _is_one_of_something(pictures):
        raise _no_picture(pictures)
    return pictures


def _is_one_of_something(value: object) -> bool:
    """Say whether what can be gone through is no list all the same: a file, an upload, a buffer, another's array."""
    if isinstance(value, np.ndarray | list | tuple):
        return False
    if hasattr(value, "read") or isinstance(value, array):
        return True
    shape = getattr(value, "shape", None)  # a column of paths has one dimension
    return hasattr(value, "__array__") and (np.asarray(value).ndim if shape is None else len(shape)) > 1


def name_of(picture: object) -> str:
    """Return what answers call a picture that has no other name."""
    if isinstance(picture, str | os.PathLike):
        return os.fsdecode(picture)
    if isinstance(picture, np.ndarray):
        return "<array>"
    return f"<{type(picture).__name__}>"


def decode(picture: Source, name: str) -> Pixels:
    """Return a picture's RGB uint8 pixels ``(h, w, 3)``; ``name`` is what messages call it.

    Raises:
        ImageError: it cannot be read, or is no picture.
    """
    return decode_reduced(picture, name, at_least=images.MAX_PIXELS).pixels


def decode_reduced(picture: Source, name: str, *, at_least: int) -> images.Decoded:
    """Return what :func:`decode` does, of a large JPEG at a scale that leaves ``at_least`` so many pixels."""
    if isinstance(picture, bytes | bytearray | memoryview):
        return images.decode_reduced(bytes(picture), at_least=at_least, source=name)
    if isinstance(picture, str | os.PathLike):
        return images.decode_reduced(images.read_bytes(picture), at_least=at_least, source=os.fsdecode(picture))
    pixels = _pixels(picture, name)
    return images.Decoded(pixels, pixels.shape[1], pixels.shape[0])


def settled(picture: Image, name: str) -> Pixels | ImageError:
    """Return the pixels of a Pillow image, or why it has none.

    Pillow loads an image, and goes from page to page of it, in place: other threads must not meanwhile.
    """
    try:
        return images.of_pillow(picture, source=name)
    except ImageError as error:
        return error


def encode(picture: Source, name: str) -> bytes:
    """Return a picture as an encoded file's bytes: those it has, or pixels and Pillow images as a PNG.

    Raises:
        ImageError: it cannot be read, or is no picture.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, str | os.PathLike):
        return images.read_bytes(picture)
    file = io.BytesIO()
    images.save_png(_pixels(picture, name), file)
    return file.getvalue()


def _pixels(picture: object, name: str) -> Pixels:
    """Return the pixels of what is in memory."""
    if isinstance(picture, Image):
        return images.of_pillow(picture, source=name)
    if not isinstance(picture, np.ndarray):
        raise _no_picture(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ImageError(
            f"An array of shape {picture.shape} and type {picture.dtype} is not a picture.",
            expected="RGB pixels of shape (height, width, 3) and type uint8",
        )
    height, width = picture.shape[:2]
    images.check_size((width, height), name, max_pixels=width * height)  # it is in memory already, however large
    return picture


def _no_picture(value: object) -> ImageError:
    return ImageError(
        f"A value of type {type(value).__name__} is no picture.",
        expected="a path, a file's bytes, a Pillow image, RGB pixels (height, width, 3) of type uint8, or several",
        mend="of an open file or an upload give what its read() returns, of another array numpy.asarray of it",
    )
