"""Is a difference more than luck? Intervals of rates, permutation tests and what many tests cost.

Everything works on counts, so a test of a million answers costs as much as a test of a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

LEVEL = 0.95
PERMUTATIONS = 4999


def wilson(successes: npt.ArrayLike, trials: npt.ArrayLike, *, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the lower and upper ends of Wilson's score interval of a rate; NaN where there are no trials.

    It covers near its level even for rates close to 0 or 1 and few trials, where the interval of a
    textbook (rate ± z standard errors) has no width (Brown, Cai and DasGupta 2001, doi:10.1214/ss/1009213286).
    """
    k, n = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
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


def p_value(observed: float, permuted: Floats) -> float:
    """Return the chance of a statistic at least as large as ``observed`` under the null.

    The observed arrangement counts as one of the permutations, which keeps the test valid
    (Phipson and Smyth 2010, doi:10.2202/1544-6115.1585).
    """
    tolerance = 1e-12  # equal counts give equal statistics, but for the last bit
    return float((1 + np.count_nonzero(permuted >= observed - tolerance)) / (1 + len(permuted)))


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
    discordant, fewer = only_first + only_second, min(only_first, only_second)
    term = tail = 1
    for i in range(1, fewer + 1):
        term = term * (discordant - i + 1) // i
        tail += term
    return float(min(1.0, 2 * tail / 2**discordant))


def mean_interval(total: float, squares: float, count: int, *, level: float = LEVEL) -> tuple[float, float]:
    """Return the normal interval of a mean, from the sum and the sum of squares of ``count`` values."""
    if count < 2:
        return math.nan, math.nan
    mean = total / count
    variance = max(0.0, squares - count * mean * mean) / (count - 1)
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(variance / count)
    return mean - half, mean + half
