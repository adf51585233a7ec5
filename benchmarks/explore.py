"""Exploring the whole of CelebA's annotations, 202,599 rows: how long it takes and what it finds. Prints JSON.

python benchmarks/explore.py ../shared/data/celeba-annotations --out docs/results/explore.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from perceived import __version__, explore, storage
from perceived.data import table

AIM = 10.0
"""Seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="CelebA's tables, as a folder or zip")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        table.prepare(arguments.data, work, annotations_only=True)
        started, processor = time.perf_counter(), time.process_time()
        found = explore.explore(work)
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
    result = {
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor, 2),
        "aim": AIM,
        "reached": seconds <= AIM,
        "found": {name: found[name] for name in ("examples", "identities", "labels", "partitions", "baseline")},
        "notes": found["notes"],
        "command": "python benchmarks/explore.py CELEBA-ANNOTATIONS",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "platform": f"{platform.system()} {platform.machine()}",
            "processors": os.cpu_count(),
            "python": platform.python_version(),
            "perceived": __version__,
        },
    }
    print(json.dumps(result, indent=2))
    if arguments.out:
        storage.write_json(arguments.out, result)
    sys.exit(0 if result["reached"] else 1)


if __name__ == "__main__":
    main()
