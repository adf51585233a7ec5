"""From Pillow's many modes and colour spaces to one: 8-bit sRGB on white."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, features

if TYPE_CHECKING:
    from PIL import ImageCms

Pixels = npt.NDArray[np.uint8]

_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
"""Modes whose colours are multiplied by their transparency, and those that Pillow makes others of."""
MOST_PROFILE_BYTES = 4 * 2**20
"""Largest colour profile that is applied; printers' are of 1 to 2 MB."""


class UnsupportedPixelsError(ValueError):
    """A picture is whole, but its pixels are of a kind that has no colours."""


def to_rgb(image: Image.Image) -> Pixels:
    """Return a decoded picture as sRGB uint8 ``(height, width, 3)``, its transparent parts on white.

    Raises:
        UnsupportedPixelsError: the pixels are floating-point numbers, whose range nothing says.
        ValueError: there is no palette where one is needed.
    """
    if image.mode.startswith("I"):
        return _from_deep(image)
    if image.mode == "F":
        raise UnsupportedPixelsError("floating-point pixels, of a brightness that nothing defines")
    if image.mode == "P" and image.palette is None:
        raise ValueError("its palette is missing")
    profile = image.info.get("icc_profile")
    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    if profile:
        image = _to_srgb(image, profile)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _from_deep(image: Image.Image) -> Pixels:
    """Keep the upper 8 bits of grey: of 16, of the 12 that a camera puts into 16, or of 8 where no value needs more."""
    deep = np.asarray(image)
    if image.mode == "I":
        deep = deep.clip(0, 0xFFFF)
    used = next(bits for bits in (8, 12, 16) if deep.max() < 1 << bits)
    grey = (deep >> (used - 8)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Apply a colour profile; one that is damaged, too large or of another colour space says nothing."""
    if image.mode not in ("RGB", "CMYK", "L"):
        image = image.convert("RGB")
    transform = _transform(profile, image.mode) if len(profile) <= MOST_PROFILE_BYTES else None
    return image if transform is None else transform.apply(image)


@functools.lru_cache(maxsize=8)  # it holds the profiles, too
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what turns ``mode`` pixels of a profile into sRGB, or ``None`` where nothing needs to be done."""
    if not features.check("littlecms2"):
        return None
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source) and mode == "RGB":
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    assert isinstance(transform, ImageCms.ImageCmsTransform)
    return transform
