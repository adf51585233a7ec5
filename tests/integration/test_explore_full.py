"""The whole of CelebA's annotations: true counts, the study's baseline, in seconds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from perceived import explore
from perceived.data import table

SECONDS = 10
"""Of processor time, all threads together, so that a busy machine does not matter."""


@pytest.fixture(scope="module")
def found(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    work = tmp_path_factory.mktemp("work")
    table.prepare(shared_data / "celeba-annotations", work, annotations_only=True)
    start = time.process_time()
    answer = explore.explore(work)
    return {**answer, "seconds": time.process_time() - start}


def test_counts_are_celebas(found: dict[str, Any]) -> None:
    assert found["labels"] == explore.FULL_COUNTS
    assert {name: sum(counts.values()) for name, counts in found["partitions"].items()} == {
        "train": 162_770,
        "val": 19_867,
        "test": 19_962,
    }
    assert found["identities"] == 10_177
    assert any("the other way round" in note for note in found["notes"])


def test_the_baseline_is_the_studys(found: dict[str, Any]) -> None:
    assert found["baseline"]["components"] == explore.STUDY_BASELINE["components"]
    assert found["baseline"]["accuracy"]["val"] == pytest.approx(explore.STUDY_BASELINE["accuracy"], abs=0.005)
    assert found["baseline"]["accuracy"]["test"] == pytest.approx(0.935, abs=0.002)


def test_lipstick_is_the_strongest_sign(found: dict[str, Any]) -> None:
    assert found["attributes"][0]["name"] == "Wearing_Lipstick"
    assert found["attributes"][0]["correlation"] == pytest.approx(-0.79, abs=0.01)


def test_it_takes_seconds(found: dict[str, Any]) -> None:
    assert found["seconds"] < SECONDS
