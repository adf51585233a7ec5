"""Training throughput against a bare loop: how much of the machine goes into learning.

Blocks of real training steps (reading, augmentation, optimizer, moving average) alternate with blocks of
nothing but forward and backward on random tensors, with the same network, in the same process. So
whatever else the machine does weighs on both. Prints JSON, as docs/results/README.md describes it;
``training_share_of_bare`` is the median over rounds.

    python benchmarks/training_throughput.py --out docs/results/training-throughput.json
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn import functional

from perceived import backbones, model, recipes, setup, storage, train
from perceived.acceleration import accelerator_for
from perceived.checkpoint import Run
from perceived.data.feed import Feed
from perceived.schedule import Schedule

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
from record_result import provenance

PICTURES = 1024
AIM = 0.8


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--set", action="append", default=[], help="as for 'perceived train'")
    parser.add_argument("--size", type=int, nargs=2, default=(218, 178), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of either kind in a round")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    arguments = parser.parse_args()
    height, width = arguments.size
    recipe = recipes.get(arguments.recipe, ["weights=none", *arguments.set, f"sizes=[[0, {height}, {width}]]"])
    result = {
        "what": f"Training loop against bare forward and backward, {recipe.backbone} at {height}×{width}",
        "config": {"recipe": recipe.to_dict(), "rounds": arguments.rounds, "steps": arguments.steps},
        "metrics": measure(recipe, rounds=arguments.rounds, steps=arguments.steps),
        "targets": {"training_share_of_bare": f">= {AIM}"},
        **provenance(shlex.join(["python", *sys.argv])),
    }
    print(json.dumps(result, indent=2, ensure_ascii=False))
    if arguments.out:
        storage.write_json(arguments.out, result)


def measure(recipe: recipes.Recipe, *, rounds: int, steps: int) -> dict[str, Any]:
    """Time both loops in turn and return pictures per second of each, their ratio and the share of reading."""
    accelerator = accelerator_for(recipe.precision)
    feed = random_feed(*recipe.input_size)
    learner = build_learner(recipe, feed, accelerator)
    schedule = Schedule(recipe, PICTURES)
    bare = bare_step(learner, recipe, accelerator)
    position = iter(range(schedule.steps))

    def learn() -> None:
        train._learn(learner, schedule, feed, next(position), accelerator)

    def read() -> None:
        rows = schedule.rows(0)
        feed.batch(rows, recipe, 0, recipe.input_size, accelerator.device)

    for warm_up in (bare, learn, read):
        warm_up()
    times = [(seconds(bare, steps), seconds(learn, steps), seconds(read, steps)) for _ in range(rounds)]
    images = recipe.batch_size * steps
    return {
        "training_share_of_bare": round(statistics.median(b / t for b, t, _ in times), 4),
        "training_images_per_second": round(images / statistics.median(t for _, t, _ in times), 2),
        "bare_images_per_second": round(images / statistics.median(b for b, _, _ in times), 2),
        "share_of_reading_and_augmentation": round(statistics.median(r / t for _, t, r in times), 4),
        "threads": torch.get_num_threads(),
    }


def random_feed(height: int, width: int) -> Feed:
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (PICTURES, height, width, 3), dtype=np.uint8)
    labels = np.arange(PICTURES) % 2
    nothing = np.empty((PICTURES, 0), np.float32)
    return Feed(pictures, labels, pictures[:2], labels[:2], "random", "random", {}, nothing, nothing)


def build_learner(recipe: recipes.Recipe, feed: Feed, accelerator: Accelerator) -> train.Learner:
    backbone = backbones.create(recipe.backbone, weights=recipe.weights)
    network, frozen = setup.build(recipe, backbone)
    prepared = setup.Setup(recipe, Run(Path()), feed, network, frozen, setup.framing(recipe, backbone.input), {})
    return train._learner(prepared, accelerator)


def bare_step(learner: train.Learner, recipe: recipes.Recipe, accelerator: Accelerator) -> Callable[[], None]:
    """Return a function that goes forward and backward once, and does nothing else."""
    pixels = torch.rand(recipe.batch_size, 3, *recipe.input_size, device=accelerator.device) * 255
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(recipe.batch_size, device=accelerator.device) % 2

    def step() -> None:
        model.training_mode(learner.network, learner.frozen, freeze_batch_norm=recipe.freeze_batch_norm)
        accelerator.backward(functional.cross_entropy(learner.model(pixels).float(), labels))
        learner.network.zero_grad()

    return step


def seconds(step: Callable[[], None], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
