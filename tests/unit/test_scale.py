"""The page on scale is what its figures say."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

METRICS = {
    "read_milliseconds": 0.1,
    "decode_milliseconds": 4.9,
    "detect_milliseconds": 10.0,
    "frame_milliseconds": 1.0,
    "classify_milliseconds": 4.0,
    "faces_per_picture": 1.5,
    "picture_bytes": 100_000.0,
    "framed_face_bytes": 76_800.0,
    "answer_bytes": 250.0,
}


@pytest.fixture(scope="module")
def scale(root: Path) -> dict[str, Any]:
    return runpy.run_path(str(root / "docs" / "make_scale.py"))


def test_the_tables_are_fresh(scale: dict[str, Any]) -> None:
    text = scale["TARGET"].read_text(encoding="utf-8")
    result = json.loads(scale["SOURCE"].read_text(encoding="utf-8"))
    assert text == scale["page"](text, result), "docs/scale.md is stale: make docs"


def test_costs_are_reckoned_from_one_picture(scale: dict[str, Any]) -> None:
    lines = scale["render"](METRICS, 2).splitlines()
    assert "| detect | 10.00 | 50% |" in lines
    million = next(line for line in lines if line.startswith("| 10⁶ |"))
    assert million == "| 10⁶ | 5.6 | 1.1 | 0.1 | 100 GB | 250 MB | 1,000,000 | 1,000 | 0.2 |"
    assert "needs 53 cores before it" in lines[-1]
    assert "not the bottleneck, up to pictures of 210 kB" in lines[-1]


def test_a_measured_cluster_is_held_against_what_its_processors_could_do(scale: dict[str, Any]) -> None:
    names = ("plain", "one_thread", "one_worker", "two_workers")
    rates = {f"{name}_pictures_per_second": value for name, value in zip(names, (80, 40, 38, 72), strict=True)}
    said = scale["render"]({**METRICS, **rates, "driver_peak_mebibytes": 300.0}, 2).splitlines()[-1]
    assert "answers 80.0 pictures a second without a cluster, and 72.0 (90%) with `--cluster local`" in said
    assert "One worker answers 38.0" in said
    assert "40.0 without a cluster (95%)" in said
    assert "can do 100.0." in said
