"""Two processes learn what one process learns, from the same pictures."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from perceived import backbones, recipes, scoring, train as training
from perceived.checkpoint import Run, TrainedModel
from perceived.recipes import Recipe
from perceived.schedule import Schedule
from perceived.workspace import Workspace

PROGRAM = """
import json, sys
from pathlib import Path
import torch
from perceived import recipes, train
from perceived.data.feed import Feed
torch.set_num_threads(1)
work, out, settings = sys.argv[1:]
seen = []
batch = Feed.batch
def remember(self, rows, recipe, epoch, *rest):
    seen.append([epoch, rows.tolist()])
    return batch(self, rows, recipe, epoch, *rest)
Feed.batch = remember
train.train(Path(work), recipes.from_dict(json.loads(settings)), Path(out), quiet=True)
import torch.distributed as distributed
assert distributed.get_backend() == "gloo"
Path(out, f"seen-{distributed.get_rank()}.json").write_text(json.dumps(seen))
distributed.destroy_process_group()
"""
BATCH = 7
"""Odd, so that the two shares differ in size."""


@pytest.fixture(scope="module")
def recipe(tiny: tuple[str, ...]) -> Recipe:
    exact = ("precision=fp32", "dropout=0", "freeze_batch_norm=true", f"batch_size={BATCH}", "epochs=2")
    return dataclasses.replace(recipes.get("fast", [*tiny, *exact]), optimizer="adamw")


@pytest.fixture(scope="module")
def two(tiny_work: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes."""
    return in_two(tiny_work, recipe, tmp_path_factory.mktemp("two"))


def in_two(work: Path, recipe: Recipe, folder: Path) -> Path:
    """Train in two processes and return the run."""
    script = folder / "program.py"
    script.write_text(PROGRAM)
    out = folder / "run"
    arguments = [str(work), str(out), json.dumps(recipe.to_dict())]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *arguments], check=True, timeout=600, env=environment)
    assert json.loads(Run(out).config.read_text())["environment"]["processes"] == 2
    return out


def test_two_processes_see_the_pictures_of_one(two: Path, recipe: Recipe) -> None:
    plan = Schedule(recipe, 48)
    shares = [json.loads((two / f"seen-{rank}.json").read_text()) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == plan.steps == 12
    for step, ((epoch, rows), (other_epoch, other_rows)) in enumerate(zip(*shares, strict=True)):
        assert epoch == other_epoch == plan.epoch(step)
        assert not set(rows) & set(other_rows)
        assert sorted(rows + other_rows) == sorted(plan.rows(step).tolist())


def test_two_processes_end_with_the_weights_of_one(two: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path) -> None:
    one = training.train(tiny_work, recipe, tmp_path / "one", quiet=True)
    last = json.loads(Run(two).metrics.read_text().splitlines()[-1])
    assert abs(one["val_accuracy"] - last["val_accuracy"]) <= 0.01
    assert one["val_loss"] == pytest.approx(last["val_loss"], abs=1e-4)
    assert one["train_loss"] == pytest.approx(last["train_loss"], abs=1e-4)
    state, other = (load_file(next(Run(run).last.glob("step-*.safetensors"))) for run in (tmp_path / "one", two))
    networks = [{k: v for k, v in s.items() if k.startswith(("network.", "average."))} for s in (state, other)]
    assert networks[0].keys() == networks[1].keys()
    for key, value in networks[0].items():
        torch.testing.assert_close(value, networks[1][key], atol=1e-4, rtol=0, msg=key)
    torch.manual_seed(recipe.seed)
    start = backbones.create(recipe.backbone, weights="none").network
    moved = [(value - networks[0][f"network.backbone.{key}"]).abs().max() for key, value in start.named_parameters()]
    assert max(moved) > 1e-3, "weights that never moved would agree as well"


def test_both_validate_the_network_that_is_kept(tiny_work: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Batch norms learn from the pictures of their own process; only the first one's are kept."""
    run = in_two(tiny_work, dataclasses.replace(recipe, freeze_batch_norm=False), tmp_path)
    kept = TrainedModel.load(run)
    rows = scoring.read_split(Workspace(tiny_work), "val")
    scored = scoring.score(rows, kept.probabilities, kept.spec)
    chances = [row[f"probability_{row['label']}"] for row in scored.iter_rows(named=True)]
    assert kept.spec.metrics["validation"]["val_loss"] == pytest.approx(-np.log(chances).mean(), abs=1e-4)
