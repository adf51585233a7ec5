"""Confident learning: the definition by hand, laws, and the authors' own implementation where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from perceived import confident


def noisy(rows: int, classes: int, seed: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return given labels, true labels and the probabilities of a model that is fairly good, but not sure."""
    random = np.random.default_rng(seed)
    true = random.integers(0, classes, rows)
    true[:classes] = np.arange(classes)
    logits = random.normal(0, 1, (rows, classes)) + 3 * np.eye(classes)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.where(random.random(rows) < noise, random.integers(0, classes, rows), true)
    labels[:classes] = np.arange(classes)
    return labels, true, probabilities


def test_the_definition_by_hand() -> None:
    """Thresholds are 0.7 and 0.6: row 2 is confidently 1 though labelled 0, row 5 confidently 0 though labelled 1."""
    female = np.array([0.9, 0.95, 0.25, 0.7, 0.35, 0.75, 0.1, 0.4])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    found = confident.judge(labels, np.stack([female, 1 - female], axis=1))
    assert found.thresholds == pytest.approx([0.7, 0.6])
    assert found.counts.tolist() == [[3, 1], [1, 3]]
    assert found.joint == pytest.approx(np.array([[3, 1], [1, 3]]) / 8)
    assert found.noise() == pytest.approx([0.25, 0.25])
    assert found.suspects.tolist() == [2, 5], "both have a self-confidence of 0.25: their own order"
    assert found.suggested.tolist() == [1, 0]


def test_of_several_confident_labels_the_likeliest_counts() -> None:
    assert confident.guess(np.array([[0.45, 0.55], [0.8, 0.2], [0.3, 0.7]]), np.array([0.4, 0.5])).tolist() == [1, 0, 1]
    assert confident.guess(np.array([[0.5, 0.5]]), np.array([0.9, 0.9])).tolist() == [confident.NOBODY]


@given(st.integers(10, 200), st.integers(2, 4), st.integers(0, 1000))
def test_what_always_holds(rows: int, classes: int, seed: int) -> None:
    labels, _, probabilities = noisy(rows, classes, seed)
    found = confident.judge(labels, probabilities)
    assert found.joint.sum() == pytest.approx(1)
    assert found.joint.sum(axis=1) == pytest.approx(np.bincount(labels, minlength=classes) / rows)
    assert (found.suggested != labels[found.suspects]).all()
    own = probabilities[found.suspects, labels[found.suspects]]
    assert (np.diff(own) >= 0).all()
    order = np.random.default_rng(seed).permutation(rows)
    shuffled = confident.judge(labels[order], probabilities[order])
    assert sorted(order[shuffled.suspects]) == sorted(found.suspects)


def test_planted_errors_are_found_and_their_number_is_estimated() -> None:
    labels, true, probabilities = noisy(5000, 2, seed=1)
    found = confident.judge(labels, probabilities)
    wrong = labels != true
    assert wrong[found.suspects].mean() > 0.9, "precision"
    assert wrong[found.suspects].sum() / wrong.sum() > 0.7, "recall"
    assert found.noise() == pytest.approx([wrong[labels == label].mean() for label in (0, 1)], abs=0.02)


@pytest.mark.parametrize(("rows", "classes", "seed"), [(50, 2, 0), (500, 2, 1), (500, 3, 2), (3000, 2, 3)])
def test_cleanlab_says_the_same(rows: int, classes: int, seed: int) -> None:
    from cleanlab import count, filter as filtering

    labels, _, probabilities = noisy(rows, classes, seed)
    found = confident.judge(labels, probabilities)
    assert found.thresholds == pytest.approx(count.get_confident_thresholds(labels, probabilities))
    assert (found.counts == count.compute_confident_joint(labels, probabilities, calibrate=False)).all()
    whole = count.estimate_joint(labels, probabilities)
    assert np.abs(found.joint - whole).max() < 1 / rows, "cleanlab rounds to whole pictures"
    ranked = filtering.find_label_issues(
        labels, probabilities, filter_by="confident_learning", return_indices_ranked_by="self_confidence", n_jobs=1
    )
    assert found.suspects.tolist() == ranked.tolist()
