"""The full counts of predicting on a cluster: 20,000 pictures, memory, and the rate beside one process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs the extra perceived[cluster]")

import pyarrow.parquet as pq

from perceived import Predictor
from perceived.cluster.predict import predict

pytestmark = pytest.mark.full
COMMAND = """
import atexit, pathlib, sys
def peak():  # of this process alone: what wait4 tells counts its children and what it was forked from
    status = pathlib.Path("/proc/self/status").read_text()
    pathlib.Path(sys.argv[-1], "peak").write_text(status.split("VmHWM:")[1].split()[0])
atexit.register(peak)
from perceived.cli import main
main()
"""
WHOLE = {"detect": False}


def sources(out: Path) -> list[str]:
    files = sorted(out.glob("answers/*.parquet"))
    return [source for file in files for source in pq.read_table(file, columns=["source"])["source"].to_pylist()]


def test_twenty_thousand_pictures_while_a_node_is_killed(nodes, album, tiny_model, tmp_path, when):
    folder, out = album(20_000), tmp_path / "out"
    killer = when(lambda: len(list(out.glob("answers/*"))) >= 20, nodes.kill)
    job = {"model": str(tiny_model), "options": WHOLE, "quiet": True}
    assert predict([str(folder)], str(out), address=nodes.grow(), **job).pictures == 20_000
    killer.join()
    names = [str(path) for path in sorted(folder.iterdir())]
    assert sources(out) == names, "pictures are lost, there twice, or in another order"
    expected = (picture.to_dict() for picture in Predictor(tiny_model, **WHOLE).stream(names))
    for row in (row for file in sorted(out.glob("answers/*.parquet")) for row in pq.read_table(file).to_pylist()):
        assert row == next(expected)


def on_this_machine(folder: Path, out: Path, *more: object) -> None:
    """Run ``perceived predict --cluster local`` in a process of its own."""
    words = ["predict", folder, "--cluster", "local", *more, "--out", out]
    subprocess.run([sys.executable, "-c", COMMAND, *map(str, words)], check=True)


def test_the_drivers_memory_does_not_grow_with_the_pictures(album, tiny_model, tmp_path):
    def peak(count: int) -> float:
        out = tmp_path / str(count)
        on_this_machine(album(count), out, "--no-detect", "--model", tiny_model)
        return int((out / "peak").read_text()) / 1024

    small, large = peak(1_000), peak(100_000)
    assert large <= small + 60, f"{small:.0f} MiB for 1,000 pictures, {large:.0f} MiB for 100,000"


def test_a_cluster_of_one_node_is_nearly_as_fast_as_none(tmp_path):
    from perceived import demo_faces

    part = 250  # small for a part, but there must be several to see how fast they follow
    folder = demo_faces.write(tmp_path / "demo", count=3_000, seed=0) / "img_align_celeba"
    paths, out = sorted(folder.glob("*.jpg")), tmp_path / "out"
    predictor = Predictor()
    predictor.predict(paths[0])
    started = time.perf_counter()
    assert sum(1 for _ in predictor.stream(paths)) == len(paths)
    plain = len(paths) / (time.perf_counter() - started)
    on_this_machine(folder, out, "--part-size", part)
    times = sorted(file.stat().st_mtime for file in out.glob("answers/*.parquet"))
    workers = os.cpu_count() or 1  # each has a part when the first file is there
    clustered = (len(paths) - workers * part) / (times[-1] - times[0])
    assert clustered >= 0.85 * plain, f"{clustered:.1f} pictures/s on the cluster, {plain:.1f} without"
