"""Faults of real pictures: each changes what it should, and the same draw gives the same pixels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from perceived.data import degrade
from perceived.data.degrade import Degradation
from perceived.errors import ConfigError

ODDS = ("shrink", "blur", "noise", "jpeg", "grey", "cover")


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Four pictures of coloured squares with sharp edges, ``(4, 48, 40, 3)``."""
    coarse = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def degraded(pictures: np.ndarray, *, seed: int = 0, epoch: int = 0, **odds: float) -> np.ndarray:
    return degrade.batch(pictures, Degradation(**odds), np.arange(len(pictures)), seed=seed, epoch=epoch)


def sharpness(pictures: np.ndarray) -> float:
    return float((np.diff(pictures.astype(float), axis=2) ** 2).mean())


def test_without_faults_the_pictures_are_the_same_object(pictures):
    assert degraded(pictures) is pictures


@pytest.mark.parametrize("fault", ODDS)
def test_each_fault_changes_every_picture_and_keeps_its_form(pictures, fault):
    before = pictures.copy()
    after = degraded(pictures, **{fault: 1.0})
    assert (after.shape, after.dtype) == (pictures.shape, np.uint8)
    assert all((one != other).any() for one, other in zip(after, pictures, strict=True))
    np.testing.assert_array_equal(pictures, before)


def test_the_faults_are_what_their_names_say(pictures):
    grey = degraded(pictures, grey=1.0)
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 1] == grey[..., 2]).all()
    for fault in ("blur", "shrink"):
        assert sharpness(degraded(pictures, **{fault: 1.0})) < 0.9 * sharpness(pictures)
    covered = degraded(pictures, cover=1.0)
    share = (covered != pictures).any(axis=3).mean()
    assert 0.02 < share < 0.2
    noise = degraded(pictures, noise=1.0).astype(float) - pictures
    assert 1 < noise.std() < degrade.Degradation().loudest
    assert abs(noise[(pictures > 60) & (pictures < 190)].mean()) < 1


def test_a_draw_belongs_to_seed_epoch_and_row(pictures):
    everything = dict.fromkeys(ODDS, 0.5)
    first = degraded(pictures, **everything)
    np.testing.assert_array_equal(first, degraded(pictures, **everything))
    assert (first != degraded(pictures, epoch=1, **everything)).any()
    assert (first != degraded(pictures, seed=1, **everything)).any()
    alone = degrade.batch(pictures[2:3], Degradation(**everything), np.array([2]), seed=0, epoch=0)
    np.testing.assert_array_equal(alone[0], first[2])


def test_the_odds_are_those_asked_for():
    picture = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8).repeat(2000, axis=0)
    changed = (degraded(picture, grey=0.3) != picture).any(axis=(1, 2, 3)).mean()
    assert changed == pytest.approx(0.3, abs=0.04)


def test_every_kind_of_fault_has_its_odds():
    names = {field.name for field in dataclasses.fields(Degradation)}
    assert names == {*ODDS, *degrade.LIMITS}


@pytest.mark.parametrize(("fault", "milder", "harder"), [
    ("shrink", {"smallest": 40}, {"smallest": 4}),
    ("noise", {"loudest": 6.0}, {"loudest": 90.0}),
    ("jpeg", {"poorest": 74}, {"poorest": 1}),
])  # fmt: skip
def test_a_fault_goes_as_far_as_asked(pictures, fault, milder, harder):
    many = pictures.repeat(50, axis=0)

    def worst(**limit: float) -> float:
        difference = degraded(many, **{fault: 1.0}, **limit).astype(float) - many
        return float((difference**2).mean(axis=(1, 2, 3)).max())

    assert worst(**harder) > 1.5 * worst(**milder)


@pytest.mark.parametrize("wrong", [{"blur": 1.1}, {"jpeg": -0.1}, {"grey": float("nan")}, {"smallest": 0}])
def test_odds_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Degradation(**wrong)
