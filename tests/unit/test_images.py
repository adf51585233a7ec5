"""Every format and orientation comes out as upright RGB; everything else as one clear error."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import threading
import warnings
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageCms, ImageFile, TiffImagePlugin

from perceived import archive, colour, images, integrity, jpeg
from perceived.errors import ImageError

GRADIENT = np.stack(np.meshgrid(np.arange(40) * 6, np.arange(30) * 8), axis=-1).astype(np.uint8)
PICTURE = np.dstack([GRADIENT, np.full((30, 40), 90, np.uint8)])
"""30 × 40 pixels, smooth, so that lossy formats stay close to it."""


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def close(found: images.Pixels, expected: images.Pixels = PICTURE, within: float = 6) -> bool:
    if found.shape != expected.shape or found.dtype != np.uint8:
        return False
    return float(np.abs(found.astype(int) - expected.astype(int)).mean()) <= within


@pytest.mark.parametrize("kind", images.FORMATS)
def test_every_format(kind: str) -> None:
    options = {"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}
    assert close(images.decode(encode(Image.fromarray(PICTURE), kind, **options)))


def test_colour_order_is_rgb() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    assert np.array_equal(images.decode(encode(Image.fromarray(red), "PNG")), red)


def test_a_saved_png_reads_back(tmp_path: Path) -> None:
    images.save_png(PICTURE, tmp_path / "picture.partial")
    assert np.array_equal(images.load(tmp_path / "picture.partial"), PICTURE)


def turned(picture: images.Pixels, orientation: int) -> images.Pixels:
    """Store a picture as a camera with this EXIF orientation would (EXIF 2.3, tag 0x0112)."""
    stored = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, 1),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture, -1),
    }
    return np.ascontiguousarray(stored[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
def test_exif_orientation_is_applied_once(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 100}, "AVIF": {"quality": 100}}
    stored = Image.fromarray(turned(PICTURE, orientation))
    data = encode(stored, kind, exif=exif.tobytes(), **how[kind])
    for found in (images.decode(data), images.of_pillow(Image.open(io.BytesIO(data)))):
        assert close(found, within=0 if kind in ("PNG", "TIFF", "WEBP") else 30)
    reduced = images.decode_reduced(data, at_least=PICTURE[..., 0].size)
    assert (reduced.width, reduced.height) == PICTURE.shape[1::-1]


def test_damaged_exif_says_nothing() -> None:
    data = encode(Image.fromarray(PICTURE), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert close(images.decode(data))
    for cut in (b"MM\0*\0", b"MM\0H\0\0"):
        assert np.array_equal(images.decode(encode(Image.fromarray(PICTURE), "PNG", exif=b"Exif\0\0" + cut)), PICTURE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "I;16", "I"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    if mode == "YCbCr" and int(PIL.__version__.partition(".")[0]) < 13:
        pytest.skip("Pillow before 13 cannot read the YCbCr that it writes")
    grey = np.repeat(PICTURE[..., :1], 3, axis=2)
    image = Image.fromarray(PICTURE)
    if mode in ("I", "I;16"):
        deep = PICTURE[..., 0].astype(np.uint16) * 257
        found = images.decode(encode(Image.fromarray(deep if mode == "I;16" else deep.astype(np.int32)), "TIFF"))
        assert np.array_equal(found, grey)
        shallow = images.of_pillow(Image.fromarray(PICTURE[..., 0].astype(np.int32)))
        assert np.array_equal(shallow, grey), "a 32-bit picture of values to 255 is not black"
        return
    kind = "TIFF" if mode in ("CMYK", "YCbCr", "PA") else "PNG"
    converted = image.quantize(200).convert(mode) if mode in ("P", "PA") else image.convert(mode)
    found = images.decode(encode(converted, kind))
    if mode == "1":
        assert set(np.unique(found)) == {0, 255}
    elif mode in ("L", "LA"):
        assert close(found, np.repeat(np.asarray(image.convert("L"))[..., None], 3, axis=2), within=0)
    else:
        assert close(found, within=6 if mode in ("P", "PA") else 3)


def test_what_a_camera_puts_into_sixteen_bits_is_not_black() -> None:
    deep = (PICTURE[..., 0].astype(np.uint16) << 4) | 0x800
    found = images.decode(encode(Image.fromarray(deep), "PNG"))
    assert np.array_equal(found[..., 0], PICTURE[..., 0] | 0x80)


def test_grey_beyond_sixteen_bits_is_white_and_below_nothing_black() -> None:
    deep = np.full((16, 16), 100_000, np.int32)
    deep[:8] = -5
    found = images.of_pillow(Image.fromarray(deep))
    assert (found[:8] == 0).all()
    assert (found[8:] == 255).all()


@pytest.mark.parametrize("brightness", [0x80, 0x7F, 0x40, 0x10])
def test_sixteen_bit_png_keeps_its_brightness(brightness: int) -> None:
    deep = np.full((16, 16), brightness << 8, np.uint16)
    assert set(np.unique(images.decode(encode(Image.fromarray(deep), "PNG")))) == {brightness}


def test_cmyk_jpeg() -> None:
    assert close(images.decode(encode(Image.fromarray(PICTURE).convert("CMYK"), "JPEG", quality=95)))


def test_transparent_parts_are_white() -> None:
    layered = np.dstack([PICTURE, np.zeros((30, 40), np.uint8)])
    layered[:15, :, 3] = 255
    found = images.decode(encode(Image.fromarray(layered), "PNG"))
    assert np.array_equal(found[:15], PICTURE[:15])
    assert (found[15:] == 255).all()


def test_transparent_colour_of_a_palette_is_white() -> None:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert (images.decode(encode(image, "PNG", transparency=1)) == 255).all()
    assert (images.decode(encode(image, "PNG")) == [10, 20, 30]).all()


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("black", "white")]
    assert (images.decode(encode(frames[0], "GIF", save_all=True, append_images=frames[1:])) == 0).all()


def test_first_frame_of_an_animated_png() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("black", "white")]
    assert (images.decode(encode(frames[0], "PNG", save_all=True, append_images=frames[1:])) == 0).all()


def test_damaged_notes_beside_a_tiffs_picture_say_nothing_of_the_picture() -> None:
    """Whatever becomes of warnings, which Pillow has for them: here they are errors."""
    notes = TiffImagePlugin.ImageFileDirectory_v2()
    notes[0x8769] = {36867: "2020:01:01 00:00:00"}
    data = bytearray(encode(Image.fromarray(PICTURE), "TIFF", tiffinfo=notes))
    entry = struct.unpack_from("<I", data, data.index(struct.pack("<HH", 0x8769, 4)) + 8)[0] + 2
    struct.pack_into("<I", data, entry + 4, 1_000_000)  # letters of a date that has twenty
    assert np.array_equal(images.decode(bytes(data)), PICTURE)
    assert np.array_equal(images.of_pillow(Image.open(io.BytesIO(data))), PICTURE)


def test_first_page_of_a_tiff() -> None:
    pages = [Image.new("RGB", (16, 16), colour) for colour in ("black", "white")]
    assert (images.decode(encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])) == 0).all()


def test_sixteen_bit_colour() -> None:
    deep = cv2.imencode(".png", PICTURE[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    assert close(images.decode(deep), within=1)


def swapped_profile() -> bytes:
    """Return a colour profile in which red and green are each other's, made from sRGB's."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swap = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ", "sRGB".encode("utf-16-be"): "ours".encode("utf-16-be")}
    return re.sub(b"|".join(map(re.escape, swap)), lambda found: swap[found[0]], profile)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_colour_profiles_are_applied(kind: str) -> None:
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    found = images.decode(encode(red, kind, icc_profile=swapped_profile(), quality=100))
    assert np.abs(found.astype(int).mean((0, 1)) - [0, 255, 0]).max() < 12


