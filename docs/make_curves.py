"""Draw docs/images/curves.png, the courses of the study's recipe and of the default one, from docs/results/*.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes

from perceived.pages import charts, curves

HERE = Path(__file__).parent
RUNS = ("study", "fast")
COLORS = ("accent", "male", "female")


def main() -> None:
    histories = {name: json.loads((HERE / "results" / f"{name}.json").read_text())["curve"] for name in RUNS}
    title = "The study's recipe and the default one on CelebA (training: augmented pictures, its own loss)"
    draw_together(histories, HERE / "images" / "curves.png", title=title)


def draw_together(histories: Mapping[str, curves.History], out: Path, *, title: str) -> None:
    """Write a PNG of the loss and accuracy of at most three runs, by name, over the image-steps of the longest."""
    figure = charts.chart(
        shared_panel(histories, "loss"), shared_panel(histories, "accuracy"), width=2 * charts.WIDTH, height=3.6
    )
    charts.save_png(figure, out, title=title)


def shared_panel(histories: Mapping[str, curves.History], name: str) -> charts.Draw:
    """Draw ``"loss"`` or ``"accuracy"`` of several runs: validation as a line, training dashed."""

    def draw_panel(axes: Axes) -> None:
        for (run, history), color in zip(histories.items(), COLORS, strict=False):
            steps = [line["image_steps"] for line in history]
            for key, style in (("val", "-"), ("train", "--")):
                values = [line[f"{key}_{name}"] for line in history]
                label = f"{run}, {'validation' if key == 'val' else 'training'}"
                axes.plot(steps, values, style, color=charts.COLORS[color], linewidth=1.8, label=label)
                axes.plot(steps[-1:], values[-1:], "o", color=charts.COLORS[color], markersize=4.5)
        curves.finish(axes, name)

    return draw_panel


if __name__ == "__main__":
    main()
