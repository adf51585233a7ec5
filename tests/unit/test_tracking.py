"""Faces keep their tracks from frame to frame, and their frames vote."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from perceived.tracking import Tracker, iou
from perceived.types import Box, Face, Prediction


def seen(x: float, male: float = 0.9) -> Prediction:
    """An answer for a face of 10 × 10 pixels at ``x``."""
    return Prediction(
        face=Face(box=Box(x0=x, y0=0, x1=x + 10, y1=10)),
        perceived_gender="male" if male > 0.5 else "female",
        confidence=max(male, 1 - male),
        probability={"female": 1 - male, "male": male},
    )


def test_faces_that_move_keep_their_tracks():
    tracker = Tracker()
    for step in range(5):
        left, right = tracker.follow([seen(2 * step), seen(100 - 2 * step)], step / 10)
        assert (left.number, right.number) == (1, 2)
    right, left = tracker.follow([seen(90), seen(10)], 0.6)
    assert (left.number, right.number) == (1, 2)
    assert [track.frames for track in tracker.tracks] == [6, 6]


def test_the_pair_that_overlaps_most_goes_together():
    tracker = Tracker()
    tracker.follow([seen(0)], 0)
    near, new = tracker.follow([seen(1), seen(4)], 0.1)
    assert (near.number, new.number) == (1, 2)
    new, near = tracker.follow([seen(4), seen(1)], 0.2)
    assert (near.number, new.number) == (1, 2)


@pytest.mark.parametrize(("pause", "number"), [(0.9, 1), (1.1, 2)])
def test_a_face_may_be_out_of_sight_for_a_while(pause, number):
    tracker = Tracker()
    tracker.follow([seen(0)], 0)
    tracker.follow([], pause / 2)
    assert tracker.follow([seen(0)], pause)[0].number == number


@pytest.mark.parametrize("pause", [0.5, 1.2, 40])
def test_a_face_that_stays_is_one_however_seldom_it_is_looked_for(pause):
    tracker = Tracker()
    for look in range(6):
        (track,) = tracker.follow([seen(0)], look * pause)
    assert (track.number, track.frames, len(tracker.tracks)) == (1, 6, 1)


def test_votes_are_weighted_by_confidence():
    """Two sure frames outvote three that lean the other way."""
    tracker = Tracker()
    for time, male in enumerate([0.99, 0.4, 0.4, 0.99, 0.4]):
        (track,) = tracker.follow([seen(0, male)], time / 10)
    answer = track.answer(0.5)
    assert answer.perceived_gender == "male"
    weights = [0.99, 0.6, 0.6, 0.99, 0.6]
    expected = sum(w * m for w, m in zip(weights, [0.99, 0.4, 0.4, 0.99, 0.4], strict=True)) / sum(weights)
    assert answer.probability["male"] == pytest.approx(expected, abs=1e-6)
    assert track.answer(0.99).perceived_gender == "uncertain"
    assert track.to_dict(0.5) == {
        "track": 1,
        "first_seconds": 0.0,
        "last_seconds": 0.4,
        "frames": 5,
        "perceived_gender": "male",
        "confidence": answer.confidence,
        "probability": dict(answer.probability),
    }


SIDES = st.floats(0, 100)


@given(SIDES, SIDES, SIDES, SIDES)
def test_overlap_is_symmetric_and_a_share(x, y, width, height):
    one, other = Box(x0=x, y0=y, x1=x + width, y1=y + height), Box(x0=20, y0=30, x1=60, y1=50)
    assert iou(one, other) == iou(other, one)
    assert 0 <= iou(one, other) <= 1
    assert iou(other, other) == 1


def test_a_face_that_lies_on_two_tracks_goes_on_with_the_nearer_alone():
    tracker = Tracker()
    tracker.follow([seen(0), seen(4)], 0)
    (track,) = tracker.follow([seen(1)], 0.1)
    assert (track.number, [one.frames for one in tracker.tracks]) == (1, [2, 1])


@pytest.mark.parametrize(("shift", "number"), [(5, 1), (6, 2)])
def test_a_face_may_move_by_half_its_width_and_not_by_more(shift, number):
    tracker = Tracker()
    tracker.follow([seen(0)], 0)
    assert tracker.follow([seen(shift)], 0.1)[0].number == number


def test_a_track_says_when_it_began():
    (track,) = Tracker().follow([seen(0)], 2.5)
    assert track.to_dict(0.5)["first_seconds"] == 2.5
