"""The steps that build the shipped models can be walked: each begins from what is there already."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the training libraries are not installed")


@pytest.fixture(scope="module")
def steps(root: Path) -> dict[str, Any]:
    return runpy.run_path(str(root / "runs" / "shipped_models.py"))


@pytest.mark.parametrize("name", ["default", "research"])
def test_every_step_begins_from_runs_before_it(steps: dict[str, Any], name: str) -> None:
    known = {step.run for step in steps["STAGES"]["default"]} if name == "research" else set()
    for step in steps["STAGES"][name]:
        needed = step.of if isinstance(step, steps["Mean"]) else (*step.teachers, *filter(None, [step.init]))
        assert known.issuperset(needed), f"{step.run} needs what no step before it makes"
        known.add(step.run)
    assert name in known


@pytest.mark.parametrize("name", ["default", "research"])
def test_every_step_asks_for_what_recipes_know(steps: dict[str, Any], name: str) -> None:
    runs = {step.run: Path(step.run) for stages in steps["STAGES"].values() for step in stages}
    for step in steps["STAGES"][name]:
        if isinstance(step, steps["Stage"]):
            recipe = steps["recipe_of"](step, runs)
            assert (recipe.name, recipe.teacher) == (step.recipe, ",".join(step.teachers))


def test_default_learns_from_no_picture_or_opinion_of_others(steps: dict[str, Any]) -> None:
    assert steps["SOURCES"]["default"] == {"fairface"}
    runs = {step.run for step in steps["STAGES"]["default"]}
    for step in steps["STAGES"]["default"]:
        if isinstance(step, steps["Stage"]):
            assert runs.issuperset(step.teachers)
            assert not any(setting.startswith("backbone=") for setting in step.settings)
            assert step.recipe != "large", "CLIP's makers call deployed use out of scope"
