from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from perceived import recipes
from perceived.data import augment, preview, warp
from perceived.data.augment import STRONG, Augmentation, Variation
from perceived.data.degrade import UNSPOILT, Degradation
from perceived.detector import YuNet, largest_face
from perceived.errors import ConfigError, ImageError
from perceived.preprocess import Pixels, frame

CPU = torch.device("cpu")
STILL = Augmentation(mirror=0.0)


def blobs(count: int = 3, height: int = 48, width: int = 36) -> np.ndarray:
    """Smooth pictures, so that two ways of sampling them may be compared."""
    coarse = np.random.default_rng(0).integers(40, 216, (count, 6, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC)) for c in coarse])


def test_nothing_drawn_changes_nothing() -> None:
    pixels = blobs()
    variation = augment.draw(STILL, range(3), seed=0, epoch=0)
    same = warp.apply(pixels, variation, (48, 36), CPU)
    np.testing.assert_allclose(same.permute(0, 2, 3, 1).numpy(), pixels, atol=1)


def test_mirror_is_exact() -> None:
    pixels = blobs()
    variation = augment.draw(Augmentation(mirror=1.0), range(3), seed=0, epoch=0)
    mirrored = warp.apply(pixels, variation, (48, 36), CPU).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(mirrored, pixels[:, :, ::-1], atol=1)


def test_a_variation_depends_on_seed_epoch_and_row_alone() -> None:
    together = augment.draw(STRONG, [4, 9, 2], seed=3, epoch=5)
    alone = augment.draw(STRONG, [9], seed=3, epoch=5)
    np.testing.assert_array_equal(together.matrices[1], alone.matrices[0])
    np.testing.assert_array_equal(together.gain[1], alone.gain[0])
    for seed, epoch in ((3, 6), (4, 5), (4, 4), (2, 6)):
        assert not np.array_equal(augment.draw(STRONG, [9], seed=seed, epoch=epoch).matrices, alone.matrices)


def test_amounts_stay_within_their_ranges_and_reach_them() -> None:
    drawn = augment.draw(Augmentation(mirror=0.5, shift=0.1, zoom=0.2, light=0.3), range(2000), seed=0, epoch=0)
    scale = np.abs(drawn.matrices[:, 0, 0])
    assert 1 / 1.2 <= scale.min() < 0.85
    assert 1.18 < scale.max() <= 1.2 + 1e-6
    assert np.abs(drawn.matrices[:, :, 2]).max() == pytest.approx(0.2, abs=0.005)
    assert np.abs(drawn.offset).max() == pytest.approx(0.3 * 255, abs=1)
    assert 0.45 < (drawn.matrices[:, 0, 0] < 0).mean() < 0.55


def test_a_zoom_keeps_shapes_and_a_stretch_keeps_areas() -> None:
    zoomed = augment.draw(Augmentation(mirror=0, zoom=0.3), range(50), seed=0, epoch=0).matrices
    np.testing.assert_allclose(zoomed[:, 0, 0], zoomed[:, 1, 1], rtol=1e-5)
    stretched = augment.draw(Augmentation(mirror=0, stretch=0.3), range(50), seed=0, epoch=0).matrices
    np.testing.assert_allclose(stretched[:, 0, 0] * stretched[:, 1, 1], 1, rtol=1e-5)
    assert np.ptp(zoomed[:, 0, 0]) > 0.3
    assert np.ptp(stretched[:, 0, 0] / stretched[:, 1, 1]) > 0.3


def test_contrast_leaves_middle_grey_and_colour_is_each_channels_own() -> None:
    drawn = augment.draw(Augmentation(contrast=0.3), range(50), seed=0, epoch=0)
    np.testing.assert_allclose(drawn.gain * 127.5 + drawn.offset, 127.5, rtol=1e-5)
    assert np.ptp(drawn.gain) > 0.3
    coloured = augment.draw(Augmentation(color=0.3), range(50), seed=0, epoch=0)
    assert np.ptp(coloured.gain, axis=1).min() > 0
    assert np.abs(coloured.gain - 1).max() <= 0.3


def test_pixels_stay_within_their_scale_however_light_they_become() -> None:
    light = Variation(
        np.eye(2, 3, dtype=np.float32)[None], np.full((1, 3), 2, np.float32), np.zeros((1, 3), np.float32)
    )
    assert warp.apply(np.full((1, 8, 8, 3), 200, np.uint8), light, (8, 8), CPU).max() == 255


def test_pictures_are_averaged_as_they_are_made_small() -> None:
    board = np.repeat((np.indices((96, 72)).sum(axis=0) % 2 * 255).astype(np.uint8)[None, :, :, None], 3, axis=3)
    still = augment.draw(STILL, [0], seed=0, epoch=0)
    assert (warp.apply(board, still, (32, 24), CPU) - 127.5).abs().max() < 40


