"""Which labels are probably wrong: confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068).

A picture is a candidate when a model that has not learnt from it is as sure of another label as it
is, on average, of the pictures that carry that other label. So classes that the model knows less
well have a lower bar, and a model that is never sure needs no other threshold. The probabilities
must be out of sample: a model believes the labels it has learnt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

NOBODY = -1
"""The confident guess for a picture of which the model is confident of no label."""
_TOLERANCE = 1e-6
"""By so much a probability may fall short of a threshold: means of equal numbers differ in their last digits."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What confident learning says of ``n`` labelled pictures and ``k`` labels.

    ``thresholds`` ``(k,)``: mean probability of each label among the pictures that carry it.
    ``counts`` ``(k, k)``: the confident joint, pictures by label given and label confidently guessed.
    ``joint`` ``(k, k)``: the estimated shares of all pictures by label given and true label.
    ``suspects``: rows of candidates, the least probable label first, and ``suggested`` their labels.
    """

    thresholds: Floats
    counts: Integers
    joint: Floats
    suspects: Integers
    suggested: Integers

    def noise(self) -> Floats:
        """Return the share of each given label, ``(k,)``, that is estimated to be wrong."""
        rates: Floats = 1 - np.diagonal(self.joint) / self.joint.sum(axis=1)
        return rates


def judge(labels: Integers, probabilities: Floats) -> Judgement:
    """Judge ``labels`` ``(n,)``, every one of which occurs, by out-of-sample ``probabilities`` ``(n, k)``.

    Candidates are the pictures off the diagonal of the confident joint whose own label is not the
    likeliest, ranked by self-confidence: the probability of the label they carry.
    """
    classes = probabilities.shape[1]
    given = np.bincount(labels, minlength=classes)
    assert given.all(), "a label that no picture carries has no threshold"
    thresholds = np.bincount(labels, weights=probabilities[np.arange(len(labels)), labels], minlength=classes) / given
    guessed = guess(probabilities, thresholds)
    confident = guessed != NOBODY
    counts = np.bincount(labels[confident] * classes + guessed[confident], minlength=classes**2)
    counts = counts.reshape(classes, classes)
    np.fill_diagonal(counts, np.maximum(np.diagonal(counts), 1))
    joint = counts / counts.sum(axis=1, keepdims=True) * given[:, None] / len(labels)
    off = confident & (guessed != labels) & (probabilities.argmax(axis=1) != labels)
    suspects = np.flatnonzero(off)
    own = probabilities[suspects, labels[suspects]]
    suspects = suspects[np.argsort(own, kind="stable")]
    return Judgement(thresholds, counts, joint, suspects, guessed[suspects])


def guess(probabilities: Floats, thresholds: Floats) -> Integers:
    """Return the likeliest of the labels that reach their threshold, ``(n,)``, or :data:`NOBODY` where none does."""
    reached = probabilities >= thresholds - _TOLERANCE
    best: Integers = np.where(reached, probabilities, -np.inf).argmax(axis=1)
    return np.where(reached.any(axis=1), best, NOBODY)
