"""Two processes learn what one process learns."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from perceived import recipes
from perceived import train as training
from perceived.checkpoint import Run

PROGRAM = """
import json, sys
from pathlib import Path
import torch
from perceived import recipes, train
torch.set_num_threads(1)
work, out, settings = sys.argv[1:]
train.train(Path(work), recipes.from_dict(json.loads(settings)), Path(out), quiet=True)
"""


def test_two_processes_end_with_the_weights_of_one(tiny_work: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    recipe = recipes.get("fast", [*tiny, "precision=fp32", "dropout=0", "freeze_batch_norm=true"])
    recipe = dataclasses.replace(recipe, optimizer="adamw", epochs=2.0)
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    arguments = [str(tiny_work), str(tmp_path / "two"), json.dumps(recipe.to_dict())]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29533", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    subprocess.run([*command, *arguments], check=True, timeout=300, env=environment)
    one = training.train(tiny_work, recipe, tmp_path / "one", quiet=True)
    two = json.loads(Run(tmp_path / "two").metrics.read_text().splitlines()[-1])
    assert json.loads(Run(tmp_path / "two").config.read_text())["environment"]["processes"] == 2
    assert abs(one["val_accuracy"] - two["val_accuracy"]) <= 0.01
    weights = [load_file(Run(tmp_path / name).best / "model.safetensors") for name in ("one", "two")]
    for key, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][key], atol=1e-4, rtol=0)
