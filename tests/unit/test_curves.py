"""The courses of several runs in one chart."""

from __future__ import annotations

import runpy
from pathlib import Path

from matplotlib.figure import Figure


def history(last: int) -> list[dict[str, float]]:
    """Return the lines of a run that was validated each hundred image-steps."""
    return [
        {"image_steps": n, "train_loss": 1 / n, "val_loss": 2 / n, "train_accuracy": 0.8, "val_accuracy": 0.9}
        for n in range(100, last + 1, 100)
    ]


HISTORIES = {"study": history(800), "fast": history(300)}


def test_runs_share_a_chart_each_over_its_own_length(root: Path, tmp_path: Path) -> None:
    script = runpy.run_path(str(root / "docs" / "make_curves.py"))
    axes = Figure().subplots()
    script["shared_panel"](HISTORIES, "loss")(axes)
    drawn = {str(line.get_label()): line for line in axes.lines if not str(line.get_label()).startswith("_")}
    assert set(drawn) == {f"{run}, {side}" for run in HISTORIES for side in ("training", "validation")}
    assert list(drawn["fast, validation"].get_ydata()) == [2 / 100, 2 / 200, 2 / 300]
    assert max(drawn["study, training"].get_xdata()) == 800
    assert drawn["study, training"].get_color() != drawn["fast, training"].get_color()
    script["draw_together"](HISTORIES, tmp_path / "curves.png", title="Two recipes")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
