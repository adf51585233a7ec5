"""Laws of weights and of the draws they lead to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from perceived.data import sampling, split, table
from perceived.errors import ConfigError
from perceived.workspace import Workspace

BY = ("source", "label", "race")
rows = st.lists(st.tuples(*(st.sampled_from(["a", "b", None]) for _ in BY)), min_size=1, max_size=50)


def frame(found: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(found, schema=dict.fromkeys(BY, pl.String), orient="row")


@settings(deadline=None, max_examples=60)
@given(rows)
def test_each_level_is_shared_equally(found: list[tuple[Any, ...]]) -> None:
    weighed = frame(found).with_columns(sampling.weights(frame(found), BY))
    assert weighed["weight"].mean() == pytest.approx(1)
    for level in range(len(BY)):
        inner = weighed.group_by(BY[: level + 1]).agg(pl.col("weight").sum())
        outer = inner.group_by(BY[:level]) if level else [((), inner)]
        for _, siblings in outer:
            np.testing.assert_allclose(siblings["weight"], siblings["weight"].mean())


def test_a_source_without_races_keeps_its_share() -> None:
    found = [("celeba", "f", None)] * 6 + [("fairface", "f", "x")] * 1 + [("fairface", "f", "y")] * 3
    weighed = sampling.weights(frame(found), BY).to_list()
    np.testing.assert_allclose(weighed, [10 / 2 / 6] * 6 + [10 / 4] + [10 / 4 / 3] * 3)


def test_something_else_than_a_group_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no group 'colour'[\s\S]*label, source, race"):
        sampling.weights(frame([("a", "b", "c")]), ["source", "colour"])


def test_a_group_is_boosted() -> None:
    found = frame([("one", "f", "x"), ("one", "f", "y"), ("two", "m", None), ("two", "f", "x")])
    boosted = sampling.boosted(found, pl.Series([1.0, 2.0, 0.5, 0.5]), {"race=x": 3, "source=two": 2})
    raw = np.array([3, 2, 1, 3])
    np.testing.assert_allclose(boosted, raw / raw.mean())


def test_without_a_boost_weights_stay_the_same_to_the_bit() -> None:
    found = frame([("one", "f", "x")] * 3 + [("two", "m", "y")] * 7)
    weighed = sampling.weights(found, ["source"])
    assert weighed.mean() != 1, "rounding leaves a little to divide by"
    assert sampling.boosted(found, weighed, {}).equals(weighed)


@pytest.mark.parametrize(
    ("boost", "said"),
    [
        ({"colour=x": 2}, r"no group 'colour=x'[\s\S]*label, source, race"),
        ({"race=z": 2}, r"race is 'z'[\s\S]*one of x, y"),
        ({"race": 2}, r"no group 'race'[\s\S]*COLUMN=VALUE"),
        ({"race=x": 0}, "0 times as often"),
        ({"race=x": float("nan")}, "nan times as often"),
    ],
)
def test_a_boost_that_makes_no_sense_is_refused(boost: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        sampling.check_boost(frame([("a", "b", "x"), ("a", "b", "y"), ("a", "b", None)]), boost)


shares = hnp.arrays(float, st.integers(1, 60), elements=st.floats(0.05, 8))


@settings(deadline=None, max_examples=60)
@given(shares, st.integers(0, 99))
def test_rows_come_as_often_as_their_weights_say(shares: np.ndarray, epoch: int) -> None:
    drawn = sampling.draw(shares, seed=1, epoch=epoch)
    assert len(drawn) == len(shares)
    times = np.bincount(drawn, minlength=len(shares))
    assert (np.abs(times - shares / shares.mean()) < 1 + 1e-9).all()
    np.testing.assert_array_equal(drawn, sampling.draw(shares, seed=1, epoch=epoch))


def test_equal_weights_give_a_new_permutation_each_epoch() -> None:
    first, second = (sampling.draw(np.ones(500), seed=0, epoch=epoch) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(500))
    assert (first != second).any()


def test_a_picture_that_comes_several_times_does_not_come_at_once() -> None:
    drawn = sampling.draw(np.repeat([3.0, 0.5], [100, 400]), seed=0, epoch=0)
    assert (drawn[1:] == drawn[:-1]).mean() < 0.02


def test_over_many_epochs_the_share_is_exact() -> None:
    shares = np.array([0.2, 0.5, 1.0, 2.3])
    times = sum(np.bincount(sampling.draw(shares, seed=3, epoch=epoch), minlength=4) for epoch in range(2000))
    np.testing.assert_allclose(times / 2000, shares, atol=0.05)


def test_a_split_carries_the_weights_of_each_side(faces: Any, tmp_path: Path) -> None:
    table.prepare(faces.write(tmp_path), tmp_path / "work")
    made = split.make(tmp_path / "work", everything=True, weigh_by=("source", "label"))
    assert Workspace(tmp_path / "work").read_split().equals(made)
    sums = made.group_by("split", "label").agg(pl.col("weight").sum())
    np.testing.assert_allclose(sums["weight"], 4)
    assert json.loads((tmp_path / "work" / "split.json").read_text())["weigh_by"] == ["source", "label"]
    boosted = split.make(tmp_path / "work", everything=True, boost={"label=female": 3})
    sums = boosted.filter(split="train").group_by("label").agg(pl.col("weight").sum())
    assert dict(sums.iter_rows()) == pytest.approx({"female": 6, "male": 2})
    assert json.loads((tmp_path / "work" / "split.json").read_text())["boost"] == {"label=female": 3}
    assert "weight" not in split.make(tmp_path / "work", everything=True).columns
