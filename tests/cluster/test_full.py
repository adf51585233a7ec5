"""The full counts of predicting on a cluster: 20,000 pictures, memory, and the rate beside one process."""

from __future__ import annotations

import os
import runpy
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("ray", reason="needs the extra perceived[cluster]")

import pyarrow.parquet as pq

from perceived import Predictor
from perceived.cluster.predict import predict

pytestmark = pytest.mark.full
WHOLE = {"detect": False}


@pytest.fixture(scope="module")
def on_cluster(root: Path) -> SimpleNamespace:
    """The names of ``benchmarks/on_cluster.py``, which runs the command and measures it."""
    return SimpleNamespace(**runpy.run_path(str(root / "benchmarks" / "on_cluster.py")))


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


def test_the_drivers_memory_does_not_grow_with_the_pictures(on_cluster, album, tiny_model, tmp_path):
    def peak(count: int) -> float:
        return on_cluster.predict(album(count), tmp_path / str(count), "--no-detect", "--model", tiny_model)

    small, large = peak(1_000), peak(100_000)
    assert large <= small + 60, f"{small:.0f} MiB for 1,000 pictures, {large:.0f} MiB for 100,000"


def test_a_cluster_of_one_node_is_nearly_as_fast_as_none(on_cluster, tmp_path):
    from perceived import demo_faces

    part = 250  # small for a part, but there must be several to see how fast they follow
    folder = demo_faces.write(tmp_path / "demo", count=3_000, seed=0) / "img_align_celeba"
    paths, out = sorted(folder.glob("*.jpg")), tmp_path / "out"
    predictor = Predictor()
    predictor.predict(paths[0])
    started = time.perf_counter()
    assert sum(1 for _ in predictor.stream(paths)) == len(paths)
    plain = len(paths) / (time.perf_counter() - started)
    on_cluster.predict(folder, out, "--part-size", part)
    clustered = on_cluster.rate(out, len(paths), workers=os.cpu_count() or 1, part=part)
    assert clustered >= 0.85 * plain, f"{clustered:.1f} pictures/s on the cluster, {plain:.1f} without"