def linear_grey_profile() -> bytes:
    """Return a profile of grey whose values are shares of the light, without a curve (ICC.1:2001-04)."""
    light, no_curve = b"XYZ \0\0\0\0" + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D), b"curv" + bytes(8)
    head = b"\2\x10\0\0mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28) + light[8:] + bytes(48)
    table = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 12)
    return struct.pack(">II", 188, 0) + head + table + light + no_curve


def test_a_grey_pictures_profile_is_applied() -> None:
    found = images.decode(encode(Image.new("L", (16, 16), 64), "PNG", icc_profile=linear_grey_profile()))
    assert np.abs(found.astype(int) - 137).max() <= 2, "a quarter of the light is more than half of sRGB's way to white"


def test_a_profile_under_transparent_parts() -> None:
    half = Image.new("RGBA", (16, 16), (255, 0, 0, 255))
    half.paste((0, 0, 0, 0), (0, 8, 16, 16))
    found = images.decode(encode(half, "PNG", icc_profile=swapped_profile()))
    assert np.abs(found[:8].astype(int) - [0, 255, 0]).max() < 12
    assert (found[8:] >= 250).all()


@pytest.mark.parametrize("profile", [b"\0" * 200, swapped_profile()[:300], b"no profile"])
def test_a_damaged_profile_says_nothing(profile: bytes) -> None:
    assert np.array_equal(images.decode(encode(Image.fromarray(PICTURE), "PNG", icc_profile=profile)), PICTURE)


