"""Bytes to pixels: one door through which every picture enters, with its formats and limits.

Pictures come out as sRGB ``uint8`` arrays of shape ``(height, width, 3)``, turned upright by their
EXIF orientation. Transparent parts are laid on white. Of an animation it is the first frame, of a
TIFF the first page.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import importlib
import io
import os
import re
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple, cast

from PIL import Image, TiffTags, UnidentifiedImageError

from perceived import archive, bounds, integrity, jpeg
from perceived.colour import Pixels, UnsupportedPixelsError, to_rgb
from perceived.errors import DataError, ImageError, MissingExtraError
from perceived.extras import needed_for
from perceived.sources import VIDEO_ENDINGS

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
"""Pillow's names of the formats that are read; JPEG includes the phones' multi-picture files.

HEIC is read too where the extra ``heic`` is installed.
"""
MAX_BYTES = 64 * 2**20
"""Largest encoded picture, in bytes."""
MAX_PIXELS = 120_000_000
"""Largest decoded picture, in pixels: above the largest phone cameras of 108 megapixels."""
MAX_SIDE = 65_500
"""Largest width and height, in pixels: what libjpeg reads and writes."""
MIN_SIDE = 8
"""Smallest width and height, in pixels: nothing smaller shows a face."""

_PLUGINS = ("AvifImagePlugin", "TiffImagePlugin", "WebPImagePlugin")
"""What reads those of ``FORMATS`` that ``Image.preinit`` does not load."""
_HEADER_BYTES = 4096
_EXIF = b"Exif\0\0"
_LOADING = tuple(threading.Lock() for _ in range(32))
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError, AttributeError),
    *(struct.error, zlib.error, Image.DecompressionBombError, RuntimeError, AssertionError, Warning),
)
"""What Pillow's decoders raise on damaged bytes."""
_warnings_lock = threading.Lock()

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation."""
_SIDEWAYS = (5, 6, 7, 8)
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"RIFF")
"""How files of these formats begin; of ``RIFF``, pictures are WebP."""
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://|data:\w+/", re.IGNORECASE)
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class Decoded(NamedTuple):
    """A decoded picture, perhaps reduced; ``width`` and ``height`` are the upright original's, in pixels."""

    pixels: Pixels
    width: int
    height: int


def load(path: str | os.PathLike[str]) -> Pixels:
    """Read and decode one picture from a file or from ``ARCHIVE.zip!MEMBER``."""
    return decode(read_bytes(path), source=os.fsdecode(path))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return a picture's encoded bytes from a file or from ``ARCHIVE.zip!MEMBER``.

    Raises:
        ImageError: there is no such file or member, or it is larger than ``MAX_BYTES``.
    """
    location = os.fsdecode(path)
    try:
        if inside := archive.find(location):
            opened, member = inside
            _check_bytes(opened.size(member), location)
            return opened.read(member)
        size = _check_file(location)
        with open(location, "rb") as file:
            return file.read(size + 1)
    except (OSError, DataError, ValueError, MemoryError) as error:
        raise _cannot_read(location, error) from error


def decode(data: bytes, *, source: str = "", max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode one picture to RGB uint8 ``(height, width, 3)``; ``source`` names it in messages.

    A picture of more than ``max_pixels`` is refused by its header, before its pixels take memory.

    Raises:
        ImageError: the bytes are empty, truncated or no picture, or the picture is beyond the limits.
    """
    return decode_reduced(data, at_least=max_pixels, source=source, max_pixels=max_pixels).pixels


