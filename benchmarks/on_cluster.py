"""``perceived predict --cluster local`` in a process of its own, and what is measured of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMMAND = """
import atexit, pathlib, sys
def peak():  # of this process alone: what wait4 tells counts its children and what it was forked from
    status = pathlib.Path("/proc/self/status").read_text()
    pathlib.Path(sys.argv[-1], "peak").write_text(status.split("VmHWM:")[1].split()[0])
atexit.register(peak)
from perceived.cli import main
main()
"""


def predict(folder: Path, out: Path, *more: object) -> float:
    """Answer for the pictures of a folder; return the driver's own peak memory in MiB."""
    words = ["predict", folder, "--cluster", "local", *more, "--out", out]
    subprocess.run([sys.executable, "-c", COMMAND, *map(str, words)], check=True)
    return int((out / "peak").read_text()) / 1024


def rate(out: Path, count: int, *, workers: int, part: int) -> float:
    """Return pictures a second between the first file of answers, when every worker has one, and the last."""
    times = sorted(file.stat().st_mtime for file in out.glob("answers/*.parquet"))
    return (count - workers * part) / max(times[-1] - times[0], 1e-9)