def test_a_profile_that_is_too_large_says_nothing_and_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = swapped_profile() + b"another"
    picture = encode(Image.fromarray(PICTURE), "PNG", icc_profile=profile)
    before = colour._transform.cache_info().currsize
    monkeypatch.setattr(colour, "MOST_PROFILE_BYTES", len(profile) - 1)
    assert np.array_equal(images.decode(picture), PICTURE)
    assert colour._transform.cache_info().currsize == before
    monkeypatch.setattr(colour, "MOST_PROFILE_BYTES", len(profile))
    assert not np.array_equal(images.decode(picture), PICTURE)


def test_a_profile_of_another_colour_space_says_nothing() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert np.array_equal(images.decode(encode(Image.fromarray(PICTURE), "PNG", icc_profile=lab)), PICTURE)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_heic_picture_stands_upright(orientation: int) -> None:
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored = heif.from_pillow(Image.fromarray(turned(PICTURE, orientation)))
    stored.save(buffer, quality=95, exif=exif.tobytes())
    assert close(images.decode(buffer.getvalue()))
    for length in (len(buffer.getvalue()) // 2, 40):
        with pytest.raises(ImageError):
            images.decode(buffer.getvalue()[:length])


def test_a_heic_picture_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"perceived\[heic\]"):
        images.decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 50)


def test_avif_is_not_taken_for_heic() -> None:
    assert not images.is_heic(encode(Image.fromarray(PICTURE), "AVIF"))
    assert not images.is_heic(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif" + b"\0" * 50)


@pytest.mark.parametrize("kind", images.FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_an_error_not_half_a_picture(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 80, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    with pytest.raises(ImageError):
        images.decode(data[: int(share * len(data))])


def test_a_damaged_png_is_an_error_not_black() -> None:
    data = encode(Image.fromarray(PICTURE), "PNG")
    middle = data.index(b"IDAT") + 20
    for damaged in (data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :], data[:-12]):
        with pytest.raises(ImageError, match=r"checksum of its part IDAT|its end is missing"):
            images.decode(damaged)


def test_a_png_without_its_palette_is_an_error() -> None:
    data = encode(Image.fromarray(PICTURE).convert("P"), "PNG")
    start = data.index(b"PLTE") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    with pytest.raises(ImageError, match="its palette is missing"):
        images.decode(data[:start] + data[start + 12 + length :])


def test_a_pillow_image_stays_as_it_was() -> None:
    image = Image.open(io.BytesIO(encode(Image.fromarray(PICTURE), "PNG", icc_profile=swapped_profile())))
    first = images.of_pillow(image)
    assert not np.array_equal(first, PICTURE)
    assert np.array_equal(np.asarray(image), PICTURE)
    assert np.array_equal(images.of_pillow(image), first)


def test_a_pillow_image_is_loaded_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow reads an image's file in place: two at once would take bytes from each other."""
    image, lock, held = Image.open(io.BytesIO(encode(Image.fromarray(PICTURE), "PNG"))), threading.Lock(), []
    load = image.load
    monkeypatch.setattr(images, "_LOADING", (lock,))
    monkeypatch.setattr(image, "load", lambda: held.append(lock.locked()) or load())
    assert np.array_equal(images.of_pillow(image), PICTURE)
    assert held[0]
    assert not lock.locked()


def test_a_pillow_image_beyond_the_limits_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_load", lambda _: pytest.fail("loaded"))
    for size, words in (((7, 40), "too small"), ((images.MAX_SIDE + 1, 8), "at most 65,500 a side")):
        with pytest.raises(ImageError, match=words):
            images.of_pillow(Image.new("1", size))


def test_what_follows_a_png_is_not_looked_at() -> None:
    assert np.array_equal(images.decode(encode(Image.fromarray(PICTURE), "PNG") + b"more"), PICTURE)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"mode": "L"}, {"mode": "CMYK"}, {"subsampling": 0}])
