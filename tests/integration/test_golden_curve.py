"""A golden loss curve: a change of the training code that changes what is learnt does not pass unnoticed.

After a change that is meant to, write the curve anew and say so in the change log::

    PERCEIVED_WRITE_GOLDEN=1 python -m pytest tests/integration/test_golden_curve.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from perceived import recipes, train
from perceived.checkpoint import Run

GOLDEN = Path(__file__).parents[1] / "golden" / "loss_curve.json"
TOLERANCE = 2e-3
"""Of loss: processors and library versions round differently, and 18 steps carry little of it on."""


def test_the_loss_falls_as_it_always_did(tiny_work: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    settings = ("precision=fp32", "learning_rate=1e-3", "sizes=[[0, 24, 24], [0.5, 32, 32]]", "dropout=0")
    train.train(tiny_work, recipes.get("fast", [*tiny, *settings]), tmp_path, quiet=True)
    lines = [json.loads(line) for line in Run(tmp_path).metrics.read_text().splitlines()]
    curve = [{name: line[name] for name in ("step", "rate", "train_loss", "val_loss")} for line in lines]
    if os.environ.get("PERCEIVED_WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(curve, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    assert len(curve) == len(golden)
    for found, expected in zip(curve, golden, strict=True):
        assert found == pytest.approx(expected, abs=TOLERANCE)
    assert curve[-1]["train_loss"] < curve[0]["train_loss"] - 0.05
