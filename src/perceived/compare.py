"""Which network is best for its cost? Several backbones under one budget, one split and the same seeds.

Every run is an ordinary :func:`perceived.train.train`; a comparison that was killed goes on where it
was, in the middle of a run too. What it leaves behind::

    out/plan.json                     budget, seeds, and the epochs each backbone can afford
    out/runs/BACKBONE-seed0/          a run, and answers.parquet: its answers on the test pictures
    out/models/BACKBONE.onnx          the run that validated best
    out/leaderboard.json .html .md    and pareto.png
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from perceived import checkpoint, leaderboard, metrics, recipes, scoring, storage, train as training
from perceived.backbones import require_known
from perceived.data import split as splits
from perceived.errors import ConfigError, DivergedError, PictureSizeError, ResumeError, WeightsError
from perceived.export import export
from perceived.pages import leaderboard as leaderboard_page
from perceived.recipes import Recipe
from perceived.schedule import Schedule
from perceived.wording import counted
from perceived.workspace import Workspace

RECIPE = "fast"
PROBE_STEPS = 12
"""Optimizer steps of the trial run that measures a backbone's pace."""
PROBE_VALIDATION = 256
"""Pictures of the validation at its end, which measures what one costs."""
MOST_VALIDATING = 0.5
"""Share of the budget that one validation may take."""

RunAll = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterator[Any]]
"""What calls a function with each of several arguments and yields the answers in order, as ``itertools.starmap``."""


def compare(
    work: Path,
    backbones: Sequence[str],
    out: Path,
    *,
    minutes: float,
    seeds: int = 3,
    recipe: str = RECIPE,
    settings: Sequence[str] = (),
    on: str = "test",
    run_all: RunAll = itertools.starmap,
) -> dict[str, Any]:
    """Train every backbone for ``minutes`` with each seed, and write the leaderboard; return what its JSON holds.

    A backbone whose weights are out of reach is left out, and said to be. ``settings`` change the
    recipe of every backbone, as ``train --set`` does. Running it again goes on with what is missing.
    ``run_all`` may train several at the same time; unless given, one is trained after another.

    Raises:
        ConfigError: nothing to compare, or a budget of nothing.
        ResumeError: ``out`` holds a comparison with another plan, or another process compares there.
        WeightsError: no backbone's weights can be had.
        DivergedError: no backbone learns with these settings.
        SplitError: none of the pictures can be read.
    """
    if not backbones or not 0 < minutes < math.inf or seeds < 1:
        raise ConfigError(
            f"{counted(len(backbones), 'backbone')}, {minutes:g} minutes, {counted(seeds, 'seed')}: no comparison.",
            expected="at least one backbone, some minutes and one seed",
        )
    if on == "train":
        raise ConfigError("Networks cannot be compared on the pictures they learn from.", expected="--on val or test")
    work, out = Path(work), Path(out)
    base = {name: recipe_for(name, recipe, settings) for name in dict.fromkeys(backbones)}
    rows = scoring.read_split(Workspace(work), on)
    asked = {"minutes": minutes, "seeds": seeds, "recipe": recipe, "settings": list(settings), "on": on}
    asked["split_sha256"] = splits.fingerprint(Workspace(work).read_split())
    with storage.alone_in(out):
        plan = _plan(work, out, base, asked, run_all)
        names = [name for name in base if name in plan["epochs"]]
        affordable = [
            dataclasses.replace(base[name], epochs=plan["epochs"][name], seed=seed)
            for name in names
            for seed in range(seeds)
        ]
        finished = list(run_all(_run, [(work, out, recipe, rows) for recipe in affordable]))  # before anything is timed
        entries, diverged = _entries(out, names, finished, seeds)
        if not entries:
            why = next(iter(diverged.values()))
            raise DivergedError(why, mend="compare with another --set learning_rate and --out")
        found = {
            "budget": {key: plan[key] for key in ("minutes", "seeds", "recipe", "settings", "on")},
            "pictures": rows.height,
            "left_out": {name: why for name, why in plan["left_out"].items() if name in base} | diverged,
            **leaderboard.rank(entries, metrics.people(rows["identity"])),
        }
        leaderboard_page.write(out, found)
    return found


