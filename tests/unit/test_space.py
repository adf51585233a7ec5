"""What a search may change: the recipe itself lies in its space, and every value reaches the recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from perceived import recipes
from perceived.space import HEADS, MOST_STRENGTH, Space


@pytest.mark.parametrize("name", ["fast", "demo", "small", "last-layer", "study"])
def test_the_recipe_lies_in_its_own_space(name: str) -> None:
    recipe = recipes.get(name)
    space = Space.around(recipe)
    assert space.recipe_of(space.own()) == recipe
    odd = dataclasses.replace(recipe, head_learning_rate=0.00012345, dropout=0.7)
    assert Space.around(odd).recipe_of(Space.around(odd).own()) == odd, "not rounded, and no value brought into bounds"


def test_stages_go_from_the_picture_to_the_head() -> None:
    assert Space.around(recipes.fast()).stages[:6] == (*recipes.STEM, "Mixed_5b")
    small = Space.around(recipes.demo()).stages
    assert small[0] == "conv_stem"
    assert [name for name in small if name.startswith("blocks.")] == [f"blocks.{i}" for i in range(7)]


def test_parts_frozen_elsewhere_stay_frozen() -> None:
    space = Space.around(dataclasses.replace(recipes.fast(), frozen=("Mixed_5b",)))
    assert "frozen_stages" not in space.own()
    assert space.recipe_of(space.own() | {"dropout": 0.1}).frozen == ("Mixed_5b",)


def test_every_value_reaches_the_recipe() -> None:
    space = Space.around(recipes.fast())
    values = {
        "learning_rate": 0.00123456, "head_learning_rate": 0.02, "frozen_stages": 7, "strength": MOST_STRENGTH,
        "hidden": "1024-512", "dropout": 0.4567,
    }  # fmt: skip
    found = space.recipe_of(values)
    assert (found.learning_rate, found.head_learning_rate, found.dropout) == (0.00123, 0.02, 0.457)
    assert found.frozen == space.stages[:7]
    assert found.hidden == HEADS[-1]
    assert found.augmentation.rotate == 2 * recipes.fast().augmentation.rotate
    assert found.augmentation.mirror == recipes.fast().augmentation.mirror
    assert set(values) == set(space.own())


def test_a_recipe_near_the_bounds_can_be_searched_around() -> None:
    augmentation = dataclasses.replace(recipes.fast().augmentation, rotate=120.0, light=0.8)
    space = Space.around(dataclasses.replace(recipes.fast(), augmentation=augmentation))
    found = space.recipe_of(space.own() | {"strength": MOST_STRENGTH}).augmentation
    assert (found.rotate, found.light) == (180.0, 1.0)


def test_what_changes_nothing_beside_cached_features_is_not_chosen() -> None:
    space = Space.around(recipes.last_layer())
    asked: list[str] = []

    class Trial:
        def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
            asked.append(name)
            return low

        def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
            asked.append(name)
            return choices[-1]

    values = space.choose(Trial())  # type: ignore[arg-type]
    assert tuple(values) == tuple(asked) == space.names == ("head_learning_rate", "hidden", "dropout")
    assert space.recipe_of(values) == dataclasses.replace(
        recipes.last_layer(), head_learning_rate=2e-4, hidden=HEADS[-1], dropout=0.0
    )


def test_values_are_chosen_within_the_bounds_of_each() -> None:
    recipe = dataclasses.replace(recipes.fast(), learning_rate=0.02, head_learning_rate=0.3)
    space, asked = Space.around(recipe), {}

    class Trial:
        def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
            asked[name] = (pytest.approx(low), pytest.approx(high), log)
            return low

        def suggest_int(self, name: str, low: int, high: int) -> int:
            asked[name] = (low, high)
            return low

        def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
            asked[name] = tuple(choices)
            return choices[0]

    space.choose(Trial())  # type: ignore[arg-type]
    assert asked == {
        "learning_rate": (0.002, 0.2, True),
        "head_learning_rate": (0.03, 3, True),
        "frozen_stages": (0, len(space.stages)),
        "strength": (0, 2, False),
        "hidden": ("linear", "256", "1024-512"),
        "dropout": (0, 0.6, False),
    }


def test_a_recipe_is_told_by_what_differs_from_another() -> None:
    changes = [
        "learning_rate=0.001",
        "augmentation.rotate=3.0",
        'frozen=["Mixed_5b"]',
        "hidden=[256]",
        "optimizer=adam",
    ]
    changed = recipes.get("fast", changes)
    assert sorted(recipes.settings(changed, unlike=recipes.fast())) == sorted(changes)
    assert recipes.get("fast", recipes.settings(changed)) == changed
