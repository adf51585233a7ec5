"""Statistics hold what they promise: intervals cover, p-values are uniform when there is nothing to find."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from perceived import significance


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("trials", [30, 300])
def test_wilson_covers_at_its_level(rate: float, trials: int) -> None:
    """Discrete counts make coverage saw up and down by a few points about 95 %."""
    drawn = np.random.default_rng(0).binomial(trials, rate, 20_000)
    low, high = significance.wilson(drawn, trials)
    covered = np.mean((low <= rate) & (rate <= high))
    assert 0.92 <= covered <= 0.99


@settings(deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_rate_and_mirrors(counts: tuple[int, int]) -> None:
    k, n = counts
    low, high = significance.wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    other_low, other_high = significance.wilson(n - k, n)
    assert low == pytest.approx(1 - other_high, abs=1e-12)
    assert high == pytest.approx(1 - other_low, abs=1e-12)


def test_wilson_without_rows_is_not_a_number() -> None:
    low, high = significance.wilson([0, 3], [0, 4])
    assert np.isnan(low[0])
    assert np.isnan(high[0])
    assert 0.3 < low[1] < 0.75 < high[1]


def test_permuted_counts_keep_the_margins_and_shuffle_like_rows_do() -> None:
    generator = np.random.default_rng(1)
    sizes = np.array([5, 20, 75])
    counts = significance.permuted_counts(sizes, 30, 20_000, generator)
    assert (counts.sum(axis=1) == 30).all()
    assert (counts <= sizes).all()
    rows = np.repeat(np.arange(3), sizes)
    shuffled = np.array([np.bincount(generator.permutation(rows)[:30], minlength=3) for _ in range(4000)])
    assert counts.mean(axis=0) == pytest.approx(shuffled.mean(axis=0), rel=0.05)
    assert counts.std(axis=0) == pytest.approx(shuffled.std(axis=0), rel=0.08)


def gap_p(sizes: np.ndarray, right: np.ndarray, permutations: int, generator: np.random.Generator) -> float:
    def draw(count: int) -> np.ndarray:
        return np.ptp(significance.permuted_counts(sizes, int(right.sum()), count, generator) / sizes, axis=1)

    return significance.permutation_p(np.ptp(right / sizes), draw, permutations)


@pytest.mark.parametrize("enough", [10**9, 60])
def test_p_values_are_uniform_under_the_null(enough: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups that differ by luck alone: a share a of the p-values lies below a, stopped early or not."""
    monkeypatch.setattr(significance, "ENOUGH", enough)
    monkeypatch.setattr(significance, "_BATCH", 40)
    generator = np.random.default_rng(2)
    sizes = np.array([150, 400, 800, 90])
    values = [gap_p(sizes, generator.binomial(sizes, 0.85), 199, generator) for _ in range(600)]
    ordered = np.sort(values)
    distance = np.abs(ordered - np.arange(1, 601) / 600).max()
    assert distance < 1.63 / math.sqrt(600), "Kolmogorov-Smirnov, 1 %"


def test_p_values_are_small_where_groups_differ() -> None:
    generator = np.random.default_rng(3)
    sizes, right = np.array([500, 500]), np.array([480, 420])
    assert gap_p(sizes, right, 999, generator) == pytest.approx(0.001)


def test_few_permutations_are_drawn_where_there_is_nothing_to_find() -> None:
    asked = []

    def draw(count: int) -> np.ndarray:
        asked.append(count)
        return np.tile([0.0, 1.0], count // 2)

    assert significance.permutation_p(0.5, draw, 100_000) == pytest.approx(0.5)
    assert sum(asked) < 1000


def test_holm_is_the_textbooks() -> None:
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm([]) == []
    assert significance.holm([0.9, 0.8]) == [1.0, 1.0]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(values: list[float]) -> None:
    corrected = significance.holm(values)
    assert all(c >= v for c, v in zip(corrected, values, strict=True))
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.asarray(corrected)[order]) >= 0).all()


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 3), (10, 2), (1, 12), (400, 350)])
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    n = first + second
    expected = stats.binomtest(first, n).pvalue if n else 1.0
    assert significance.mcnemar(first, second) == pytest.approx(expected)
    assert significance.mcnemar(first, second) == significance.mcnemar(second, first)


def test_signs_that_are_flipped_give_the_exact_p_value_of_few_differences() -> None:
    differences = np.array([3, -1, 2, 2, 0])
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=5)]
    exact = np.mean(np.array(sums) >= 6)
    assert significance.sign_flip_p(differences) == pytest.approx(exact, rel=0.25)
    assert significance.sign_flip_p(-differences) == significance.sign_flip_p(differences)
    assert significance.sign_flip_p(np.zeros(4, np.int64)) == 1.0
    assert significance.sign_flip_p(np.ones(60, np.int64), 999) == pytest.approx(0.001)