@pytest.mark.parametrize("at_least", [10**8, 1600])
def test_a_jpeg_that_ends_properly_but_early_is_an_error(options: dict[str, object], at_least: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise).convert(str(options.get("mode", "RGB"))), "JPEG", **options)
    first_scan = data[: data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)] if "progressive" in options else data
    cut = first_scan[: data.index(b"\xff\xda") + (len(first_scan) - data.index(b"\xff\xda")) // 2]
    with pytest.raises(ImageError, match="its data end before its pixels do"):
        images.decode_reduced(cut + b"\xff\xd9", at_least=at_least)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_ends_in_grey_is_whole(mode: str, progressive: bool) -> None:
    grey = np.full((100, 100, 3), 128, np.uint8)
    grey[:40] = np.random.default_rng(0).integers(0, 256, (40, 100, 3))
    data = encode(Image.fromarray(grey).convert(mode), "JPEG", progressive=progressive)
    found = images.decode(data)
    assert abs(found[-1, -1].astype(int) - 128).max() <= 1
    assert np.array_equal(images.decode(data + b"more"), found)


def test_a_jpeg_that_ends_in_grey_is_whole_at_a_scale_that_its_sides_do_not_divide_by() -> None:
    grey = np.full((301, 401, 3), 128, np.uint8)
    grey[:40] = np.random.default_rng(0).integers(0, 256, (40, 401, 3))
    found = images.decode_reduced(encode(Image.fromarray(grey), "JPEG"), at_least=1)
    assert found.pixels.shape == (38, 51, 3)


def test_a_jpeg_of_endless_scans_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.fromarray(np.zeros((1000, 1000, 3), np.uint8)), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    monkeypatch.setattr(integrity, "MAX_SCANNED_PIXELS", 100 * 1000**2)
    assert images.decode(data[:-2] + 80 * last + data[-2:]).shape == (1000, 1000, 3)
    with pytest.raises(ImageError, match="scans of 1000×1000 pixels"):
        images.decode(data[:-2] + 100 * last + data[-2:])


def parts(kind: str, count: int) -> bytes:
    """Encode a picture, and put ``count`` parts of a kind before its pixels."""
    jpeg_file = encode(Image.fromarray(PICTURE), "JPEG")
    png_file = encode(Image.fromarray(PICTURE), "PNG")
    gif_file = encode(Image.fromarray(PICTURE[..., 0]), "GIF")
    table = 13 + 3 * 2 ** ((gif_file[10] & 7) + 1)
    chunk = b"\0\0\0\0abCd" + zlib.crc32(b"abCd").to_bytes(4, "big")
    exif = b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)
    return {
        "comments": jpeg_file[:2] + count * b"\xff\xfe\0\2" + jpeg_file[2:],
        "exif": jpeg_file[:2] + count // 20 * exif + jpeg_file[2:],
        "junk": jpeg_file[:2] + b"\xff\xfe\0\2" + bytes(10 * count) + jpeg_file[2:],
        "chunks": png_file[:33] + count * chunk + png_file[33:],
        "empty": png_file[: (place := png_file.index(b"IDAT") - 4)]
        + 10 * count * (b"\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")) + png_file[place:],
        "blocks": gif_file[:table] + b"!\xff\x0bNETSCAPE2.0" + 10 * count * b"\1c" + b"\0" + gif_file[table:],
        "long blocks": gif_file[:table] + b"!\xfe" + count // 2 * (b"\xff" + bytes(255)) + b"\0" + gif_file[table:],
        "text": b"P2 100 100 255\n" + count * b"#\n" + 10_000 * b"9 ",
        "long text": b"P3 %d 1000 255\n" % (count // 20) + 3000 * (count // 20) * b"99 ",
        "scale": b"P6 %d 1000 254\n" % (count // 5) + bytes(3000 * (count // 5)),
        "header": b"P6 #" + 10 * count * b"c" + b"\n10 10 255\n" + bytes(300),
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        *((kind, 9_000) for kind in ("comments", "chunks", "empty", "blocks", "long text")),
        *((kind, 6_000) for kind in ("junk", "long blocks", "header")),
        *(("exif", 2_000), ("scale", 5_000), ("text", 900)),
    ],
)
def test_a_small_file_does_not_keep_a_decoder_busy(kind: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images.decode(parts(kind, most))
    step = "_load_pixels" if kind == "empty" else "_open"
    monkeypatch.setattr(images, step, lambda *_: pytest.fail("a decoder has begun"))
    with pytest.raises(ImageError, match=r"is refused: it has .*more than|its header says no size"):
        images.decode(parts(kind, 3 * most))


def test_pictures_of_unusual_scales_and_gifs_of_much_metadata_are_read() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 400 * 300 * 6, dtype=np.uint8).tobytes()
    assert images.decode(b"P6 400 300 65535\n" + noise).shape == (300, 400, 3)
    assert images.decode(b"P5 400 300 1023\n" + noise[: 400 * 300 * 2]).shape == (300, 400, 3)
    gif = encode(Image.fromarray(PICTURE[..., 0]), "GIF")
    table = 13 + 3 * 2 ** ((gif[10] & 7) + 1)
    profile = b"!\xff\x0bICCRGBG1012" + 12_000 * (b"\xff" + bytes(255)) + b"\0"
    assert images.decode(gif[:table] + profile + gif[table:]).shape == (30, 40, 3)


