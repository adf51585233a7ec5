"""Framing: a face comes to lie where the template says, whatever its size, turn and place in the picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from perceived.errors import ConfigError
from perceived.preprocess import (
    ALIGNMENTS,
    FACE_BOX,
    INTERPOLATIONS,
    Preprocessing,
    center_box,
    frame,
    frame_corners,
    similarity,
)
from perceived.types import Box, Face

SIDE = 64
FRAMING = Preprocessing(height=SIDE, width=SIDE, mean=(0, 0, 0), std=(1, 1, 1), alignment="five-point")
TEMPLATE = np.array(ALIGNMENTS["five-point"])


def draw_face(points: np.ndarray, size: tuple[int, int], radius: float) -> np.ndarray:
    """Return a black picture ``(h, w, 3)`` with a soft white dot at each of the points."""
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    dots = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * radius**2)) for px, py in points]
    return np.repeat((255 * np.max(dots, axis=0)).astype(np.uint8)[:, :, None], 3, axis=2)


def around(points: np.ndarray) -> Face:
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return Face(box=Box(x0=x0, y0=y0, x1=x1, y1=y1), landmarks=tuple(map(tuple, points.tolist())))


def brightest(pixels: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return the centre of brightness within five pixels of a point."""
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]] + 0.5
    weight = pixels[..., 0].astype(float) * (np.hypot(x - near[0], y - near[1]) < 5)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@given(
    turn=st.floats(-3.1, 3.1), scale=st.floats(0.01, 100), shift=st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
)
def test_a_similarity_is_recovered_exactly(turn, scale, shift):
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    found = similarity(TEMPLATE, TEMPLATE @ matrix.T + shift)
    np.testing.assert_allclose(found, np.column_stack([matrix, shift]), atol=1e-6 * max(1, scale))


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 0), (0.6, 20), (1.7, -35), (4.0, 10), (9.3, 170)])
def test_landmarks_come_to_lie_on_the_template(scale, degrees):
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([40.0, 45.0]) * max(1, scale)
    points = (TEMPLATE - 0.5) * SIDE * scale @ turn.T + middle
    size = (int(90 * max(1, scale)), int(80 * max(1, scale)))
    framed = frame(draw_face(points, size, 1.5 * scale), FRAMING, around(points))
    assert framed.shape == (SIDE, SIDE, 3)
    assert framed.dtype == np.uint8
    for point in TEMPLATE * SIDE:
        assert np.hypot(*(brightest(framed, point) - point)) < 0.35


def test_corners_of_an_aligned_face_are_those_of_what_is_framed():
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    face = around((TEMPLATE - 0.5) * 100 @ turn.T + 150)
    corners = frame_corners(np.zeros((300, 300, 3), np.uint8), FRAMING, face)
    for corner, place in zip(corners, ((0, 0), (0, -1), (-1, 0)), strict=True):
        framed = frame(draw_face(corner[None], (300, 300), 6), FRAMING, face)[..., 0]
        assert framed[place] == framed.max() > 200


def test_a_margin_leaves_room_on_every_side():
    points = (TEMPLATE - 0.5) * 100 + 100
    image = draw_face(points, (200, 200), 3)
    framing = Preprocessing(height=SIDE, width=SIDE, mean=(0, 0, 0), std=(1, 1, 1), alignment="five-point", margin=0.25)
    framed = frame(image, framing, around(points))
    for point in ((TEMPLATE - 0.5) / 1.5 + 0.5) * SIDE:
        assert np.hypot(*(brightest(framed, point) - point)) < 0.35