def test_a_rotation_keeps_angles_in_a_picture_that_is_not_square() -> None:
    canvas = np.zeros((1, 120, 60, 3), np.uint8)
    canvas[0, 50:71, 20:41] = 255
    angle = np.deg2rad(90)
    matrix = np.array([[[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]]], np.float32)
    turned = warp.apply(
        canvas, Variation(matrix, np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32)), (120, 60), CPU
    )
    middle = turned[0, 0, 30:90].numpy()  # above and below, the turned picture ends and its mirror image begins
    rows, columns = np.nonzero(middle > 128)
    assert abs(np.ptp(rows) - 20) <= 1
    assert abs(np.ptp(columns) - 20) <= 1


@pytest.mark.parametrize("size", [(48, 36), (24, 18)])
def test_both_ways_of_warping_agree(size: tuple[int, int]) -> None:
    pixels = blobs(8)
    matrices = augment.draw(STRONG, range(8), seed=0, epoch=0).matrices
    on_cpu = warp._warp_on_cpu(pixels, matrices, size, CPU)
    on_device = warp._warp_on_device(pixels, matrices, size, CPU)
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    assert (on_cpu - on_device).abs()[inner].mean() < 1.0
    assert (on_cpu - on_device).abs()[inner].max() < 8.0


def test_the_warp_for_the_cpu_is_quicker_there_than_grid_sample() -> None:
    pixels = blobs(64, 218, 178)  # of fewer, starting threads is what is measured
    matrices = augment.draw(STRONG, range(64), seed=0, epoch=0).matrices

    def seconds(warp: Callable[..., torch.Tensor]) -> float:
        times = []
        for _ in range(9):
            start = time.process_time()
            warp(pixels, matrices, (218, 178), CPU)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(warp._warp_on_cpu) < seconds(warp._warp_on_device)


def test_the_preview_shows_the_original_and_ten_variations(tmp_path: Path) -> None:
    source = tmp_path / "face.png"
    Image.fromarray(blobs(1, 218, 178)[0]).save(source)
    out = preview.preview(source, tmp_path / "preview.png", recipes.study())
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (2 * 218 + 6, 6 * (178 + 6) + 6, 3)
    tiles = [sheet[y : y + 218, x : x + 178] for y in (0, 224) for x in range(190, 1100, 184)]
    assert len({tile.tobytes() for tile in tiles}) == 10


def test_the_preview_shows_the_faults_that_training_sees(tmp_path: Path) -> None:
    source = tmp_path / "face.png"
    Image.fromarray(blobs(1, 218, 178)[0]).save(source)
    plain = dataclasses.replace(recipes.study(), augmentation=Augmentation())
    covered = dataclasses.replace(plain, degradation=Degradation(cover=1))
    whole, sheet = (
        np.asarray(Image.open(preview.preview(source, tmp_path / name, recipe)))
        for name, recipe in (("whole.png", plain), ("covered.png", covered))
    )
    assert np.array_equal(sheet[:, :178], whole[:, :178]), "the original is as it was"
    assert not np.array_equal(sheet[:, 184:], whole[:, 184:])


def test_the_preview_shows_the_face_that_training_sees(portraits: list[Pixels], tmp_path: Path) -> None:
    recipe = recipes.get("small", ["sizes=[[0,64,64]]", "margin=0", "degradation.cover=0"])
    still = dataclasses.replace(recipe, augmentation=Augmentation(mirror=0), degradation=UNSPOILT)
    canvas = np.zeros((436, 534, 3), np.uint8)
    canvas[100:318, 200:378] = portraits[0]
    Image.fromarray(canvas).save(tmp_path / "face.png")
    sheet = np.asarray(Image.open(preview.preview(tmp_path / "face.png", tmp_path / "p.png", still))).astype(int)
    face = frame(canvas, still.framing(), largest_face(YuNet().detect(canvas)))
    assert sheet.shape == (2 * 64 + 6, 6 * (64 + 6) + 6, 3)
    assert np.array_equal(sheet[35:99, :64], face)
    assert np.abs(sheet[:64, 76:140] - face).max() <= 1


def test_the_preview_cuts_a_picture_of_another_shape_as_training_does(tmp_path: Path) -> None:
    picture = blobs(1, 400, 400)[0]
    Image.fromarray(picture).save(tmp_path / "square.png")
    sheet = np.asarray(Image.open(preview.preview(tmp_path / "square.png", tmp_path / "p.png", recipes.fast())))
    height, width = recipes.fast().input_size
    assert sheet.shape == (2 * height + 6, 6 * (width + 6) + 6, 3)
    assert np.array_equal(sheet[(height + 6) // 2 :][:height, :width], frame(picture, recipes.fast().framing()))


def test_the_preview_of_something_else_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "face.jpg"
    text.write_text("not a picture")
    with pytest.raises(ImageError):
        preview.preview(text, tmp_path / "preview.png", recipes.study())
    assert not (tmp_path / "preview.png").exists()


def test_a_preview_takes_no_pictures_place(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "i.png")
    before = (tmp_path / "i.png").read_bytes()
    with pytest.raises(ConfigError, match="is what is read"):
        preview.preview(tmp_path / "i.png", tmp_path / "i.png", recipes.study())
    assert (tmp_path / "i.png").read_bytes() == before