def test_somebodys_wish_for_truncated_pictures_does_not_make_halves_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), "JPEG")
    assert close(images.decode(data), noise, within=60)
    with pytest.raises(ImageError, match="its end is missing"):
        images.decode(data[: len(data) // 2])


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_colours_that_are_multiplied_already_are_read(mode: str) -> None:
    plain = Image.fromarray(PICTURE).convert("LA" if mode == "La" else "RGBA")
    assert np.array_equal(images.of_pillow(plain.convert(mode)), images.of_pillow(plain))


def trailer(count: int) -> bytes:
    """Bytes that phones put behind a picture: they look like many scans, and hold an end marker of their own."""
    return np.random.default_rng(1).bytes(50) + count * b"\xff\xda\0\x08some film" + b"\xff\xd9\0"


def test_what_follows_a_jpeg_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.fromarray(PICTURE), "JPEG")
    monkeypatch.setattr(integrity, "MAX_SCANNED_PIXELS", 3 * PICTURE.shape[0] * PICTURE.shape[1])
    thumbnail = encode(Image.fromarray(PICTURE[:20, :20]), "JPEG", progressive=True)
    inside = data[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + data[2:]
    for whole in (data + trailer(100), inside):
        assert np.array_equal(images.decode(whole), images.decode(data))
        assert jpeg.scans(whole)[0] == 1
        assert jpeg.size(whole) == (PICTURE.shape[1], PICTURE.shape[0])


def test_a_jpegs_size_is_that_of_its_frame() -> None:
    """Not of tables whose markers look like a frame's, nor of what comes behind the scan."""
    frame, scan = b"\xff\xc0\0\x0b\x08\0\x1e\0\x28\x01\x01\x11\0", b"\xff\xda\0\x02"
    for marker in (b"\xc4", b"\xc8", b"\xcc"):
        table = b"\xff" + marker + b"\0\x0a" + bytes(range(1, 9))
        assert jpeg.size(jpeg.SIGNATURE + table + frame) == (40, 30)
    assert jpeg.size(jpeg.SIGNATURE + b"\xff\x01" + frame) == (40, 30), "a marker that stands alone has no length"
    assert jpeg.size(jpeg.SIGNATURE + frame[:9]) == (40, 30)
    assert jpeg.size(jpeg.SIGNATURE + frame[:8]) is None
    assert jpeg.size(jpeg.SIGNATURE + scan + frame) is None


@pytest.mark.parametrize("progressive", [False, True])
def test_what_follows_a_cut_jpeg_does_not_make_it_whole(progressive: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), "JPEG", progressive=progressive)
    cut = data[: data.index(b"\xff\xda") + 1000] + b"\xff\xd9"
    with pytest.raises(ImageError, match="its data end before its pixels do"):
        images.decode(cut + trailer(3))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_reduced_as_far_as_asked(orientation: int) -> None:
    large = np.asarray(Image.fromarray(PICTURE).resize((400, 300)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(turned(large, orientation)), "JPEG", quality=95, exif=exif.tobytes())
    for at_least, shape in {
        30_001: (300, 400),
        30_000: (150, 200),
        7_500: (75, 100),
        1: (38, 50),
    }.items():
        found = images.decode_reduced(data, at_least=at_least)
        assert found.pixels.shape == (*shape, 3)
        assert (found.width, found.height) == (400, 300)
        assert close(found.pixels, np.asarray(Image.fromarray(large).resize(shape[::-1])), within=4)


def test_other_formats_are_decoded_whole() -> None:
    found = images.decode_reduced(encode(Image.fromarray(PICTURE), "PNG"), at_least=1)
    assert np.array_equal(found.pixels, PICTURE)


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(ImageError, match="has floating-point pixels"):
        images.decode(encode(Image.fromarray(np.zeros((16, 16), np.float32)), "TIFF"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"hello, I am a text file\n" * 9, "text"),
        (b"<!doctype html><html>", "text"),
        (b"\x00\x01\x02\x03" * 20, "unknown kind"),
        (b"\xff\xd8\xff", "damaged or cut short: its header"),
        (encode(Image.fromarray(PICTURE), "AVIF")[:60], "damaged or cut short"),
        (encode(Image.fromarray(PICTURE), "TIFF", compression="tiff_lzw")[:60], "damaged or cut short"),
        (encode(Image.fromarray(PICTURE), "JPEG")[:-40], "cut short"),
        (encode(Image.fromarray(PICTURE), "PNG")[:-40], "cut short"),
        (encode(Image.new("RGB", (1, 1)), "PNG"), "1×1 pixels"),
        (encode(Image.new("RGB", (500, 3)), "JPEG"), "500×3 pixels"),
        (encode(Image.new("1", (65_501, 8)), "PNG"), "at most 65,500 a side"),
    ],
)
def test_what_is_no_usable_picture(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words) as error:
        images.decode(data, source="some/where.jpg")
    assert "some/where.jpg" in str(error.value)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = encode(Image.new("1", (12_001, 10_000)), "PNG")
    assert len(bomb) < 200_000
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="at most 120,000,000 pixels"):
        images.decode(bomb)


