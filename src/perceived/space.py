"""What a search for a better recipe may change: rates, how much of the backbone learns, augmentation and head."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from perceived import backbones
from perceived.model import stages
from perceived.recipes import Recipe

TIMES = 10.0
"""A learning rate is tried from a tenth of the recipe's own to ten times as high."""
MOST_STRENGTH = 2.0
"""Augmentation goes from none to twice as far as the recipe's own."""
MOST_DROPOUT = 0.6
HEADS = ((), (256,), (1024, 512))
"""Hidden widths of the heads that are tried beside the recipe's own; the last is the study's."""
NAMES = {
    "learning_rate": "learning rate",
    "head_learning_rate": "learning rate of the head",
    "frozen_stages": "frozen stages",
    "strength": "augmentation",
    "hidden": "head",
    "dropout": "dropout",
}

OF_PICTURES = ("learning_rate", "frozen_stages", "strength")
"""Values that change nothing where a recipe caches the features of a frozen backbone."""

Values = Mapping[str, Any]


class Trial(Protocol):
    """The part of ``optuna.Trial`` that chooses values."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int) -> int: ...
    def suggest_categorical(self, name: str, choices: Sequence[str]) -> Any: ...


@dataclass(frozen=True, slots=True)
class Space:
    """The recipes around ``recipe``; ``stages`` are the backbone's parts, of which the first ones may be frozen."""

    recipe: Recipe
    stages: tuple[str, ...]

    @classmethod
    def around(cls, recipe: Recipe) -> Space:
        """Return the space around a recipe.

        Raises:
            ConfigError: there is no such backbone.
        """
        return cls(recipe, tuple(stages(backbones.create(recipe.backbone, weights="none").network)))

    @property
    def names(self) -> tuple[str, ...]:
        """The values that this recipe leaves to be chosen, in the order of :data:`NAMES`.

        What is frozen stays as it is in a recipe that freezes other parts than the first stages, as the study's does.
        """
        fixed = set(OF_PICTURES if self.recipe.cached_features else ())
        if self.recipe.frozen != self.stages[: len(self.recipe.frozen)]:
            fixed.add("frozen_stages")
        return tuple(name for name in NAMES if name not in fixed)

    @property
    def heads(self) -> dict[str, tuple[int, ...]]:
        """The heads to choose from, by a name for each."""
        return {_name(hidden): hidden for hidden in dict.fromkeys((self.recipe.hidden, *HEADS))}

    def own(self) -> dict[str, Any]:
        """Return the values of the recipe itself."""
        recipe = self.recipe
        values = {
            "learning_rate": recipe.learning_rate,
            "head_learning_rate": recipe.head_learning_rate,
            "frozen_stages": len(recipe.frozen),
            "strength": 1.0,
            "hidden": _name(recipe.hidden),
            "dropout": min(recipe.dropout, MOST_DROPOUT),
        }
        return {name: values[name] for name in self.names}

    def choose(self, trial: Trial) -> dict[str, Any]:
        """Let a trial choose values."""

        def rate(name: str) -> float:
            own = getattr(self.recipe, name)
            return trial.suggest_float(name, own / TIMES, own * TIMES, log=True)

        ways: Mapping[str, Callable[[str], Any]] = {
            "learning_rate": rate,
            "head_learning_rate": rate,
            "frozen_stages": lambda name: trial.suggest_int(name, 0, len(self.stages)),
            "strength": lambda name: trial.suggest_float(name, 0.0, MOST_STRENGTH),
            "hidden": lambda name: trial.suggest_categorical(name, list(self.heads)),
            "dropout": lambda name: trial.suggest_float(name, 0.0, MOST_DROPOUT),
        }
        return {name: ways[name](name) for name in self.names}

    def recipe_of(self, values: Values) -> Recipe:
        """Return the recipe with these values, rounded to what is worth typing; with its own, the recipe as it is."""
        if dict(values) == self.own():
            return self.recipe
        settings: dict[str, Any] = {
            "head_learning_rate": _short(values["head_learning_rate"]),
            "hidden": self.heads[values["hidden"]],
            "dropout": _short(values["dropout"]),
        }
        if not self.recipe.cached_features:
            settings |= {
                "learning_rate": _short(values["learning_rate"]),
                "augmentation": self.recipe.augmentation.scaled(values["strength"]),
            }
        if "frozen_stages" in values:
            settings["frozen"] = self.stages[: values["frozen_stages"]]
        return dataclasses.replace(self.recipe, **settings)


def _name(hidden: Sequence[int]) -> str:
    return "-".join(map(str, hidden)) or "linear"


def _short(value: float) -> float:
    return float(f"{value:.3g}")
