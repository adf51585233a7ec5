"""How long the demo study takes, stage by stage, and what its network reaches, on a quiet machine.

python benchmarks/demo.py --out docs/results/demo.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from perceived import recipes, storage

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
from record_result import provenance

MOST_SECONDS = 300
LEAST_ACCURACY = 0.9


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the result here too, as docs/results/README.md says")
    choice = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        metrics = measure(Path(folder) / "demo")
    result = {
        "what": "perceived demo: the whole study on 1,000 faces of nobody",
        "config": {"recipe": recipes.get("demo").to_dict()},
        "metrics": metrics,
        **provenance("python benchmarks/demo.py"),
        "targets": {"accuracy": f">= {LEAST_ACCURACY}", "seconds": f"<= {MOST_SECONDS}"},
    }
    print(json.dumps(result, indent=2))
    if choice.out:
        storage.write_json(choice.out, result)
    return int(metrics["seconds"] > MOST_SECONDS or metrics["accuracy"]["value"] < LEAST_ACCURACY)


def measure(out: Path) -> dict[str, Any]:
    """Run the study in a folder of its own and return its accuracy, its seconds, and those of each stage."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "perceived", "demo", "--out", str(out)], check=True)
    seconds = time.perf_counter() - started
    scored = json.loads((out / "run" / "evaluation-test" / "report.json").read_text())["metrics"]
    stages = {
        f"seconds_{name}": stage["seconds"] for name, stage in json.loads((out / "study.json").read_text()).items()
    }
    return {"accuracy": scored["accuracy"], "f1": scored["f1"]["macro"], "seconds": round(seconds, 1), **stages}


if __name__ == "__main__":
    sys.exit(main())
