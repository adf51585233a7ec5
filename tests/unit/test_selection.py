"""Which faces are answered: of several, the one that a picture is of."""

from __future__ import annotations

import pytest

from perceived.selection import Selection, main_face
from perceived.types import Box, Face


def square(x: float, y: float, side: float) -> Face:
    """A face around a point."""
    return Face(box=Box(x0=x - side / 2, y0=y - side / 2, x1=x + side / 2, y1=y + side / 2))


def test_the_main_face_is_rather_in_the_middle_than_a_little_larger():
    middle, aside = square(150, 100, 30), square(20, 20, 36)
    assert main_face([aside, middle], 300, 200) is middle
    assert main_face([aside, square(150, 100, 10)], 300, 200) is aside
    assert Selection(main_face=True).of([aside, middle], 300, 200) == [middle]


@pytest.mark.parametrize("corner", [(0, 0), (300, 0), (0, 200), (300, 200)])
def test_a_face_in_a_corner_counts_half(corner):
    aside = square(*corner, 20)  # 400 square pixels
    assert main_face([aside, square(150, 100, 14)], 300, 200) is aside
    assert main_face([aside, middle := square(150, 100, 14.5)], 300, 200) is middle


def test_faces_as_far_from_the_middle_on_any_side_count_alike():
    """The middle is the picture's, which may be wider than high."""
    for x, y in ((100, 100), (200, 100), (150, 50), (150, 150)):
        face = square(x, y, 30)
        assert main_face([square(150, 100, 25), face], 300, 200) is face
        assert main_face([square(150, 100, 28.5), face], 300, 200) is not face
