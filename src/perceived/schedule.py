"""The course of a training run as pure functions of the step: which rows, which size, which rate."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perceived.data import sampling
from perceived.recipes import Recipe

FINAL_RATE = 0.01
"""Where a cosine schedule ends, relative to its peak."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """A recipe laid over ``pictures`` training pictures.

    Nothing here depends on the past, so a run can go on from any step. An epoch is a permutation of
    all rows; the few that do not fill a last batch are left for the next epoch's shuffle. With ``weights``,
    one for each picture, an epoch is as long, and shows each as often as its weight says.
    """

    recipe: Recipe
    pictures: int
    weights: npt.NDArray[np.float64] | None = None

    @property
    def batch_size(self) -> int:
        return min(self.recipe.batch_size, self.pictures)

    @property
    def steps_per_epoch(self) -> int:
        return max(1, self.pictures // max(1, self.batch_size))

    @property
    def steps(self) -> int:
        return max(1, round(self.recipe.epochs * self.steps_per_epoch))

    def epoch(self, step: int) -> int:
        return step // self.steps_per_epoch

    def rows(self, step: int, rank: int = 0, processes: int = 1) -> npt.NDArray[np.int64]:
        """Return the rows of this step's batch that fall to one of several processes."""
        return self.showings(step, rank, processes) % self.pictures

    def showings(self, step: int, rank: int = 0, processes: int = 1) -> npt.NDArray[np.int64]:
        """Return the numbers of what these rows show: the row's own the first time in an epoch.

        Each time it comes again, ``pictures`` is added, so that no two of an epoch have one number.
        """
        order = _order(self, self.epoch(step))
        start = (step % self.steps_per_epoch) * self.batch_size
        return order[start : start + self.batch_size][rank::processes]

    def size(self, step: int) -> tuple[int, int]:
        """Return the training height and width in pixels."""
        return self.recipe.size_at(step / self.steps)

    def rate(self, step: int) -> float:
        """Return the learning rate relative to its peak: a linear rise, then a constant or a half cosine."""
        warmup = round(self.recipe.warmup * self.steps)
        if step < warmup:
            return (step + 1) / warmup
        if self.recipe.schedule == "constant":
            return 1.0
        progress = (step - warmup) / max(1, self.steps - warmup)
        return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress))

    def validates_after(self, step: int) -> bool:
        """Return whether a validation follows this step: the last one's does, and one comes in every epoch at least."""
        done, every = step + 1, self.recipe.validation_interval(self.steps_per_epoch * self.batch_size)
        return done == self.steps or done * self.batch_size // every > step * self.batch_size // every


@functools.lru_cache(maxsize=2)
def _order(schedule: Schedule, epoch: int) -> npt.NDArray[np.int64]:
    """Return an epoch's showings, remembered because every step of the epoch asks for them."""
    seed = schedule.recipe.seed
    if schedule.weights is not None:
        return sampling.told_apart(sampling.draw(schedule.weights, seed=seed, epoch=epoch), schedule.pictures)
    return np.random.default_rng([seed, epoch]).permutation(schedule.pictures)
