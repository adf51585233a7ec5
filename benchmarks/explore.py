"""Time the exploration of all 202,599 rows of CelebA's annotations, as docs/results/README.md describes results.

python benchmarks/explore.py --data ../shared/data/celeba-annotations --out docs/results/explore.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from perceived import explore, storage
from perceived.data import table

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
from record_result import provenance

DATA = Path(__file__).parents[2] / "shared" / "data" / "celeba-annotations"
AIM = 10
"""Seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="CelebA's tables, as a folder or zip")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    choice = parser.parse_args()
    if not choice.data.exists():
        print(f"Not measured: {choice.data} does not exist. Give CelebA's tables with --data.")
        return
    result = measure(choice.data) | provenance("python benchmarks/explore.py --data CELEBA_ANNOTATIONS")
    print(json.dumps(result, indent=1, ensure_ascii=False))
    if choice.out:
        storage.write_text(choice.out, json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def measure(data: Path) -> dict[str, Any]:
    """Return how long exploring takes, everything it writes included, and what it finds."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        table.prepare(data, work, annotations_only=True)
        started, processor = time.perf_counter(), time.process_time()
        found = explore.explore(work)
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
    baseline = found["baseline"]
    return {
        "what": "Exploring all of CelebA's annotations, with the study's baseline",
        "config": {
            "examples": found["examples"],
            **{name: baseline[name] for name in ("attributes", "variance", "rows")},
        },
        "metrics": {
            "seconds": round(seconds, 2),
            "processor_seconds": round(processor, 2),
            **found["labels"],
            "identities": found["identities"],
            "baseline_components": baseline["components"],
            "baseline_accuracy_val": baseline["accuracy"]["val"],
            "baseline_accuracy_test": baseline["accuracy"]["test"],
        },
        "targets": {"seconds": f"<= {AIM}"},
        "notes": found["notes"],
    }


if __name__ == "__main__":
    main()
