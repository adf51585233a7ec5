"""Pictures of the same people: what they tell less, in intervals and tests."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from perceived import groups, repeats
from perceived.gaps import measure
from perceived.repeats import People


def test_who_is_not_known_is_somebody_of_their_own() -> None:
    table = pl.DataFrame({"identity": [3, None, 3, 1, None]})
    people = People.of(table)
    assert (people.count, people.come_back) == (4, True)
    assert not People.of(table.drop("identity")).come_back
    numbers = pl.DataFrame({"identity": [1.0, float("nan"), float("nan"), None, 1.0]})
    assert People.of(numbers).codes.tolist() == [0, 1, 2, 3, 0]
    written = pl.DataFrame({"identity": ["ann", "", " ann", " ", None, "bo"]})
    assert People.of(written).codes.tolist() == [0, 2, 0, 3, 4, 1], "what is blank in a file is nobody's name"


def test_each_rate_has_the_effect_of_its_own_answers() -> None:
    random = np.random.default_rng(0)
    person, label = np.repeat(np.arange(100), 10), np.tile([0, 1], 500).astype(np.int32)
    answer = np.where(random.random(1000) < 0.2, 2, np.where(random.random(100)[person] < 0.5, 1, 0))
    answer[(random.random(100) < 0.3)[person]] = 3
    people, everyone = People(person), groups.Grouping(("all",), (("all",),), np.zeros(1000, np.int32))
    found = groups.effects(people, everyone, groups.correlations(people, label, answer.astype(np.int32)))
    assert found["missed"] == pytest.approx(10)
    assert found["selection"] > 5
    assert found["abstention"] < 2.5


def test_pictures_that_are_always_alike_are_one() -> None:
    people = People(np.repeat(np.arange(50), 4))
    always = np.repeat(np.arange(50) % 2, 4).astype(float)
    assert people.correlation(always, np.arange(200)) == pytest.approx(1)
    assert people.others(np.zeros(200, np.int32), 1).tolist() == [3]
    scattered = np.random.default_rng(0).permutation(always)
    assert people.correlation(scattered, np.arange(200)) < 0.1
    assert people.correlation(np.ones(200), np.arange(200)) == 1, "nothing tells how alike they would be"


def test_people_of_several_sizes_count_by_their_pictures() -> None:
    people = People(np.array([0, 0, 0, 1, 2, 2]))
    assert people.others(np.array([0, 0, 0, 0, 1, 1]), 3).tolist() == [pytest.approx(1.5), 1, 0]


def test_only_rows_of_a_rate_count_for_it() -> None:
    """Women are on one picture each, men on ten: what tells little of men tells as much as it ever did of women."""
    person = np.concatenate([np.arange(200), np.repeat(np.arange(200, 240), 10)])
    label = np.repeat([0, 1], [200, 400]).astype(np.int32)
    right = np.random.default_rng(0).random(240)[person] < 0.8
    answer = np.where(right, label, 1 - label).astype(np.int32)
    everyone = groups.Grouping(("all",), (("all",),), np.zeros(600, np.int32))
    people = People(person)
    found = groups.effects(people, everyone, groups.correlations(people, label, answer))
    assert found["recall/female"] == pytest.approx(1)
    assert found["recall/male"] == pytest.approx(10)


def test_many_groups_of_many_people_are_counted_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    people, group = People(random.integers(0, 50, 400)), random.integers(0, 7, 400)
    quick = people.others(group, 9)
    monkeypatch.setattr(repeats, "MOST_CELLS", 0)
    assert people.others(group, 9).tolist() == pytest.approx(quick.tolist())


@pytest.mark.parametrize(("each", "least", "most"), [(20, 0.02, 0.12), (5, 0.2, 0.5)])
def test_equal_groups_of_people_who_come_back_are_not_found_to_differ(each: int, least: float, most: float) -> None:
    """Five groups, read alike; a person's pictures are read much alike. Taken for independent, 3 or 4 in 10 differ."""
    random, runs = np.random.default_rng(each), 60
    shape = (9.5, 0.5) if each == 20 else (1.9, 0.1)
    found, naive, covered = 0, 0, 0.0
    for run in range(runs):
        person = np.repeat(np.arange(2000 // each), each)
        group, sex = (random.integers(0, many, 2000 // each)[person].astype(np.int32) for many in (5, 2))
        right = random.random(2000) < random.beta(*shape, 2000 // each)[person]
        answer = np.where(right, sex, 1 - sex).astype(np.int32)
        grouping = groups.Grouping(("race",), tuple((str(i),) for i in range(5)), group)
        people, counts = People(person), groups.tabulate(grouping, sex, answer)
        alike = groups.correlations(people, sex, answer)
        assert run or least < alike["accuracy"][1] < most
        effects = groups.effects(people, grouping, alike)
        gaps = [measure(grouping, counts, small=30, permutations=199, effects=e) for e in (effects, {})]
        found += gaps[0]["accuracy_gap"]["p"] <= 0.05
        naive += gaps[1]["accuracy_gap"]["p"] <= 0.05
        rows = groups.describe(grouping, counts, small=30, effects=effects)
        covered += np.mean([row["accuracy"]["low"] <= 0.95 <= row["accuracy"]["high"] for row in rows])
    assert found / runs <= 0.12
    assert naive / runs >= 0.2, "this test would see nothing"
    assert covered / runs >= 0.9


def test_people_whose_pictures_are_read_unlike_count_no_more_than_strangers() -> None:
    people = People(np.repeat(np.arange(50), 2))
    assert people.correlation(np.tile([1.0, 0.0], 50)) == 0, "not below"
