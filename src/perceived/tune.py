"""A search for a better recipe: trials chosen by Optuna, poor ones ended early, all judged by validation.

Every trial is an ordinary :func:`perceived.train.train` on the workspace's own split; the test pictures are
never read. A search that was killed goes on where it was, in the middle of a trial too. What it
leaves behind::

    out/study.sqlite               the trials, in Optuna's own form
    out/runs/4f3c2a91/             a run for each recipe that was tried
    out/tuning.json .html          and history.png, importance.png
"""

from __future__ import annotations

import functools
import math
import shlex
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from perceived import recipes, storage, train as training
from perceived.checkpoint import Run
from perceived.data import split as splits
from perceived.errors import ConfigError, DivergedError, ResumeError
from perceived.pages import tune as tune_page
from perceived.recipes import Recipe
from perceived.space import Space
from perceived.spec import LABELS
from perceived.wording import counted
from perceived.workspace import Workspace

STUDY = "perceived"
UNPRUNED = 4
"""Trials that are finished whatever they look like, so that later ones have something to be measured by."""
FEWEST = 4
"""Finished trials from which importances are told."""
Judge = Callable[[Mapping[str, Any]], None]
"""What is shown the metrics of every validation, and may raise to end a run."""
Learn = Callable[[Path, Recipe, Path, Judge], None]
"""What trains a recipe on a workspace into a run, and shows its validations to a judge."""
_DONE = (TrialState.COMPLETE, TrialState.PRUNED)
DIVERGED = "diverged"


def here(work: Path, recipe: Recipe, out: Path, judge: Judge) -> None:
    """Train in this process."""
    training.train(work, recipe, out, quiet=True, after_validation=judge)


def tune(
    work: Path,
    out: Path,
    *,
    trials: int = 20,
    recipe: str = "fast",
    settings: Sequence[str] = (),
    seed: int = 0,
    learn: Learn = here,
    at_once: int = 1,
) -> dict[str, Any]:
    """Try ``trials`` recipes around a named one, the first being that itself; return what ``tuning.json`` holds.

    A trial counts by its best validation, of ``select_by``: it is ended at a validation by which it is
    worse than the median of the earlier ones. Running it again goes on; more trials may be asked for.
    With ``at_once``, so many are chosen and trained at the same time, by threads that call ``learn``.

    Raises:
        ConfigError: no trials, or no such recipe.
        ResumeError: ``out`` holds a search around another recipe, or on another split; or another process
            searches there.
        DivergedError: no trial learnt anything.
    """
    if trials < 1:
        raise ConfigError(f"{trials} trials find nothing.", expected="at least one")
    work, out = Path(work), Path(out)
    base = recipes.get(recipe, settings)
    space = Space.around(base)
    asked = {"recipe": base.to_dict(), "split": splits.fingerprint(Workspace(work).read_split()), "seed": seed}
    with storage.alone_in(out):
        study = _open(out, asked, maximize=base.select_by == "accuracy")
        if not study.trials:
            study.enqueue_trial(space.own())
        while (missing := trials - len(study.get_trials(deepcopy=False, states=_DONE))) > 0:
            _retry(study)
            several = min(at_once, missing)
            study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials), constant_liar=several > 1)
            chosen = [study.ask() for _ in range(several)]  # one after another: two threads may choose the same
            _at_the_same_time(lambda trial: _settle(study, trial, space, work, out, learn), chosen)
        asked_for = {"recipe": recipe, "settings": list(settings), "judged_by": f"val_{base.select_by}"}
        found = {**asked_for, **_describe(study, space)}
        best = space.recipe_of(found["best"]["values"])
        found["command"] = command(work, recipe, best)
        tune_page.write(out, found)
    return found


def command(work: Path, name: str, best: Recipe) -> str:
    """Return the ``perceived train`` that trains a recipe, as one would type it."""
    changed = recipes.settings(best, unlike=recipes.get(name))
    words = ["perceived", "train", str(work), "--recipe", name, *(w for one in changed for w in ("--set", one))]
    return shlex.join([*words, "--out", "run"])


