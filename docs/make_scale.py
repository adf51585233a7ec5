"""Write the tables of docs/scale.md from what was measured (docs/results/scale.json).

Everything that is assumed, and not measured, stands in the constants here and is named on the page.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "results" / "scale.json"
TARGET = Path(__file__).parent / "scale.md"
BEGIN, END = "<!-- Written by `make docs` from docs/results/scale.json. -->\n", "<!-- End of what is written. -->\n"
STAGES = ("read", "decode", "detect", "frame", "classify")
SIZES = (10**6, 10**8, 10**10)
CARD_FACES_PER_SECOND = 5_000
"""Assumed: what one graphics card classifies. No card was at hand."""
SHARD_PICTURES = 1_000
"""Pictures in one tar or row group, which is one request to a store, more or less."""
CORE_MEBIBYTES_PER_SECOND = 10
"""Assumed: what of a node's network is there for each of its processors."""
POWERS = {10**6: "10⁶", 10**8: "10⁸", 10**10: "10¹⁰"}


def render(metrics: Mapping[str, float], processors: int) -> str:
    """Return the tables of what one and many pictures cost, and how far a cluster on ``processors`` bears them out."""
    stages = {name: metrics[f"{name}_milliseconds"] for name in STAGES}
    total = sum(stages.values())
    lines = ["| stage | ms of a core for a picture | share |", "|---|---|---|"]
    lines += [f"| {name} | {value:.2f} | {value / total:.0%} |" for name, value in stages.items()]
    lines += [f"| all | {total:.2f} | 100% |", ""]
    lines += ["| pictures | core-hours | of those, a card can take over | GPU-hours then | bytes read | bytes written"]
    lines[-1] += " | requests, one file each | requests, in tars | cores for a day |"
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for count in SIZES:
        hours = count * total / 3.6e6
        saved = count * stages["classify"] / 3.6e6
        cards = count * metrics["faces_per_picture"] / CARD_FACES_PER_SECOND / 3600
        cells = [
            POWERS[count],
            number(hours),
            number(saved),
            number(cards),
            size(count * metrics["picture_bytes"]),
            size(count * metrics["answer_bytes"]),
            number(count),
            number(count / SHARD_PICTURES),
            number(hours / 24),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", _bottlenecks(metrics, total)]
    if "two_workers_pictures_per_second" in metrics:
        lines += ["", _checked(metrics, total, processors)]
    return "\n".join(lines) + "\n"


def _bottlenecks(metrics: Mapping[str, float], total: float) -> str:
    """Say what one core asks of the network, and how many keep one card busy; ``total`` is a picture's milliseconds."""
    rate, network = 1000 / total, CORE_MEBIBYTES_PER_SECOND * 2**20
    need = rate * metrics["picture_bytes"]
    before = (total - metrics["classify_milliseconds"]) / 1000
    cores = CARD_FACES_PER_SECOND / metrics["faces_per_picture"] * before
    return (
        f"A core answers {rate:.0f} pictures a second and so reads {size(need)} a second; at"
        f" {CORE_MEBIBYTES_PER_SECOND} MiB a second for each core the network is"
        f" {'the bottleneck' if need > network else 'not the bottleneck'}, up to pictures of {size(network / rate)}."
        f" A card that classifies {CARD_FACES_PER_SECOND:,} faces a second needs {cores:,.0f} cores before it,"
        f" which send it {size(CARD_FACES_PER_SECOND * metrics['framed_face_bytes'])} a second."
    )


def _checked(metrics: Mapping[str, float], total: float, processors: int) -> str:
    """Hold what a cluster answered against what its processors could; ``total`` is a picture's milliseconds."""
    names = ("plain", "one_thread", "one_worker", "two_workers")
    plain, thread, one, two = (metrics[f"{name}_pictures_per_second"] for name in names)
    most = 1000 * processors / total
    return (
        f"Checked on a cluster of one machine with {processors} processors: `perceived predict` answers {plain:.1f}"
        f" pictures a second without a cluster, and {two:.1f} ({two / plain:.0%}) with `--cluster local`, which is two"
        f" workers. One worker answers {one:.1f}, and a predictor told to use one thread, as a worker is, {thread:.1f}"
        f" without a cluster ({one / thread:.0%}). A worker keeps more than one processor busy, because it prepares one"
        f" picture while it classifies another; so two do not answer twice as much here. All {processors} processors"
        f" can do {most:.1f}. The driver's own memory was {metrics['driver_peak_mebibytes']:,.0f} MiB at most."
    )


def number(value: float) -> str:
    """Write a number with two figures that count."""
    if value < 10:
        return f"{value:.1f}"
    digits = len(str(int(value))) - 2
    return f"{round(value, -digits):,.0f}"


def size(value: float) -> str:
    """Write bytes in decimal units."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} PB"


def page(text: str, result: Mapping[str, Any]) -> str:
    """Return the page with fresh tables."""
    before, rest = text.split(BEGIN)
    told = f"Measured on {result['date']}, commit {result['commit'][:7]}, {result['machine']}."
    tables = render(result["metrics"], result["config"]["processors"])
    return f"{before}{BEGIN}\n{told}\n\n{tables}\n{END}{rest.split(END)[1]}"


def main() -> int:
    text = TARGET.read_text(encoding="utf-8")
    fresh = page(text, json.loads(SOURCE.read_text(encoding="utf-8")))
    if "--check" in sys.argv[1:]:
        return int(text != fresh)
    TARGET.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
