"""How many pictures a second ``perceived predict FOLDER`` answers, end to end, and how much memory it takes.

    python benchmarks/predict_folder.py                      # 1,000 generated pictures
    python benchmarks/predict_folder.py --pictures FOLDER    # your own
    python benchmarks/predict_folder.py --sweep              # which numbers of threads are best here

The command runs in a process of its own, start included. The first run warms the disk and is not
counted; the median of the others is. Must: 60 pictures/s or more on two quiet cores, 400 MB or less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pictures

COMMAND = "from perceived.cli import main; main()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--pictures", type=Path, help="a folder of pictures, instead of generated ones")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--sweep", action="store_true")
    choice = parser.parse_args()
    folder = choice.pictures or pictures.folder(
        Path(tempfile.gettempdir()) / f"perceived-benchmark-{choice.count}", choice.count
    )
    for threads in (1, 2, 3, 4) if choice.sweep else (choice.threads,):
        report(folder, choice.model, threads, choice.runs)


def report(folder: Path, model: str, threads: int | None, runs: int) -> None:
    """Print the medians of some runs, and the load of the machine, which belongs to any timing."""
    measure(folder, model, threads)
    rows = [measure(folder, model, threads) for _ in range(runs)]
    count, faces = rows[0]["pictures"], rows[0]["faces"]
    seconds = statistics.median(row["seconds"] for row in rows)
    cpu = statistics.median(row["cpu"] for row in rows)
    memory = max(row["memory"] for row in rows)
    print(
        f"threads {threads or 'as chosen'}: {count / seconds:.1f} pictures/s ({count} pictures, {faces} faces,"
        f" {seconds:.2f} s, {cpu:.2f} s of processor time: {2 * count / cpu:.1f} pictures/s on two whole cores),"
        f" peak memory {memory / 1e6:.0f} MB; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    )


def measure(folder: Path, model: str, threads: int | None) -> dict[str, float]:
    """Run the command once; return seconds, processor seconds, peak memory in bytes and counts."""
    words = ["predict", str(folder), "--model", model, "--json"]
    words += [] if threads is None else ["--threads", str(threads)]
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([sys.executable, "-c", COMMAND, *words], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            raise SystemExit(f"perceived predict failed with status {status}")
        out.seek(0)
        rows = [json.loads(line) for line in out]
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss * unit,
        "pictures": len(rows),
        "faces": sum(len(row["faces"]) for row in rows),
        "found": sum(bool(row["faces"]) for row in rows),
    }


if __name__ == "__main__":
    main()