def _open(out: Path, asked: Mapping[str, Any], *, maximize: bool) -> optuna.Study:
    """Open the search that belongs to what is asked, made where there is none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    connect = functools.partial(sqlite3.connect, out / "study.sqlite", check_same_thread=False)
    study = optuna.create_study(
        study_name=STUDY,
        storage=optuna.storages.RDBStorage("sqlite:///study.sqlite", engine_kwargs={"creator": connect}),
        load_if_exists=True,
        direction="maximize" if maximize else "minimize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED),
    )
    known = study.user_attrs  # not all of it, where its first start was cut off
    changed = [key for key in asked if known.get(key, asked[key]) != asked[key]]
    if changed:
        raise ResumeError(
            f"{out} holds another search: its {changed[0]} differs.",
            expected="the workspace, recipe, --set and seed it was started with; more trials may be asked for",
            mend="use the same arguments, or choose another --out",
        )
    for key, value in asked.items():
        study.set_user_attr(key, value)
    return study


def _retry(study: optuna.Study) -> None:
    """Put trials that were cut off back into the queue: their runs go on where they stopped."""
    known = study.get_trials(deepcopy=False)
    for trial in known:
        if trial.state is TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        cut_off, values = trial.state in (TrialState.RUNNING, TrialState.FAIL), _values(trial)
        again = any(other.number > trial.number and _values(other) == values for other in known)
        if cut_off and values and not again:
            study.enqueue_trial(values)


def _values(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial's values, among them those it was going to take when it was cut off or is still waiting."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _at_the_same_time(do: Callable[[optuna.Trial], None], trials: Sequence[optuna.Trial]) -> None:
    """Call ``do`` with every trial, in threads of their own; one alone is done in this one."""
    if len(trials) == 1:
        do(trials[0])
        return
    pool = ThreadPoolExecutor(len(trials))
    try:
        for done in as_completed([pool.submit(do, trial) for trial in trials]):
            done.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # whoever interrupts does not wait for runs elsewhere


def _settle(study: optuna.Study, trial: optuna.Trial, space: Space, work: Path, out: Path, learn: Learn) -> None:
    """Try one recipe, and tell the study what came of it; one that is cut off is left as it is, to be tried again.

    A recipe that diverges is worth as much as a guess.
    """
    try:
        study.tell(trial, _try(trial, space, work, out, learn))
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except DivergedError:
        trial.set_user_attr(DIVERGED, True)
        study.tell(trial, math.log(len(LABELS)) if space.recipe.select_by == "loss" else 1 / len(LABELS))


def _try(trial: optuna.Trial, space: Space, work: Path, out: Path, learn: Learn) -> float:
    """Train one recipe and return its score; a run of it that was cut off goes on."""
    recipe = space.recipe_of(space.choose(trial))
    run = Run(out / "runs" / storage.sha256_json(recipe.to_dict())[:8])
    trial.set_user_attr("run", run.root.name)
    key = f"val_{recipe.select_by}"
    judged = set()

    def judge(line: Mapping[str, Any]) -> None:
        if line["step"] not in judged:  # a run that goes on may repeat its last validation
            judged.add(line["step"])
            trial.report(line[key], line["step"])
            if trial.should_prune():
                raise optuna.TrialPruned

    for line in run.history():
        judge(line)
    learn(work, recipe, run.root, judge)
    scores = [line[key] for line in run.history()]
    return float(min(scores) if recipe.select_by == "loss" else max(scores))


def _describe(study: optuna.Study, space: Space) -> dict[str, Any]:
    """Return the trials that were judged, the best of them, the recipe's own, and how much each value matters.

    Raises:
        DivergedError: every trial did; there is no best one.
    """
    trials = study.get_trials(deepcopy=False, states=_DONE)
    finished = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    importance = {}
    if len(finished) >= FEWEST and len({trial.value for trial in finished}) > 1:
        judge = optuna.importance.FanovaImportanceEvaluator(seed=0)
        found = optuna.importance.get_param_importances(study, evaluator=judge)
        importance = {name: float(value) for name, value in found.items() if math.isfinite(value)}
    rows = [
        {
            "trial": number,
            "run": trial.user_attrs["run"],
            "pruned": trial.state is TrialState.PRUNED,
            "diverged": DIVERGED in trial.user_attrs,
            "score": None if DIVERGED in trial.user_attrs else trial.value,  # it has none: it counts as a guess
            "validations": len(trial.intermediate_values),
            "values": trial.params,
        }
        for number, trial in enumerate(trials, 1)
    ]
    learnt = [row for row in rows if not (row["pruned"] or row["diverged"])]
    if not learnt:
        raise DivergedError(
            f"No trial came to its end: training diverged in {counted(sum(row['diverged'] for row in rows), 'trial')}.",
            mend="search around another recipe, such as with --set learning_rate=1e-4, and into another --out",
        )
    pick = max if study.direction is optuna.study.StudyDirection.MAXIMIZE else min
    return {
        "direction": study.direction.name.lower(),
        "trials": rows,
        "best": pick(learnt, key=lambda row: row["score"]),
        "own": next((row for row in rows if row["values"] == space.own()), None),
        "importance": importance,
    }
