"""Draw docs/images/curves.png, the courses of the study's recipe and of the default one, from docs/results/*.json."""

from __future__ import annotations

import json
from pathlib import Path

from perceived.pages import curves

HERE = Path(__file__).parent
RUNS = ("study", "fast")


def main() -> None:
    histories = {name: json.loads((HERE / "results" / f"{name}.json").read_text())["curve"] for name in RUNS}
    title = "The study's recipe and the default one on CelebA (training: augmented pictures, its own loss)"
    curves.draw_together(histories, HERE / "images" / "curves.png", title=title)


if __name__ == "__main__":
    main()