def decode_reduced(data: bytes, *, at_least: int, source: str = "", max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode one picture at the smallest cheap scale that leaves ``at_least`` so many pixels, upright.

    JPEGs are decoded at a half, a quarter or an eighth of their size, several times as fast; other
    pictures, and smaller ones, at their own. Raises as :func:`decode`.
    """
    name = source or "The picture"
    _check_bytes(len(data), name)
    try:
        bounds.check(data)
        with _open(data) as image:
            width, height = image.size
            check_size(image.size, name, max_pixels)
            integrity.check(image, data)
            parts = reduction(width * height, at_least)
            scale = (width // parts, height // parts)
            _load_pixels(image, scale)
            integrity.check_filled(image, data, lambda longer: _load_pixels(_open(longer), scale))
            orientation = _orientation(image)  # what is still to be done: Pillow turns a TIFF as it loads it
            sideways = orientation in _SIDEWAYS
            pixels = _upright(image, orientation)
    except _DAMAGE as error:
        raise _unreadable(data, name, error, max_pixels) from error
    return Decoded(pixels, height if sideways else width, width if sideways else height)


def reduction(pixels: int, at_least: int) -> int:
    """Return how many times narrower and lower, as libjpeg can, a picture may be that is left ``at_least`` so many."""
    return max((n for n in (2, 4, 8) if pixels >= at_least * n * n), default=1)


def of_pillow(image: Image.Image, *, source: str = "") -> Pixels:
    """Return a Pillow image as :func:`decode` returns a file: upright, sRGB, on white, within the limits.

    Raises:
        ImageError: its file is damaged, or it is beyond the limits.
    """
    name = source or "The picture"
    check_size(image.size, name)
    try:
        with _LOADING[id(image) // 64 % len(_LOADING)]:  # another thread may have been given the same image
            _load(image)
        return _upright(image, _orientation(image))
    except _DAMAGE as error:
        raise _unreadable(b"", name, error) from error


def save_png(pixels: Pixels, path: str | os.PathLike[str] | IO[bytes]) -> None:
    """Write RGB uint8 ``(height, width, 3)`` as a PNG, whatever the file's ending, or into an open file."""
    Image.fromarray(pixels).save(path, "PNG")


def probe(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return an upright picture's ``(width, height)``, a JPEG's from its header: cheap enough for 200,000 of them.

    A JPEG must also end with its end marker; one that does not is decoded in full, because bytes
    after the end marker are harmless and a missing end is not. So is one with EXIF data, which may turn it.

    Raises:
        ImageError: as :func:`read_bytes` and :func:`decode`.
    """
    location = os.fsdecode(path)
    head, tail = _ends(location)
    plain = head.startswith(jpeg.SIGNATURE) and tail.endswith(jpeg.END) and _EXIF not in head
    size = jpeg.size(head) if plain else None
    if size is None:
        height, width = load(location).shape[:2]
        return width, height
    check_size(size, location)
    return size


def _ends(location: str) -> tuple[bytes, bytes]:
    """Return the first and last bytes of a picture's file."""
    if archive.split_location(location):
        data = read_bytes(location)
        return data[:_HEADER_BYTES], data[-2:]
    try:
        _check_file(location)
        with open(location, "rb", buffering=0) as file:
            head = file.read(_HEADER_BYTES)
            if len(head) < _HEADER_BYTES:
                return head, head[-2:]
            file.seek(-2, os.SEEK_END)
            return head, file.read(2)
    except (OSError, ValueError) as error:
        raise _cannot_read(location, error) from error


@functools.cache
def _formats() -> tuple[str, ...]:
    """Return the formats this Pillow was built with, having loaded no more of it than they need.

    ``Image.init``, which loads all of Pillow's formats, takes most of a tenth of a second.
    """
    Image.preinit()
    for plugin in _PLUGINS:
        with contextlib.suppress(ImportError):
            importlib.import_module(f"PIL.{plugin}")
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Pillow from warning: what it warns of, sizes and damaged EXIF data, is decided here.

    For short steps only: the warning filters belong to all threads, so one at a time may change them.
    """
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(data: bytes) -> Image.Image:
    with _quiet():
        return _open_heic(data) if is_heic(data) else Image.open(io.BytesIO(data), formats=_formats())


def _load_pixels(image: Image.Image, scale: tuple[int, int]) -> Image.Image:
    """Decode an opened picture at the smallest cheap scale that is at least ``scale``, as stored."""
    image.draft(None, scale)
    _load(image)
    return image


def _load(image: Image.Image) -> None:
    """Decode an opened picture; Pillow looks at a TIFF's EXIF data and size once more then, and warns."""
    warns = image.format == "TIFF" and image.width * image.height > (Image.MAX_IMAGE_PIXELS or 0)
    if image.format == "TIFF":
        with _quiet():  # what is read here is kept, and not read again
            exif = image.getexif()
            for part in TiffTags.TAGS_V2_GROUPS:
                exif.get_ifd(part)
    with _quiet() if warns else contextlib.nullcontext():
        image.load()


def is_heic(data: bytes) -> bool:
    """Say whether a file's first bytes name a HEIF brand that is not AVIF's (ISO/IEC 23008-12)."""
    brands = data[8:12] + data[16 : min(int.from_bytes(data[:4], "big"), 256)]
    return data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS and b"avif" not in brands


def _open_heic(data: bytes) -> Image.Image:
    """Open a picture of the phones' format; its decoder turns it upright by itself."""
    try:
        with needed_for("Reading HEIC pictures"):
            from pillow_heif import HeifImageFile
    except MissingExtraError as error:  # to those who answer for pictures, one that cannot be read like others
        raise ImageError(error.what, mend=error.mend) from error
    return cast(Image.Image, HeifImageFile(io.BytesIO(data)))


def _orientation(image: Image.Image) -> int:
    """Return a picture's EXIF orientation; damaged EXIF data says nothing."""
    try:
        with _quiet():
            return int(image.getexif().get(_ORIENTATION, 1))
    except _DAMAGE:
        return 1


def _upright(image: Image.Image, orientation: int) -> Pixels:
    return to_rgb(image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image)


def _check_file(location: str) -> int:
    """Return the bytes of a file, or raise :class:`ImageError` where it can be none of a picture."""
    status = os.stat(location)  # noqa: PTH116 -- once per picture, and three times as quick as Path.stat
    if stat.S_ISDIR(status.st_mode):
        os.listdir(location)  # noqa: PTH208 -- a folder is walked, unless it cannot be listed: that is what is told
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{location} is not a file.", expected="the path of a picture")
    if os.path.splitext(location)[1].lower() in VIDEO_ENDINGS:  # noqa: PTH122 -- as quick as the line above
        raise ImageError(f"{location} is a video, not a picture.", mend=f"perceived video {location}")
    _check_bytes(status.st_size, location)
    return status.st_size


def _cannot_read(location: str, error: Exception) -> ImageError:
    if isinstance(error, FileNotFoundError) and glob.has_magic(location):
        return ImageError(
            f"There is no file {location}.",
            mend="check the path; a pattern has to match something, and is for the command line: see Python's glob",
        )
    if isinstance(error, MemoryError):
        return ImageError(f"There is not enough memory for {location}.", mend="free some, or use fewer threads")
    if _ADDRESS.match(location):
        return ImageError(
            f"{location[:200]} is an address.",
            expected="a file on this machine",
            mend="give the path of a file; fetch it first where there is none, for nothing here uses the network",
        )
    if not location:
        return ImageError("A picture's path is empty.", expected="the path of a file")
    reason = getattr(error, "strerror", None) or getattr(error, "what", None) or str(error)
    return ImageError(f"{location} cannot be read: {reason}.", mend="check the path and its permissions")


def _check_bytes(count: int, name: str) -> None:
    if count == 0:
        raise ImageError(f"{name} is empty: 0 bytes.", mend="copy or download the picture again")
    if count > MAX_BYTES:
        raise ImageError(f"{name} has {count:,} bytes.", expected=f"at most {MAX_BYTES:,}")


def check_size(size: tuple[int, int], name: str, max_pixels: int = MAX_PIXELS) -> None:
    width, height = size
    if min(size) < MIN_SIDE:
        raise ImageError(
            f"{name} is {width}×{height} pixels: too small to show a face.",
            expected=f"at least {MIN_SIDE}×{MIN_SIDE}",
            mend="use the original picture, or leave this one out",
        )
    if max(size) > MAX_SIDE:
        raise ImageError(f"{name} is {width}×{height} pixels.", expected=f"at most {MAX_SIDE:,} a side")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} is {width}×{height} pixels.", expected=f"at most {max_pixels:,} pixels", mend="scale it down"
        )


