"""Is a difference more than luck? Intervals of rates, permutation tests and what many tests cost.

Everything works on counts, so a test of a million answers costs as much as a test of a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

LEVEL = 0.95
GAP_LEVEL = 0.98
"""At which ends of :func:`gap_interval` are taken, for the interval to cover at about ``LEVEL``."""
PERMUTATIONS = 4999
SIGN_FLIPS = 99_999
"""Permutations of a sign-flip test, whose draws cost next to nothing."""
ENOUGH = 200
"""Permuted statistics as large as the observed one after which no more are drawn: a p-value within some 7 %."""
_BATCH = 500


def wilson(
    successes: npt.ArrayLike, trials: npt.ArrayLike, *, effect: npt.ArrayLike = 1.0, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """Return the lower and upper ends of Wilson's score interval of a rate; NaN where there are no trials.

    It covers near its level even for rates close to 0 or 1 and few trials, where the interval of a
    textbook (rate ± z standard errors) has no width (Brown, Cai and DasGupta 2001, doi:10.1214/ss/1009213286).

    Counts are divided by a design ``effect``, see :mod:`perceived.repeats`.
    """
    k, n = (np.asarray(counts, np.float64) / np.asarray(effect, np.float64) for counts in (successes, trials))
    z = NormalDist().inv_cdf((1 + level) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        center = (k + z * z / 2) / (n + z * z)
        half = z * np.sqrt(k * (n - k) / n + z * z / 4) / (n + z * z)
    low, high = np.where(k == 0, 0.0, center - half), np.where(k == n, 1.0, center + half)
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def permuted_counts(sizes: Counts, successes: int, permutations: int, generator: np.random.Generator) -> Counts:
    """Return ``(permutations, groups)`` successes by group, were group membership shuffled among all rows.

    Shuffling memberships with the successes fixed is drawing ``successes`` rows without replacement:
    the counts follow the multivariate hypergeometric law, and no row needs to be touched.
    """
    drawn: Counts = generator.multivariate_hypergeometric(sizes, successes, size=permutations, method="marginals")
    return drawn


def permutation_p(observed: float, draw: Callable[[int], Floats], permutations: int) -> float:
    """Return the chance of a statistic at least as large as ``observed`` under the null.

    ``draw`` returns that many statistics of permuted rows. The observed arrangement counts as one of
    them, which keeps the test valid (Phipson and Smyth 2010, doi:10.2202/1544-6115.1585). Once
    ``ENOUGH`` are as large, their share of those drawn so far is the p-value, as valid and near enough
    (Besag and Clifford 1991, doi:10.1093/biomet/78.2.301): only small ones are worth all permutations.
    """
    tolerance = 1e-12  # equal counts give equal statistics, but for the last bit
    drawn = reached = 0
    while drawn < permutations:
        statistics = draw(min(_BATCH, permutations - drawn))
        places = np.flatnonzero(statistics >= observed - tolerance)
        if reached + len(places) >= ENOUGH:
            return ENOUGH / (drawn + int(places[ENOUGH - reached - 1]) + 1)
        reached += len(places)
        drawn += len(statistics)
    return (1 + reached) / (1 + drawn)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), in the same order.

    Refusing every null whose corrected value lies below ``a`` is wrong about any of them with
    probability at most ``a``, however the tests depend on each other.
    """
    order = np.argsort(p_values, kind="stable")
    ranked = np.asarray(p_values, np.float64)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(ranked), 1.0)
    return [float(p) for p in corrected]


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of McNemar's test that two models are right equally often.

    ``only_first`` counts the pictures that the first model alone has right, ``only_second`` the other
    way round; pictures on which both are right or both wrong say nothing (McNemar 1947).
    """
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def sign_flip_p(differences: Counts, permutations: int = SIGN_FLIPS) -> float:
    """Return the two-sided p-value that independent whole differences ``(n,)``, one a person, are symmetric about 0.

    It is the chance of a sum as far from 0 were each sign tossed anew, the observed ones among them;
    see :func:`permutation_p`. Differences of 0 say nothing (Fisher 1935, "The Design of Experiments", 21).
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    generator = np.random.default_rng(0)

    def draw(count: int) -> Floats:
        positive = generator.binomial(counts, 0.5, size=(count, len(counts)))
        sums: Floats = np.abs((2 * positive - counts) @ sizes).astype(np.float64)
        return sums

    return permutation_p(float(abs(differences.sum())), draw, permutations)


def gap_interval(value: float, samples: Floats) -> tuple[float, float]:
    """Return the interval of a mean of absolute gaps, such as a calibration error, from bootstrap samples of it.

    Noise inflates such a figure once, and once more each sample, so that percentiles miss the truth
    altogether. In squares, noise adds up: the lower end is that of the basic interval of the square
    (Davison and Hinkley 1997, section 5.2). The upper end leaves the figure its own noise, because a
    figure that luck has made small has samples that vary little. In simulation, with 60 to 5,000 rows,
    the interval covers a true calibration error in 93 to 100 % of data sets, percentiles in 0 to 98 %.
    It is NaN where no sample differs.
    """
    if np.ptp(samples) == 0:
        return math.nan, math.nan
    low, high = np.quantile(samples, [(1 - GAP_LEVEL) / 2, (1 + GAP_LEVEL) / 2]) ** 2
    square = value * value
    ends = math.sqrt(max(0.0, 2 * square - high)), math.sqrt(square + float(np.mean(samples * samples)) - low)
    return min(ends[0], value), max(ends[1], value)
