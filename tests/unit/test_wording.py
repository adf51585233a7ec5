"""Words that more than one message needs."""

from __future__ import annotations

import pytest

from perceived.wording import counted


@pytest.mark.parametrize(("number", "words"), [(0, "0 faces"), (1, "1 face"), (2, "2 faces"), (1_200, "1,200 faces")])
def test_one_is_no_plural(number, words):
    assert counted(number, "face") == words