def test_a_face_without_landmarks_is_cut_around_its_box():
    (left, top), (right, bottom) = np.array(FACE_BOX) * 128 + 64
    image = np.zeros((256, 256, 3), np.uint8)
    image[round(top) : round(bottom), round(left) : round(right)] = 255
    framed = frame(image, FRAMING, Face(box=Box(x0=left, y0=top, x1=right, y1=bottom)))
    columns = np.flatnonzero(framed[SIDE // 2, :, 0] > 127)
    assert abs(columns[0] - FACE_BOX[0][0] * SIDE) <= 1
    assert abs(columns[-1] + 1 - FACE_BOX[1][0] * SIDE) <= 1


def test_a_box_of_another_shape_is_framed_whole():
    """A box twice as wide as it is high fills the width."""
    image = np.zeros((256, 256, 3), np.uint8)
    image[100:150, 64:164] = 255
    framed = frame(image, FRAMING, Face(box=Box(x0=64, y0=100, x1=164, y1=150)))
    columns = np.flatnonzero(framed[round((FACE_BOX[0][1] + FACE_BOX[1][1]) / 2 * SIDE), :, 0] > 127)
    assert abs(columns[0] - FACE_BOX[0][0] * SIDE) <= 1
    assert abs(columns[-1] + 1 - FACE_BOX[1][0] * SIDE) <= 1


def test_a_face_beyond_the_border_mirrors_the_picture():
    image = np.full((50, 50, 3), 90, np.uint8)
    points = (TEMPLATE - 0.5) * 60
    assert (frame(image, FRAMING, around(points)) == 90).all()
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    framed = frame(image, FRAMING, around(TEMPLATE * SIDE - (10, 0))).astype(int)
    assert np.abs(framed[:, 10:] - image[:, :-10]).max() <= 2
    assert np.abs(framed[:, :10] - image[:, 9::-1]).max() <= 2, "the first column stands twice"


def test_what_is_framed_at_an_edge_is_mixed_with_what_lies_beyond_it():
    """As where the whole picture is sampled, and not only the part of it that the frame covers."""
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    face = around(TEMPLATE * SIDE + (60.5, 70.5))
    mixed = image.astype(float)
    mixed = (mixed[:-1, :-1] + mixed[1:, :-1] + mixed[:-1, 1:] + mixed[1:, 1:]) / 4
    assert np.abs(frame(image, FRAMING, face) - mixed[70 : 70 + SIDE, 60 : 60 + SIDE]).max() <= 2


def test_a_model_without_alignment_takes_the_picture_whole():
    image = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    plain = Preprocessing(height=SIDE, width=SIDE, mean=(0, 0, 0), std=(1, 1, 1))
    assert frame(image, plain, around(TEMPLATE * 20)) is image
    assert frame(image, FRAMING) is image


def test_a_picture_that_fits_is_left_as_it_is_and_one_on_its_side_is_not():
    framing = Preprocessing(height=32, width=24, mean=(0, 0, 0), std=(1, 1, 1))
    upright = np.zeros((32, 24, 3), np.uint8)
    assert frame(upright, framing) is upright
    assert frame(np.zeros((24, 32, 3), np.uint8), framing).shape == (32, 24, 3)


@given(width=st.integers(1, 5000), height=st.integers(1, 5000), aspect=st.floats(0.1, 10))
def test_the_central_box_has_the_shape_and_touches_two_sides(width, height, aspect):
    x0, y0, x1, y1 = center_box(width, height, aspect)
    assert (x1 - x0) / (y1 - y0) == pytest.approx(aspect)
    assert x0 == pytest.approx(width - x1)
    assert y0 == pytest.approx(height - y1)
    assert x1 - x0 == pytest.approx(width) or y1 - y0 == pytest.approx(height)


def test_unknown_framing_asks_for_a_newer_version():
    with pytest.raises(ConfigError, match="unknown to this version"):
        Preprocessing(height=8, width=8, mean=(0, 0, 0), std=(1, 1, 1), alignment="by-horoscope")
    for margin in (-0.5, math.nan, math.inf):
        with pytest.raises(ConfigError, match="frames no face"):
            Preprocessing(height=8, width=8, mean=(0, 0, 0), std=(1, 1, 1), margin=margin)


def test_a_large_face_is_averaged_down_so_that_fine_patterns_turn_grey():
    board = np.indices((220, 220)).sum(axis=0) % 2 * 255
    image = np.repeat(board.astype(np.uint8)[:, :, None], 3, axis=2)
    framed = frame(image, FRAMING, around((TEMPLATE - 0.5) * SIDE * 3 + 110))
    assert np.abs(framed.astype(int) - 127).max() < 40


def test_a_picture_is_resized_by_the_interpolation_that_the_model_names():
    image = np.random.default_rng(0).integers(0, 2, (50, 40, 3), dtype=np.uint8) * 200 + 20
    framed = {
        name: frame(image, Preprocessing(height=32, width=24, mean=(0, 0, 0), std=(1, 1, 1), interpolation=name))
        for name in INTERPOLATIONS
    }
    assert len({pixels.tobytes() for pixels in framed.values()}) == len(INTERPOLATIONS) == 4
    assert set(np.unique(framed["nearest"])) == {20, 220}


@pytest.mark.parametrize(("height", "width"), [(96, 64), (64, 96)])
def test_a_framing_that_is_not_square_has_the_template_as_large_as_its_longer_side(height, width):
    points = (TEMPLATE - 0.5) * 100 + 100
    framing = Preprocessing(height=height, width=width, mean=(0, 0, 0), std=(1, 1, 1), alignment="five-point")
    framed = frame(draw_face(points, (200, 200), 2), framing, around(points))
    assert framed.shape == (height, width, 3)
    for point in (TEMPLATE - 0.5) * 96 + np.array([width, height]) / 2:
        assert np.hypot(*(brightest(framed, point) - point)) < 0.35
