"""Words that more than one message needs."""

from __future__ import annotations

import math

NOTHING = "–"
"""Stands where there is no number."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 picture``, ``0 pictures``, ``1,200 pictures``; a ``plural`` is given where it is not a plain s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def confidence(share: float) -> str:
    """Return a confidence in per cent, never rounded up to certainty or over a threshold: ``99.9`` for 0.9996."""
    return f"{math.floor(share * 1000 + 1e-6) / 10:.1f}"


def signed(value: float | None, digits: int = 2) -> str:
    """Return a number with its sign, minus as a minus; what rounds to nothing has none."""
    if value is None:
        return NOTHING
    shown = round(value, digits)
    return f"{shown:+.{digits}f}".replace("-", "−") if shown else f"{0:.{digits}f}"
