"""Corruptions: laws that hold for any picture, and that each does what its name says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from perceived import corruptions
from perceived.corruptions import KINDS, SEVERITIES
from perceived.errors import ConfigError
from perceived.preprocess import Pixels

pictures = hnp.arrays(np.uint8, st.tuples(st.integers(8, 40), st.integers(8, 40), st.just(3)))


@pytest.fixture(scope="module")
def face() -> Pixels:
    """A smooth picture with edges, 96 × 80 pixels, of middle brightness."""
    y, x = np.mgrid[:96, :80]
    waves = 128 + 60 * np.sin(x / 9) * np.cos(y / 11) + 40 * ((x - 40) ** 2 + (y - 48) ** 2 < 600)
    return np.stack([waves, waves * 0.9, 255 - waves], axis=2).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(picture=pictures, severity=st.sampled_from(SEVERITIES), seed=st.integers(0, 99))
def test_a_picture_stays_a_picture(kind: str, picture: Pixels, severity: int, seed: int) -> None:
    before = picture.copy()
    spoilt = corruptions.corrupt(picture, kind, severity, seed=seed)
    assert spoilt.shape == picture.shape
    assert spoilt.dtype == np.uint8
    assert spoilt.flags.c_contiguous
    assert (picture == before).all(), "the original is left as it was"
    assert (spoilt == corruptions.corrupt(picture, kind, severity, seed=seed)).all(), "the same seed, the same picture"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "rotate"])
def test_more_severe_is_further_from_the_original(kind: str, face: Pixels) -> None:
    far = [np.abs(corruptions.corrupt(face, kind, s).astype(int) - face).mean() for s in SEVERITIES]
    assert far[0] > 0
    assert far[4] > far[2] > far[0] * 0.9
    assert far[4] > far[0]


def test_rotation_turns_further_with_severity(face: Pixels) -> None:
    """A mark right of the middle goes round it, to either side: a quarter turn at severity 5."""
    marked = np.zeros((81, 81, 3), np.uint8)
    marked[38:43, 58:63] = 255
    angles = []
    for severity in SEVERITIES:
        y, x = np.argwhere(corruptions.corrupt(marked, "rotate", severity)[:, :, 0] > 127).mean(axis=0) - 40
        angles.append(abs(np.degrees(np.arctan2(y, x))))
    assert angles == pytest.approx([10, 20, 35, 55, 90], abs=2)


@pytest.mark.parametrize("kind", ["blur", "motion", "contrast", "pixelate", "small", "rotate"])
def test_a_picture_of_one_colour_stays_so(kind: str) -> None:
    grey = np.full((40, 30, 3), 90, np.uint8)
    assert np.abs(corruptions.corrupt(grey, kind, 5).astype(int) - 90).max() <= 1


def test_each_does_what_its_name_says(face: Pixels) -> None:
    spoilt = {kind: corruptions.corrupt(face, kind, 4).astype(float) for kind in KINDS}
    sharpness = {kind: np.abs(np.diff(picture, axis=1)).mean() for kind, picture in spoilt.items()}
    assert (
        max(sharpness["blur"], sharpness["motion"], sharpness["small"])
        < np.abs(np.diff(face.astype(float), axis=1)).mean()
    )
    assert spoilt["bright"].mean() > face.mean() > spoilt["dark"].mean()
    assert spoilt["contrast"].std() < face.std() / 2
    assert len(np.unique(spoilt["pixelate"].reshape(-1, 3), axis=0)) <= 14 * 17
    assert np.mean((spoilt["occlude"] == 127).all(axis=2)) == pytest.approx(0.3, abs=0.03)
    changed = (spoilt["mask"] != face).any(axis=2)
    assert not changed[:50].any(), "a mask leaves the eyes"
    assert changed[60:].mean() > 0.3
    assert sharpness["noise"] > 20


def test_pictures_of_one_batch_are_spoilt_each_in_its_own_way(face: Pixels) -> None:
    assert (corruptions.corrupt(face, "noise", 2, index=0) != corruptions.corrupt(face, "noise", 2, index=1)).any()
    assert (corruptions.corrupt(face, "noise", 2, seed=0) != corruptions.corrupt(face, "noise", 2, seed=1)).any()


def test_what_is_unknown_is_refused(face: Pixels) -> None:
    with pytest.raises(ConfigError, match="no corruption 'rain'"):
        corruptions.corrupt(face, "rain", 1)
    with pytest.raises(ConfigError, match="severity of 6"):
        corruptions.corrupt(face, "blur", 6)
