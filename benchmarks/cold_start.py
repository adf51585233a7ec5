"""How long ``import perceived`` and ``perceived predict PICTURE`` take, from a cold start to the answer.

    python benchmarks/cold_start.py
    python benchmarks/cold_start.py --imports    # which imports take how long

Cold means a new process; the disk is warm. Must: 0.1 s for the import, 1.0 s for one 640-pixel photograph.
Wall time is what a user waits; processor time is printed too, because other programs do not lengthen it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pictures

COMMAND = "from perceived.cli import main; main()"
IMPORT = "import time; t = time.perf_counter(); import perceived; print(time.perf_counter() - t)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--picture", type=Path, help="a photograph, instead of a generated one")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--imports", action="store_true")
    choice = parser.parse_args()
    picture = choice.picture or next(
        pictures.folder(Path(tempfile.gettempdir()) / "perceived-benchmark-1", 1).glob("*.jpg")
    )
    words = ["-c", COMMAND, "predict", str(picture), "--model", choice.model]
    if choice.imports:
        imports(words)
        return
    print(f"import perceived: {statistics.median(import_seconds() for _ in range(choice.runs)):.3f} s")
    run(words)
    times = [run(words) for _ in range(choice.runs)]
    wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"perceived predict: {wall:.2f} s, {cpu:.2f} s of processor time;"
        f" load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    )


def import_seconds() -> float:
    done = subprocess.run([sys.executable, "-c", IMPORT], check=True, capture_output=True, text=True)
    return float(done.stdout)


def run(words: list[str]) -> tuple[float, float]:
    """Run Python once; return wall and processor seconds."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"perceived predict failed with status {status}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime


def imports(words: list[str]) -> None:
    """Print the twenty imports that take longest, in milliseconds with what they import themselves."""
    done = subprocess.run([sys.executable, "-X", "importtime", *words], check=True, capture_output=True, text=True)
    rows = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line]
    slowest = sorted(((int(total), name) for _, total, name in rows[1:]), reverse=True)
    for microseconds, name in slowest[:20]:
        print(f"{microseconds / 1000:8.1f} ms {name.strip()}")


if __name__ == "__main__":
    main()
