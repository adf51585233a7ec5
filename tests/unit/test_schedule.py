from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from perceived import recipes
from perceived.recipes import Recipe
from perceived.schedule import FINAL_RATE, Schedule

counts = st.integers(min_value=2, max_value=300)
batches = st.integers(min_value=1, max_value=64)


def schedule(pictures: int = 100, **settings: object) -> Schedule:
    return Schedule(dataclasses.replace(Recipe(name="test"), **settings), pictures)


@given(pictures=counts, batch_size=batches, epoch=st.integers(0, 3))
def test_an_epoch_shows_no_picture_twice_and_leaves_out_less_than_a_batch(
    pictures: int, batch_size: int, epoch: int
) -> None:
    plan = schedule(pictures, batch_size=batch_size, epochs=4.0)
    first = epoch * plan.steps_per_epoch
    rows = np.concatenate([plan.rows(step) for step in range(first, first + plan.steps_per_epoch)])
    assert len(set(rows.tolist())) == len(rows) > pictures - plan.batch_size
    assert rows.min() >= 0
    assert rows.max() < pictures


@given(pictures=counts, batch_size=batches, processes=st.integers(1, 4), step=st.integers(0, 50))
def test_processes_share_out_exactly_the_batch_of_one_process(
    pictures: int, batch_size: int, processes: int, step: int
) -> None:
    plan = schedule(pictures, batch_size=batch_size)
    shares = [plan.rows(step, rank, processes) for rank in range(processes)]
    assert sorted(np.concatenate(shares)) == sorted(plan.rows(step))


def test_weighed_pictures_come_as_often_as_their_weights_say() -> None:
    weights = np.repeat([0.5, 1.0, 2.0], [40, 20, 10])
    plan = Schedule(Recipe(name="test", batch_size=10, epochs=20.0), 70, weights)
    shown = np.bincount(np.concatenate([plan.rows(step) for step in range(plan.steps)]), minlength=70)
    assert shown.sum() == 20 * 70
    for weight in (0.5, 1.0, 2.0):
        assert shown[weights == weight].mean() == pytest.approx(20 * weight * 70 / weights.sum(), rel=0.02)


def test_what_comes_again_in_an_epoch_has_another_number() -> None:
    plan = Schedule(Recipe(name="test", batch_size=10, epochs=1.0), 60, np.repeat([0.5, 3.0], [50, 10]))
    showings = np.concatenate([plan.showings(step) for step in range(6)])
    rows = np.concatenate([plan.rows(step) for step in range(6)])
    assert (showings % 60 == rows).all()
    assert np.bincount(rows).max() > 1
    assert len(set(showings.tolist())) == 60
    for row, times in zip(*np.unique(rows, return_counts=True), strict=True):
        assert set(showings[rows == row]) == {row + 60 * turn for turn in range(times)}


def test_epochs_are_shuffled_differently_and_the_same_by_seed() -> None:
    plan = schedule(100, batch_size=100)
    assert plan.rows(0).tolist() != plan.rows(1).tolist()
    assert plan.rows(0).tolist() == schedule(100, batch_size=100).rows(0).tolist()
    assert plan.rows(0).tolist() != schedule(100, batch_size=100, seed=1).rows(0).tolist()


def test_the_rate_rises_through_the_warm_up_and_falls_to_its_final_share() -> None:
    plan = schedule(1000, batch_size=10, epochs=1.0, warmup=0.1)
    rates = [plan.rate(step) for step in range(plan.steps + 1)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[-1] == pytest.approx(FINAL_RATE)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert schedule(1000, schedule="constant", warmup=0.0).rate(0) == 1.0


def test_validation_comes_every_so_many_image_steps_every_epoch_and_at_the_end() -> None:
    plan = schedule(1000, batch_size=30, epochs=1.0, validate_every=300)
    after = [step + 1 for step in range(plan.steps) if plan.validates_after(step)]
    assert after == [10, 20, 30, 33]
    each = schedule(100, batch_size=10, epochs=2.5)
    assert [step + 1 for step in range(each.steps) if each.validates_after(step)] == [10, 20, 25]
    few = schedule(100, batch_size=10, epochs=2.5, validate_every=12_000)
    assert [step + 1 for step in range(few.steps) if few.validates_after(step)] == [10, 20, 25]


def test_pictures_grow_as_the_recipe_says() -> None:
    plan = schedule(100, batch_size=10, epochs=1.0, sizes=((0.0, 10, 8), (0.5, 20, 16)))
    assert [plan.size(step) for step in (0, 4, 5, 9)] == [(10, 8), (10, 8), (20, 16), (20, 16)]


def test_fast_needs_at_most_a_quarter_of_the_study_s_image_steps() -> None:
    fast, study = Schedule(recipes.fast(), 20_000), Schedule(recipes.study(), 20_000)
    assert fast.steps * fast.batch_size <= study.steps * study.batch_size / 4
