"""Words that more than one message needs."""

from __future__ import annotations

import pytest

from perceived.wording import counted, first_line, signed


@pytest.mark.parametrize(("number", "words"), [(0, "0 faces"), (1, "1 face"), (2, "2 faces"), (1_200, "1,200 faces")])
def test_one_is_no_plural(number, words):
    assert counted(number, "face") == words


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("\n  one\ntwo"), "one"), (ValueError("  "), "ValueError"), (MemoryError(), "MemoryError")],
)
def test_the_first_line_of_an_error_is_never_empty(error, line):
    assert first_line(error) == line


@pytest.mark.parametrize(("value", "text"), [(-0.8, "−0.80"), (0.371, "+0.37"), (None, "–")])
def test_a_number_has_its_sign(value, text):
    assert signed(value) == text