def _unreadable(data: bytes, name: str, error: BaseException, max_pixels: int = MAX_PIXELS) -> ImageError:
    """Say what the bytes seem to be when they are no readable picture."""
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(f"{name} is larger than {max_pixels:,} pixels.", mend="scale it down")
    if isinstance(error, MemoryError):
        return ImageError(f"There is not enough memory for {name}.", mend="scale it down, or ask for fewer threads")
    if isinstance(error, bounds.UnreasonableError):
        return ImageError(
            f"{name} is refused: it has {error}, more than a camera writes.", mend="save it anew, as PNG or JPEG"
        )
    if isinstance(error, UnsupportedPixelsError):
        return ImageError(f"{name} has {error}.", expected="whole numbers", mend="save it as PNG or JPEG")
    if isinstance(error, UnidentifiedImageError):
        start = data[:24]
        if start.startswith(_SIGNATURES) or start[4:12] == b"ftypavif":
            return _damaged(name, "its header cannot be read, or is of a kind that no reader here knows")
        is_text = start.isascii() and b"\0" not in start
        holds = (
            f"text, starting {start.decode()!r}" if is_text else f"data of an unknown kind, starting {start.hex(' ')}"
        )
        return ImageError(
            f"{name} is not a picture: it holds {holds}.",
            expected=f"one of {', '.join(FORMATS)}, HEIC",
            mend="check that the file is what its name says",
        )
    return _damaged(name, str(error) or type(error).__name__)


def _damaged(name: str, reason: str) -> ImageError:
    return ImageError(
        f"{name} is damaged or cut short: {reason}.", mend="copy or download the picture again, or leave it out"
    )
