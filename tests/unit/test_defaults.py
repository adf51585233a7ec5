"""What the command line takes where nothing is said is what the functions behind it take."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra perceived[train]")

BEHIND = {
    "audit.audit": ("audit.audit", {}),
    "calibrate.calibrate": ("calibrate.calibrate", {}),
    "compare.compare": ("compare.compare", {"budget": "minutes"}),
    "data.explore": ("explore.explore", {}),
    "data.prepare": ("data.table.prepare", {}),
    "data.split": ("data.split.make", {"all_": "everything"}),
    "evaluate.evaluate": ("evaluate.evaluate", {}),
    "labels.labels": ("label_errors.find", {}),
    "quantize.quantize": ("quantize.quantize", {}),
    "robustness.robustness": ("robustness.robustness", {}),
    "tune.tune": ("tune.tune", {}),
}
"""A command's function: the one that does its work, and what that calls the same thing otherwise."""


def function(name: str, package: str) -> Callable[..., Any]:
    module, _, own = name.rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(f"{package}.{module}"), own)
    return found


def defaults(of: Callable[..., Any]) -> Mapping[str, Any]:
    parameters = inspect.signature(of).parameters.values()
    return {one.name: one.default for one in parameters if isinstance(one.default, int | float | str)}


@pytest.mark.parametrize(("command", "behind"), BEHIND.items())
def test_a_command_and_its_function_take_the_same(command: str, behind: tuple[str, dict[str, str]]) -> None:
    name, otherwise = behind
    asked, taken = defaults(function(command, "perceived.commands")), defaults(function(name, "perceived"))
    same = {key: otherwise.get(key, key) for key in asked if otherwise.get(key, key) in taken}
    assert {key: asked[key] for key in same} == {key: taken[ours] for key, ours in same.items()}
    assert same