def test_a_bomb_beyond_pillows_own_limit() -> None:
    header = encode(Image.new("1", (16, 16)), "BMP")
    bomb = header[:18] + (60_000).to_bytes(4, "little") * 2 + header[26:]
    with pytest.raises(ImageError, match="larger than 120,000,000"):
        images.decode(bomb)
    with pytest.raises(ImageError, match="larger than 50,000,000"):
        images.decode(bomb, max_pixels=50_000_000)


def test_pictures_that_pillow_warns_of_are_decoded_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.fromarray(PICTURE), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert images.decode(data).shape == (30, 40, 3)


def test_one_thread_at_a_time_changes_what_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters belong to all threads: of two at once, one would put back what the other had set."""
    held = []
    monkeypatch.setattr(warnings, "simplefilter", lambda *_: held.append(images._warnings_lock.locked()))
    images.decode(encode(Image.fromarray(PICTURE), "PNG"))
    assert held
    assert all(held)


def test_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    path = tmp_path / "large.jpg"
    path.write_bytes(b"x" * 101)
    for call in (lambda: images.load(path), lambda: images.decode(b"x" * 101)):
        with pytest.raises(ImageError, match="101 bytes"):
            call()


def test_what_is_as_large_as_may_be_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.fromarray(PICTURE), "PNG")
    monkeypatch.setattr(images, "MAX_BYTES", len(data))
    monkeypatch.setattr(images, "MAX_SIDE", 40)
    assert np.array_equal(images.decode(data, max_pixels=30 * 40), PICTURE)
    with pytest.raises(ImageError, match="at most 1,199 pixels"):
        images.decode(data, max_pixels=30 * 40 - 1)


def test_a_member_of_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("in/side.png", encode(Image.fromarray(PICTURE), "PNG"))
        packed.writestr("empty.png", b"")
    location = f"{tmp_path}/a.zip!in/side.png"
    assert np.array_equal(images.load(location), PICTURE)
    assert images.probe(location) == (40, 30)
    with pytest.raises(ImageError, match="0 bytes"):
        images.load(f"{tmp_path}/a.zip!empty.png")
    with pytest.raises(ImageError, match="no member"):
        images.load(f"{tmp_path}/a.zip!other.png")
    with pytest.raises(ImageError, match="no member"):
        images.probe(f"{tmp_path}/a.zip!other.png")


def test_a_member_that_says_it_is_too_large_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("bomb.png", bytes(101))
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    monkeypatch.setattr(archive.Archive, "read", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(ImageError, match="101 bytes"):
        images.load(f"{tmp_path}/a.zip!bomb.png")


def test_a_file_whose_name_looks_like_a_member(tmp_path: Path) -> None:
    path = tmp_path / "a.zip!b.png"
    path.write_bytes(encode(Image.fromarray(PICTURE), "PNG"))
    assert np.array_equal(images.load(path), PICTURE)
    assert images.probe(path) == (40, 30)


@pytest.mark.parametrize("call", [images.load, images.probe])
def test_what_is_no_file(call: object, tmp_path: Path) -> None:
    assert callable(call)
    os.mkfifo(tmp_path / "pipe")
    for name, words in {
        "gone.jpg": "No such file",
        ".": "not a file",
        "pipe": "not a file",
        "a\0b": "cannot be",
    }.items():
        with pytest.raises(ImageError, match=words):
            call(f"{tmp_path}/{name}")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_probe_agrees_with_decoding(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encode(Image.fromarray(PICTURE), kind))
    assert images.probe(path) == (40, 30)


def test_a_tiff_is_as_large_as_any_other_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    found = images.decode(encode(Image.fromarray(PICTURE), "TIFF", compression="tiff_lzw"))
    assert np.array_equal(found, PICTURE)


def test_too_little_memory_for_a_file_is_an_error_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> int:
        raise MemoryError

    monkeypatch.setattr(images, "_check_file", refuse)
    with pytest.raises(ImageError, match="not enough memory for"):
        images.read_bytes(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_probe_gives_the_size_of_the_upright_picture(tmp_path: Path, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "picture"
    path.write_bytes(encode(Image.fromarray(PICTURE), kind, exif=exif))
    assert images.probe(path) == (30, 40)
    assert images.load(path).shape == (40, 30, 3)


@pytest.mark.parametrize("progressive", [False, True])
def test_probe_reads_only_the_ends_of_a_jpeg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, progressive: bool
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 130, 3), dtype=np.uint8)
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(Image.fromarray(noise), "JPEG", progressive=progressive, comment=b"c" * 99))
    monkeypatch.setattr(images, "load", lambda *_: pytest.fail("decoded"))
    assert images.probe(path) == (130, 120)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.write(path, "a.jpg")
    assert images.probe(f"{tmp_path}/a.zip!a.jpg") == (130, 120)


def test_probe_decodes_what_its_ends_leave_open(tmp_path: Path) -> None:
    whole = encode(Image.fromarray(PICTURE), "JPEG")
    path = tmp_path / "a.jpg"
    path.write_bytes(whole + b"trailing bytes do no harm")
    assert images.probe(path) == (40, 30)
    for data in (b"", whole[:-30], whole[:3], b"text", whole[:2] + b"\xff\xd9"):
        path.write_bytes(data)
        with pytest.raises(ImageError):
            images.probe(path)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(images.FORMATS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), max_size=4),
    keep=st.floats(0.02, 1),
)
def test_damage_is_an_image_error_or_a_picture(kind: str, edits: list[tuple[float, bytes]], keep: float) -> None:
    data = bytearray(encode(Image.fromarray(PICTURE), kind))
    for where, change in edits:
        position = int(where * (len(data) - 1))
        data[position : position + len(change)] = change
    damaged = bytes(data[: int(len(data) * keep)])
    try:
        found = images.decode(damaged)
    except ImageError:
        return
    assert found.dtype == np.uint8
    assert found.ndim == 3
    assert found.shape[2] == 3


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_image_error(data: bytes) -> None:
    for start in (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x10\0\0\0WEBP", b"BM", b"II*\0"):
        with pytest.raises(ImageError):
            images.decode(start + data)
    jpeg.size(jpeg.SIGNATURE + data)
    jpeg.scans(jpeg.SIGNATURE + data)


def test_only_the_formats_that_are_read_are_loaded() -> None:
    """Loading all of Pillow's formats takes as long as importing it."""
    code = (
        "import sys; from perceived import images; print(*images._formats());"
        "print(*(name for name in sys.modules if name.endswith('ImagePlugin')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    formats, plugins = (line.split() for line in done.stdout.splitlines())
    Image.init()
    assert formats == [name for name in images.FORMATS if name in Image.OPEN]
    assert len(plugins) < 12
