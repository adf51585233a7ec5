"""Metrics against scikit-learn, their laws, and whether an interval covers what it says it covers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from perceived import metrics


@pytest.fixture(params=range(4))
def answers(request: pytest.FixtureRequest) -> Mapping[str, np.ndarray]:
    """A seeded set of binary answers, with ties among the scores in every other case."""
    rng = np.random.default_rng(request.param)
    rows = int(rng.integers(40, 400))
    score = rng.beta(0.6, 0.8, rows)
    if request.param % 2:
        score = score.round(1)
    truth = rng.random(rows) < score
    return {"truth": truth, "score": score, "answer": score > 0.5}


def test_rates_agree_with_scikit_learn(answers: Mapping[str, np.ndarray]) -> None:
    sk = pytest.importorskip("sklearn.metrics")
    truth, answer = answers["truth"].astype(int), answers["answer"].astype(int)
    matrix = metrics.confusion(truth, answer, classes=2)
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(truth, answer))
    assert metrics.accuracy(matrix) == pytest.approx(sk.accuracy_score(truth, answer))
    np.testing.assert_allclose(metrics.recall(matrix), sk.recall_score(truth, answer, average=None))
    np.testing.assert_allclose(metrics.f1(matrix), sk.f1_score(truth, answer, average=None))


def test_roc_auc_agrees_with_scikit_learn(answers: Mapping[str, np.ndarray]) -> None:
    sk = pytest.importorskip("sklearn.metrics")
    assert metrics.roc_auc(answers["truth"], answers["score"]) == pytest.approx(
        sk.roc_auc_score(answers["truth"], answers["score"])
    )


def test_weights_mean_repeated_rows(answers: Mapping[str, np.ndarray]) -> None:
    truth, score, answer = answers["truth"], answers["score"], answers["answer"]
    times = np.random.default_rng(9).integers(0, 4, len(truth))
    again = np.repeat(np.arange(len(truth)), times)
    weights = times.astype(float)
    correct, confidence = truth == answer, np.maximum(score, 1 - score)
    np.testing.assert_allclose(
        metrics.confusion(truth.astype(int), answer.astype(int), classes=2, weights=weights),
        metrics.confusion(truth[again].astype(int), answer[again].astype(int), classes=2),
    )
    assert metrics.roc_auc(truth, score, weights=weights) == pytest.approx(metrics.roc_auc(truth[again], score[again]))
    assert metrics.calibration_error(confidence, correct, weights=weights) == pytest.approx(
        metrics.calibration_error(confidence[again], correct[again])
    )


def test_resamples_are_computed_together_as_they_are_one_by_one(answers: Mapping[str, np.ndarray]) -> None:
    truth, score = answers["truth"], answers["score"]
    weights = np.random.default_rng(1).integers(0, 3, (7, len(truth))).astype(float)
    together = metrics.roc_auc(truth, score, weights=weights)
    np.testing.assert_allclose(together, [metrics.roc_auc(truth, score, weights=row) for row in weights])
    together = metrics.calibration_error(score, truth, weights=weights)
    np.testing.assert_allclose(together, [metrics.calibration_error(score, truth, weights=row) for row in weights])


def test_calibration_error_is_the_mean_gap_of_equal_bins() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.permutation(np.linspace(0.5, 1, 150))
    correct = rng.random(150) < confidence**2
    order = np.argsort(confidence)
    by_hand = [abs(confidence[part].mean() - correct[part].mean()) for part in np.split(order, 15)]
    assert metrics.calibration_error(confidence, correct) == pytest.approx(np.mean(by_hand))


def test_calibration_error_shares_a_row_that_lies_astride_an_edge() -> None:
    confidence, correct = np.array([0.6, 0.7, 0.8]), np.array([False, True, True])
    low = (1 * (0.6 - 0) + 0.5 * (0.7 - 1)) / 1.5
    high = (0.5 * (0.7 - 1) + 1 * (0.8 - 1)) / 1.5
    assert metrics.calibration_error(confidence, correct, bins=2) == pytest.approx((abs(low) + abs(high)) / 2)


def test_answers_that_are_always_sure_and_half_wrong_have_an_error_of_a_half() -> None:
    assert metrics.calibration_error(np.ones(40), np.arange(40) % 2 == 0) == pytest.approx(0.5)


rows = st.integers(2, 60)


@settings(deadline=None)
@given(data=st.data(), count=rows)
def test_no_statistic_depends_on_the_order_of_rows(data: st.DataObject, count: int) -> None:
    score = data.draw(hnp.arrays(float, count, elements=st.sampled_from([0.1, 0.5, 0.52, 0.9, 1.0])))
    truth = data.draw(hnp.arrays(bool, count))
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(count)
    for statistic in (metrics.roc_auc, lambda t, s: metrics.calibration_error(s, t)):
        np.testing.assert_allclose(statistic(truth, score), statistic(truth[order], score[order]), atol=1e-12)


@settings(deadline=None)
@given(data=st.data(), count=rows)
def test_turning_the_classes_round_turns_the_ranking_round(data: st.DataObject, count: int) -> None:
    score = data.draw(hnp.arrays(float, count, elements=st.floats(0, 1, width=16)))
    truth = data.draw(hnp.arrays(bool, count))
    area = metrics.roc_auc(truth, score)
    np.testing.assert_allclose(metrics.roc_auc(~truth, -score), area)
    np.testing.assert_allclose(metrics.roc_auc(truth, -score), 1 - area)
    assert np.isnan(area) == (truth.all() or not truth.any())


@settings(deadline=None)
@given(data=st.data(), count=rows, bins=st.integers(1, 20))
def test_equal_mass_bins_lose_nothing(data: st.DataObject, count: int, bins: int) -> None:
    confidence = data.draw(hnp.arrays(float, count, elements=st.floats(0, 1, width=16)))
    correct = data.draw(hnp.arrays(bool, count))
    mean_confidence, mean_correct = metrics.equal_mass_bins(confidence, correct, bins=bins)
    assert np.mean(mean_confidence) == pytest.approx(np.mean(confidence), abs=1e-9)
    assert np.mean(mean_correct) == pytest.approx(np.mean(correct), abs=1e-9)
    assert (np.diff(mean_confidence) >= -1e-9).all()


def test_a_class_without_rows_has_no_recall_and_no_interval() -> None:
    truth = np.zeros(5, int)

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        matrix = metrics.confusion(truth, truth, classes=2, weights=weights)
        return {"male": metrics.recall(matrix)[..., 1], "female": metrics.recall(matrix)[..., 0]}

    found = metrics.bootstrap(statistics, np.arange(5), resamples=10)
    assert found == {"male": metrics.Estimate(None, None, None), "female": metrics.Estimate(1.0, 1.0, 1.0)}


def test_rows_of_one_group_are_always_drawn_together() -> None:
    groups = np.array([0, 1, 1, 2, 1])
    weights = metrics.resample(groups, 50, np.random.default_rng(0))
    assert (weights[:, [1, 2]] == weights[:, [4, 4]]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(weights, axis=0)) > 5


def test_a_row_of_unknown_group_is_its_own_group() -> None:
    codes = metrics.people(pl.Series([7, None, 7, None, 9]))
    assert codes[0] == codes[2]
    assert len(set(codes.tolist())) == 4
    assert sorted(set(codes.tolist())) == [0, 1, 2, 3]


def _accuracy_interval(correct: np.ndarray, groups: np.ndarray, seed: int) -> metrics.Estimate:
    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"accuracy": weights @ correct / weights.sum(axis=-1)}

    return metrics.bootstrap(statistics, groups, resamples=300, seed=seed)["accuracy"]


def test_the_interval_covers_the_truth_19_times_of_20_when_errors_repeat_by_person() -> None:
    """Of 300 intervals at 95 %, 285 should cover; chance alone stays within 271 to 297."""
    persons, each = 80, 6
    groups = np.repeat(np.arange(persons), each)
    covered = {"person": 0, "row": 0}
    for seed in range(300):
        rng = np.random.default_rng(seed)
        skill = rng.beta(1.6, 0.4, persons)
        correct = rng.random(persons * each) < skill[groups]
        for unit, codes in (("person", groups), ("row", np.arange(persons * each))):
            found = _accuracy_interval(correct, codes, seed)
            covered[unit] += found.low <= 1.6 / 2.0 <= found.high
    assert 271 <= covered["person"] <= 297
    assert covered["row"] < 260, "resampling rows as if they were independent must claim too much"


@pytest.mark.parametrize(("sharpening", "truth"), [(1.0, 0.0), (2.0, 0.0750)])
def test_the_interval_of_the_calibration_error_covers_the_truth(sharpening: float, truth: float) -> None:
    """``truth`` is the error of an endless sample: logits twice too large are 7.5 points too sure."""
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        logit = rng.normal(0, 3, 1500)
        label = rng.random(1500) < 1 / (1 + np.exp(-logit))
        score = 1 / (1 + np.exp(-sharpening * logit))
        confidence, correct = np.maximum(score, 1 - score), (score > 0.5) == label

        def statistics(
            weights: np.ndarray, confidence: np.ndarray = confidence, correct: np.ndarray = correct
        ) -> dict[str, np.ndarray]:
            return {"error": metrics.calibration_error(confidence, correct, weights=weights)}

        found = metrics.bootstrap(statistics, np.arange(1500), resamples=100, gaps=("error",))["error"]
        covered += found.low <= truth <= found.high
    assert covered >= 54


def test_the_same_seed_gives_the_same_interval() -> None:
    correct, groups = np.random.default_rng(0).random(200) < 0.9, np.arange(200)
    assert _accuracy_interval(correct, groups, 5) == _accuracy_interval(correct, groups, 5)
    assert _accuracy_interval(correct, groups, 5) != _accuracy_interval(correct, groups, 6)


def test_chunks_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    correct, groups = np.random.default_rng(0).random(50) < 0.9, np.arange(50)
    whole = _accuracy_interval(correct, groups, 1)
    monkeypatch.setattr(metrics, "_CHUNK_CELLS", 50 * 7)
    assert _accuracy_interval(correct, groups, 1) == whole


def test_resamples_without_a_row_of_a_class_say_nothing_of_its_recall() -> None:
    """One man, who is recognised: a third of the resamples lack him."""
    truth = np.array([1] + [0] * 9)

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"male": metrics.recall(metrics.confusion(truth, truth, classes=2, weights=weights))[..., 1]}

    assert np.isnan(statistics(metrics.resample(np.arange(10), 100, np.random.default_rng(0)))["male"]).any()
    found = metrics.bootstrap(statistics, np.arange(10), resamples=100)
    assert found == {"male": metrics.Estimate(1.0, 1.0, 1.0)}
