"""What the runners in Python share: one line of standard output for each line of standard input.

A line in is an id, a tab and a path; a line out is ``id,perceived_gender,probability_male,seconds``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

Answer = tuple[str, float | str]
"""``female``, ``male`` or ``missed``, and the probability of ``male``, empty where there is none."""
MISSED: Answer = ("missed", "")


def answer(read: Callable[[str], Answer]) -> None:
    """Answer each path of standard input with ``read``, as soon as it is known."""
    for line in sys.stdin:
        name, path = line.rstrip("\n").split("\t")
        started = time.perf_counter()
        word, male = read(path)
        told = f"{name},{word},{male},{time.perf_counter() - started:.4f}\n"
        sys.stdout.write(told)  # in one piece: others write to the same file
        sys.stdout.flush()
