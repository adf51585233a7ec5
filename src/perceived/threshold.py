"""Where doubt begins: how often answers are wrong above a confidence, and what that promises of other pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perceived.errors import SplitError
from perceived.metrics import Booleans, Floats, Integers

COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Shares of pictures answered for which a model file and its card say how often it is wrong."""
STEPS = 50
"""Thresholds that are tried for a certain one, the strictest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Where doubt begins: answers of a confidence below ``value`` are ``uncertain``.

    ``coverage`` is the share of pictures answered and ``error`` the share of those that is wrong.
    """

    value: float
    coverage: float
    error: float


def risk_coverage(confidence: Floats, correct: Booleans) -> tuple[Floats, Floats, Floats]:
    """Return ``(threshold, coverage, risk)`` for every threshold that answers one more picture, highest first.

    ``risk`` is the share of wrong answers among those given (Geifman and El-Yaniv 2017,
    arXiv:1705.08500). Pictures of equal confidence are answered together.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    ends = np.flatnonzero(np.concatenate([ordered[1:] != ordered[:-1], [True]]))
    answered = ends + 1
    wrong = np.cumsum(~correct[order])[ends]
    return ordered[ends], answered / len(confidence), wrong / answered


def points(curve: tuple[Floats, Floats, Floats]) -> list[dict[str, float]]:
    """Return threshold, coverage and error where a curve of :func:`risk_coverage` first answers each of COVERAGES."""
    values, coverage, risk = curve
    places = np.minimum(np.searchsorted(coverage, np.asarray(COVERAGES) - 1e-9), len(coverage) - 1)
    return [
        {"threshold": float(values[place]), "coverage": float(coverage[place]), "error": float(risk[place])}
        for place in places
    ]


def choose_threshold(
    confidence: Floats,
    correct: Booleans,
    target_error: float,
    *,
    certainty: float = 0.0,
    classes: int = 2,
    people: Integers | None = None,
) -> Threshold:
    """Return the smallest threshold at which at most ``target_error`` of the answers given are wrong.

    With a ``certainty`` they are so not only of these pictures but, that certainly, of others like them. From
    the threshold that confidence itself calls safest, ever smaller ones are tried until the error's upper
    limit (Clopper and Pearson) passes the target. The first that fails ends the search, so that many tries
    make no promise weaker (fixed-sequence testing; Angelopoulos et al. 2021, "Learn then Test",
    arXiv:2110.01052). ``people``, the same code for pictures of one person, says that they come back: then all of
    a person's pictures count as if they were wrong or right together, see :func:`_alike`.

    A threshold lies half-way between the last picture answered and the first one that is not, so that a last
    digit decides nothing; where all are answered it is ``1 / classes``, below which no confidence lies.

    Raises:
        SplitError: even the most confident answers are wrong more often, or too few to tell.
    """
    values, coverage, risk = risk_coverage(confidence, correct)
    good: Integers = np.flatnonzero(risk <= target_error)
    if certainty:
        answered = np.rint(coverage * len(correct)).astype(np.int64)
        effect = np.ones(len(answered)) if people is None else _alike(confidence, people)[answered - 1]
        doubts = np.cumsum(1 - np.sort(confidence)[::-1])[answered - 1]
        tried = _to_try(_upper_limit(doubts / effect, answered / effect, certainty), answered)
        wrong, effect = np.rint(risk * answered)[tried], effect[tried]
        passes = _upper_limit(wrong / effect, answered[tried] / effect, certainty) <= target_error
        good = tried[np.logical_and.accumulate(passes)]
    if not len(good):
        sure = f" with a certainty of {certainty:.0%}" if certainty else ""
        raise SplitError(
            f"No threshold keeps {1 - target_error:.1%} of the answers right{sure}: "
            f"of all {len(correct)}, {risk[-1]:.1%} are wrong.",
            expected="a model whose confident answers are right more often than that, and enough of them to tell",
            mend="allow more with --target-error, label more pictures"
            + (" of other people" if people is not None else "")
            + ", or train a better model"
            + ("; --certainty 0 looks at these pictures alone" if certainty else ""),
        )
    last = good[-1]
    everything = last == len(values) - 1
    value = 1 / classes if everything else (float(values[last]) + float(values[last + 1])) / 2
    return Threshold(value=value, coverage=float(coverage[last]), error=float(risk[last]))


def _alike(confidence: Floats, people: Integers) -> Floats:
    """Return the design effect (:mod:`perceived.repeats`) of the surest 1, 2, … pictures, were a person's all alike.

    How alike they are cannot be learnt from the answers: a model that is sure and wrong about one person in a hundred
    shows nothing of it where that person is not among these.
    """
    codes = people[np.argsort(-confidence, kind="stable")]
    places = np.argsort(codes, kind="stable")
    ordered = codes[places]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    earlier = np.empty(len(codes), np.int64)  # pictures of the same person among those that are surer
    earlier[places] = np.arange(len(codes)) - np.repeat(starts, np.diff([*starts, len(codes)]))
    return np.asarray(np.cumsum(2 * earlier + 1) / np.arange(1, len(codes) + 1), np.float64)


def _to_try(expected: Floats, answered: Integers) -> Integers:
    """Return the places of the thresholds to try, in even steps of pictures ``answered`` from the safest on.

    That is the one of the lowest ``expected`` limit, reckoned from confidence and not from who was right.
    """
    return np.searchsorted(answered, np.linspace(answered[expected.argmin()], answered[-1], STEPS))


def _upper_limit(wrong: Floats, answered: Integers | Floats, certainty: float) -> Floats:
    """Return the rate that the true error exceeds with a probability of at most ``1 - certainty``."""
    from scipy.stats import beta

    limit: Floats = np.where(wrong < answered, beta.ppf(certainty, wrong + 1, np.maximum(answered - wrong, 1e-9)), 1.0)
    return limit