def _entries(
    out: Path, names: Sequence[str], finished: Sequence[leaderboard.Run | str], seeds: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return what is to be ranked of ``finished``, so many runs of each name, and why other names diverged."""
    entries, diverged = [], {}
    for index, name in enumerate(names):
        runs = finished[index * seeds : (index + 1) * seeds]
        whole = [run for run in runs if not isinstance(run, str)]
        if len(whole) == len(runs):
            entries.append(leaderboard.entry(name, whole, _product(out, name, whole)))
        else:
            diverged[name] = next(run for run in runs if isinstance(run, str))
    return entries, diverged


def recipe_for(backbone: str, name: str, settings: Sequence[str] = ()) -> Recipe:
    """Return a recipe made for one backbone fit for another: nothing is frozen by name.

    Raises:
        ConfigError: there is no such backbone.
    """
    require_known(backbone)
    return recipes.get(name, ["frozen=[]", *settings, f"backbone={backbone}"])


def affordable_epochs(recipe: Recipe, minutes: float, probe: Mapping[str, Any], train: int, val: int) -> float:
    """Return the epochs that fit the budget, at the pace of a probe: the last line of its metrics.

    Validations are part of the budget, the one at the end too.
    """
    pace = probe["image_steps"] / max(probe["seconds"] - probe["validation_seconds"], 1e-3)
    validation = validation_seconds(recipe, probe, val)
    every, budget = recipe.validation_interval(train), minutes * 60
    validations = max(1, math.ceil(budget / (every / pace + validation)))
    pictures = max((validations - 1) * every, (budget - validations * validation) * pace)
    one_step = 1 / Schedule(recipe, train).steps_per_epoch
    return float(max(round(pictures / train, 3), one_step))


def validation_seconds(recipe: Recipe, probe: Mapping[str, Any], val: int) -> float:
    """Return how long one validation takes, at the pace of a probe."""
    return float(probe["validation_seconds"] * min(val, recipe.validation_limit or val) / min(val, PROBE_VALIDATION))


def _plan(
    work: Path, out: Path, base: Mapping[str, Recipe], asked: Mapping[str, Any], run_all: RunAll
) -> dict[str, Any]:
    """Return the plan, made once: a comparison that goes on keeps the epochs it was started with."""
    path = out / "plan.json"
    plan: dict[str, Any] = storage.read_json(path) if path.is_file() else {**asked, "epochs": {}, "left_out": {}}
    changed = [key for key, value in asked.items() if plan.get(key) != value]
    if changed and not any((out / "runs").glob("*")):  # nothing of it was trained
        plan |= {**asked, "epochs": {}}
    elif changed:
        raise ResumeError(
            f"{out} holds another comparison: its {changed[0]} is {plan.get(changed[0])!r}, not {asked[changed[0]]!r}.",
            expected="the arguments it was started with; more backbones may be named",
            mend="use the same arguments, or choose another --out",
        )
    split = Workspace(work).read_split()
    train, val = (split.filter(split=name).height for name in ("train", "val"))
    unknown = {name: recipe for name, recipe in base.items() if name not in plan["epochs"]}
    probes = run_all(_probe, [(work, out, recipe, train) for recipe in unknown.values()])
    for (name, recipe), probe in zip(unknown.items(), probes, strict=True):
        why = probe if isinstance(probe, str) else _no_time(recipe, asked["minutes"], probe, val)
        if why:
            plan["left_out"][name] = why
        else:
            plan["left_out"].pop(name, None)
            plan["epochs"][name] = affordable_epochs(recipe, asked["minutes"], probe, train, val)
        storage.write_json(path, plan)
    if not base.keys() & plan["epochs"].keys():
        raise WeightsError(
            f"No backbone can be compared: {next(why for name, why in plan['left_out'].items() if name in base)}",
            mend="name others that 'perceived backbones' lists, connect for their weights, or give a larger --budget",
        )
    return plan


def _no_time(recipe: Recipe, minutes: float, probe: Mapping[str, Any], val: int) -> str:
    """Say why a backbone has no time to learn, if that is so: what it would be judged by takes all of it."""
    seconds = validation_seconds(recipe, probe, val)
    if seconds <= MOST_VALIDATING * minutes * 60:
        return ""
    return (
        f"Validating {recipe.backbone} takes {seconds:.0f} of {minutes * 60:.0f} seconds: more --budget, or "
        "--set validation_limit=2000, would leave it time to learn."
    )


def _probe(work: Path, out: Path, recipe: Recipe, train: int) -> dict[str, Any] | str:
    """Train for a few steps through all picture sizes; return the last line of the metrics, or why there is none."""
    epochs = PROBE_STEPS / Schedule(recipe, train).steps_per_epoch
    short = dataclasses.replace(recipe, epochs=epochs, validate_every=0, validation_limit=PROBE_VALIDATION, patience=0)
    folder = out / "probes" / recipe.backbone
    shutil.rmtree(folder, ignore_errors=True)
    try:
        return training.train(work, short, folder, quiet=True)
    except (WeightsError, DivergedError, PictureSizeError) as error:
        return error.what
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(work: Path, out: Path, recipe: Recipe, rows: pl.DataFrame) -> leaderboard.Run | str:
    """Return a finished run with its answers on the test pictures; train and score what is missing of it.

    Of one that diverges, return what happened.
    """
    folder = out / "runs" / f"{recipe.backbone}-seed{recipe.seed}"
    result = folder / "result.json"
    if not result.is_file():
        try:
            last = training.train(work, recipe, folder)
        except DivergedError as error:
            return error.what
        validation = checkpoint.TrainedModel.load(folder).spec.metrics["validation"]
        storage.write_json(
            result,
            {
                "seconds": last["seconds"],
                "image_steps": last["image_steps"],
                "val_accuracy": validation["val_accuracy"],
            },
        )
    answers = scoring.kept(
        rows, folder / "answers.parquet", lambda: scoring.load_model(folder), title=f"scoring {folder.name}"
    )
    return leaderboard.Run(folder, answers, storage.read_json(result))


def _product(out: Path, name: str, runs: Sequence[leaderboard.Run]) -> Path:
    """Return the ONNX file of the run that validated best, exported once."""
    path = out / "models" / f"{name}.onnx"
    if not path.is_file():
        export(leaderboard.best(runs).folder, path)
    return path
