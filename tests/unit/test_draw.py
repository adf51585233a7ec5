"""What is drawn of answers: where, in which colours, and large enough to be read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from perceived import draw
from perceived.crop import cut
from perceived.types import Box, Face, Prediction


def answer(x0: float, y0: float, x1: float, y1: float, *, gender: str = "female", sure: float = 0.987) -> Prediction:
    box = Box(x0=x0, y0=y0, x1=x1, y1=y1)
    return Prediction(face=Face(box=box), perceived_gender=gender, confidence=sure, probability={gender: sure})


def plain(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


@pytest.mark.parametrize("gender", ["female", "male", "uncertain"])
def test_a_box_has_its_labels_colour_and_leaves_the_face_free(gender):
    image = plain(600, 800)
    drawn = draw.annotate(image, [answer(200, 200, 300, 320, gender=gender)])
    assert drawn.shape == image.shape
    np.testing.assert_array_equal(drawn[260, 200], draw.COLOURS.get(gender, draw.OTHER))
    assert (drawn[210:310, 210:290] == 128).all()
    assert (image == 128).all()


def test_labels_can_be_told_apart_without_colour():
    luminances = [np.dot((0.2126, 0.7152, 0.0722), colour) for colour in (*draw.COLOURS.values(), draw.OTHER)]
    assert len(set(draw.COLOURS.values())) == len(draw.COLOURS)
    assert all(value > 130 for value in luminances), "black text must be readable on every plate"


@pytest.mark.parametrize(("size", "factor"), [((60, 48), 8), ((218, 178), 3), ((480, 640), 1), ((3000, 4000), 1)])
def test_small_pictures_are_enlarged_before_they_are_drawn_on(size, factor):
    drawn = draw.annotate(plain(*size), [answer(10, 20, 30, 45)])
    assert drawn.shape[:2] == (size[0] * factor, size[1] * factor)


def test_a_box_on_an_enlarged_picture_lies_where_the_face_does():
    drawn = draw.annotate(plain(60, 48), [answer(10, 20, 30, 45)])
    frame = np.argwhere((drawn == draw.COLOURS["female"]).all(axis=2) & (np.arange(384) < 100))
    assert frame[:, 1].min() == 80
    np.testing.assert_array_equal(drawn[45 * 8 - 1, 160], draw.COLOURS["female"])


@pytest.mark.parametrize(
    ("box", "corner"),
    [
        ((100, 5, 200, 590), (100, 5)),  # room neither above nor below: inside its top
        ((100, 5, 200, 580), (100, 580)),
        ((-20, 100, 60, 180), (0, 80)),
        ((760, 100, 800, 180), (720, 80)),
    ],
)
def test_a_plate_of_eighty_by_twenty_pixels_has_a_place_in_the_picture(box, corner):
    place = draw._place((800, 600), answer(*box).box, 80, 20, [])
    assert (place.x0, place.y0, place.x1, place.y1) == (*corner, corner[0] + 80, corner[1] + 20)


def test_a_plate_may_end_where_its_box_does():
    """What lies to the right, above and below, is taken."""
    box = answer(300, 300, 340, 340).box
    taken = [answer(350, top, 450, top + 20).box for top in (280, 340)]
    place = draw._place((800, 600), box, 80, 20, taken)
    assert (place.x0, place.x1) == (260, 340)


def test_a_label_leaves_its_neighbours_label_free():
    """Two narrow boxes side by side: there is room for one label above them, and for the other below."""
    left, right = answer(300, 300, 312, 314), answer(318, 300, 330, 314, gender="male")
    alone = (draw.annotate(plain(600, 800), [left]) == draw.COLOURS["female"]).all(axis=2)
    both = (draw.annotate(plain(600, 800), [left, right]) == draw.COLOURS["female"]).all(axis=2)
    np.testing.assert_array_equal(both, alone)


def test_text_is_readable_at_any_size():
    assert draw._text_height(Box(x0=0, y0=0, x1=8, y1=8), 480) >= 12
    assert draw._text_height(Box(x0=0, y0=0, x1=20, y1=20), 4000) >= 40
    assert draw._text_height(Box(x0=0, y0=0, x1=3000, y1=3000), 4000) <= 200


def test_a_label_stays_inside_the_picture():
    for box in ((0, 0, 40, 50), (760, 560, 800, 600), (-20, -20, 900, 900)):
        drawn = draw.annotate(plain(600, 800), [answer(*box)])
        plate = (drawn == draw.COLOURS["female"]).all(axis=2)
        assert plate.sum() > 12 * 60


def test_captions_never_claim_certainty():
    assert draw.caption(answer(0, 0, 1, 1, sure=0.9999)) == "female 99.9 %"
    assert draw.caption(answer(0, 0, 1, 1, sure=0.987)) == "female 98.7 %"
    assert draw.caption(answer(0, 0, 1, 1, sure=0.884)) == "female 88.4 %"


def test_lines_are_thin_around_small_faces_of_a_large_picture():
    drawn = draw.annotate(plain(2000, 3000), [answer(100, 500, 148, 560), answer(1000, 500, 1600, 1200)])
    edge = (drawn == draw.COLOURS["female"]).all(axis=2)
    assert edge[530, 90:124].sum() == 2
    assert edge[900, 990:1300].sum() == 8


def test_a_label_leaves_its_neighbours_faces_free():
    """The face above is where the label would be, so it is written below."""
    upper, lower = answer(300, 200, 400, 300), answer(320, 305, 420, 405, gender="male")
    drawn = draw.annotate(plain(600, 800), [upper, lower])
    assert (drawn[210:290, 310:390] == 128).all()
    assert (drawn[315:395, 330:410] == 128).all()


def test_the_overlay_is_warm_where_the_activation_is():
    activation = np.full((4, 4), -1, np.float32)
    activation[0, 0] = 3
    drawn = draw.overlay(plain(160, 128), activation)
    assert drawn.shape == (320, 256, 3)
    assert np.abs(drawn[5, 5].astype(int) - 128).max() > 40
    assert drawn[5, 5, 0] > drawn[5, 5, 2] + 40, "red, not blue"
    assert (drawn[-40:, -40:] == 128).all()
    assert (draw.overlay(plain(160, 128), np.full((4, 4), -1, np.float32)) == 128).all()


COORDINATES = st.floats(-500, 500)


@given(COORDINATES, COORDINATES, st.floats(0, 500), st.floats(0, 500), st.floats(0, 2))
def test_a_cut_lies_inside_the_picture_and_is_never_empty(x, y, width, height, margin):
    part = cut(plain(40, 60), Box(x0=x, y0=y, x1=x + width, y1=y + height), margin)
    assert 1 <= part.shape[0] <= 40
    assert 1 <= part.shape[1] <= 60


def test_a_cut_adds_its_margin():
    image = np.arange(60 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(60, 80, 3)
    np.testing.assert_array_equal(cut(image, Box(x0=20, y0=20, x1=40, y1=30), 0.5), image[15:35, 10:50])
