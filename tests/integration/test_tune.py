"""The search for a recipe: it begins with the recipe itself, ends poor trials early, and goes on after a kill."""

from __future__ import annotations

import itertools
import json
import math
import re
import shlex
import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perceived import recipes, storage, train as training
from perceived.errors import ConfigError, DivergedError, ResumeError
from perceived.recipes import Recipe
from perceived.space import NAMES, Space

pytest.importorskip("optuna", reason="needs the extra perceived[tune]")

import optuna

from perceived import tune

STEPS = (6, 12, 18)


def pretend(score: Callable[[Recipe], float], *, dies: Callable[[], bool] = lambda: False) -> Callable[..., Any]:
    """Return a stand-in for ``train`` that validates three times, ever better, and goes on where it stopped."""

    def train(work: Path, recipe: Recipe, out: Path, *, after_validation: Any, **rest: Any) -> dict[str, Any]:
        metrics = out / "metrics.jsonl"
        lines = metrics.read_text().splitlines() if metrics.is_file() else []
        for step in STEPS[len(lines) :]:
            found = score(recipe)
            line = {"step": step, "val_accuracy": found * step / STEPS[-1], "val_loss": 1 - found}
            lines.append(json.dumps(line))
            storage.write_text(metrics, "\n".join(lines) + "\n")
            after_validation(line)
            if dies():
                raise KeyboardInterrupt
        return json.loads(lines[-1])

    return train


def by_rate(recipe: Recipe) -> float:
    """Score a recipe by nothing but its learning rate, the lower the better."""
    return 1 / (1 + 200 * recipe.learning_rate)


def test_the_search_begins_with_the_recipe_and_improves(
    tiny_work: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train", pretend(by_rate))
    out = tmp_path / "what? {x} %41"
    found = tune.tune(tiny_work, out, trials=16, settings=settings)
    assert (out / "study.sqlite").is_file()
    base = recipes.get("fast", settings)
    first, scores = found["trials"][0], [row["score"] for row in found["trials"] if not row["pruned"]]
    assert first["score"] == pytest.approx(by_rate(base))
    assert first["values"] == Space.around(base).own()
    assert found["best"]["score"] == max(scores) > first["score"]
    assert any(row["pruned"] and row["validations"] < len(STEPS) for row in found["trials"])
    assert not any(row["pruned"] for row in found["trials"][: tune.UNPRUNED])
    assert max(found["importance"], key=found["importance"].__getitem__) == "learning_rate"
    assert sum(found["importance"].values()) == pytest.approx(1)
    assert json.loads((out / "tuning.json").read_text()) == json.loads(json.dumps(found))
    page = (out / "tuning.html").read_text()
    assert page.count("<svg") == 2
    assert all(name in page for name in NAMES.values())
    assert {"history.png", "importance.png"} <= {path.name for path in out.iterdir()}


def test_the_command_trains_the_best_recipe(
    tiny_work: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: dict[str, Recipe] = {}

    def score(recipe: Recipe) -> float:
        tried[storage.sha256_json(recipe.to_dict())[:8]] = recipe
        return by_rate(recipe)

    monkeypatch.setattr(training, "train", pretend(score))
    found = tune.tune(tiny_work, tmp_path / "out", trials=5, settings=settings)
    words = shlex.split(found["command"])
    assert words[:5] == ["perceived", "train", str(tiny_work), "--recipe", "fast"]
    changes = [after for before, after in itertools.pairwise(words) if before == "--set"]
    assert recipes.get("fast", changes) == tried[found["best"]["run"]]


def test_a_killed_search_goes_on_in_the_middle_of_its_trial(
    tiny_work: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def score(recipe: Recipe) -> float:
        seen.append(recipe.learning_rate)
        return by_rate(recipe)

    monkeypatch.setattr(training, "train", pretend(score, dies=lambda: len(seen) == 2 * len(STEPS) - 1))
    with pytest.raises(KeyboardInterrupt):
        tune.tune(tiny_work, tmp_path / "out", trials=3, settings=settings)
    assert len(seen) == 5, "three validations of the first trial, two of the second"
    monkeypatch.setattr(training, "train", pretend(score))
    found = tune.tune(tiny_work, tmp_path / "out", trials=3, settings=settings)
    assert len(found["trials"]) == 3
    assert found["trials"][1]["values"]["learning_rate"] == pytest.approx(seen[3], rel=5e-3), "the one cut off"
    assert found["trials"][1]["validations"] == len(STEPS), "those from before the kill are judged too"
    assert sorted(map(seen.count, set(seen))) == [3, 3, 3]
    monkeypatch.setattr(training, "train", None)
    assert tune.tune(tiny_work, tmp_path / "out", trials=3, settings=settings) == found, "nothing is left to do"
    with pytest.raises(TypeError):
        tune.tune(tiny_work, tmp_path / "out", trials=4, settings=settings)


def test_several_trials_at_once_are_all_counted(tiny_work: Path, settings: list[str], tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=60)
    train = pretend(by_rate)

    def learn(work: Path, recipe: Recipe, out: Path, judge: tune.Judge) -> None:
        together.wait()
        train(work, recipe, out, after_validation=judge)

    found = tune.tune(tiny_work, tmp_path / "out", trials=6, settings=settings, learn=learn, at_once=3)
    assert len(found["trials"]) == len({row["run"] for row in found["trials"]}) == 6
    assert found["best"]["score"] == max(row["score"] for row in found["trials"])


def test_the_recipe_itself_is_found_wherever_it_stands(
    tiny_work: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Space.around(recipes.get("fast", settings)).own()
    another = threading.Event()

    def learn(work: Path, recipe: Recipe, out: Path, judge: tune.Judge) -> None:
        if recipe.learning_rate == own["learning_rate"] and not another.wait(60):
            raise AssertionError("the other trial never ended")
        if recipe.learning_rate == own["learning_rate"] and not done:
            raise KeyboardInterrupt
        pretend(by_rate)(work, recipe, out, after_validation=judge)

    settle = tune._settle

    def settled(study: Any, trial: Any, *rest: Any) -> None:
        settle(study, trial, *rest)
        another.set()

    done: list[bool] = []
    monkeypatch.setattr(tune, "_settle", settled)
    with pytest.raises(KeyboardInterrupt):
        tune.tune(tiny_work, tmp_path / "out", trials=2, settings=settings, learn=learn, at_once=2)
    done.append(True)
    found = tune.tune(tiny_work, tmp_path / "out", trials=2, settings=settings, learn=learn, at_once=2)
    assert [row["values"] == own for row in found["trials"]] == [False, True]
    assert found["own"] == found["trials"][1]
    page = (tmp_path / "out" / "tuning.html").read_text()
    assert re.search(r"The recipe itself.{1,200}trial 2", page, re.DOTALL)


def test_the_recipe_itself_is_tried_though_it_was_cut_off_before_it_chose(
    tiny_work: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(space: Space, trial: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Space, "choose", cut_off)
        with pytest.raises(KeyboardInterrupt):
            tune.tune(tiny_work, tmp_path / "out", trials=2, settings=settings)
    monkeypatch.setattr(training, "train", pretend(by_rate))
    found = tune.tune(tiny_work, tmp_path / "out", trials=2, settings=settings)
    assert found["own"] == found["trials"][0]
    assert len(found["trials"]) == 2


def test_only_the_head_of_cached_features_is_searched(
    tiny_work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train", pretend(lambda recipe: 1 / (1 + recipe.head_learning_rate)))
    found = tune.tune(tiny_work, tmp_path / "out", trials=2, recipe="last-layer", settings=["backbone=resnet10t"])
    assert all(set(row["values"]) == {"head_learning_rate", "hidden", "dropout"} for row in found["trials"])
    assert "frozen stages" not in (tmp_path / "out" / "tuning.html").read_text()


def test_a_loss_is_made_small(
    tiny_work: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train", pretend(by_rate))
    found = tune.tune(tiny_work, tmp_path / "out", trials=3, settings=[*settings, "select_by=loss"])
    assert found["direction"] == "minimize"
    assert found["best"]["score"] == min(row["score"] for row in found["trials"])
    assert found["importance"] == {}
    assert "Too few finished trials" in (tmp_path / "out" / "tuning.html").read_text()


@pytest.mark.parametrize(("select_by", "score", "guess"), [("accuracy", 0.8, 0.5), ("loss", 0.2, math.log(2))])
def test_a_trial_that_diverges_is_worth_a_guess(
    select_by: str, score: float, guess: float, tiny_work: Path, settings: list[str], tmp_path: Path
) -> None:
    calls = []

    def learn(work: Path, recipe: Recipe, out: Path, judge: tune.Judge) -> None:
        calls.append(recipe)
        if len(calls) == 2:
            raise DivergedError("The network stopped making sense.")
        pretend(lambda _: 0.8)(work, recipe, out, after_validation=judge)

    found = tune.tune(
        tiny_work, tmp_path / "out", trials=3, settings=[*settings, f"select_by={select_by}"], learn=learn
    )
    assert [row["score"] for row in found["trials"]] == [pytest.approx(score), None, pytest.approx(score)]
    stored = optuna.load_study(study_name=tune.STUDY, storage=f"sqlite:///{tmp_path / 'out' / 'study.sqlite'}")
    assert stored.trials[1].value == pytest.approx(guess)
    assert [row["diverged"] for row in found["trials"]] == [False, True, False]
    assert "<b>diverged</b>" in (tmp_path / "out" / "tuning.html").read_text()


def test_a_trial_that_diverged_is_never_the_best(tiny_work: Path, settings: list[str], tmp_path: Path) -> None:
    def learn(work: Path, recipe: Recipe, out: Path, judge: tune.Judge) -> None:
        tried.append(recipe)
        if len(tried) != 2:
            raise DivergedError("The network stopped making sense.")
        pretend(lambda _: 0.3)(work, recipe, out, after_validation=judge)

    tried: list[Recipe] = []
    found = tune.tune(tiny_work, tmp_path / "worse", trials=3, settings=settings, learn=learn)
    assert (found["best"]["score"], found["best"]["trial"]) == (0.3, 2), "a guess would be worth more"
    assert "<b>diverged</b><span>trial 1</span>" in (tmp_path / "worse" / "tuning.html").read_text()
    with pytest.raises(DivergedError, match="diverged in 2 trials"):
        tune.tune(tiny_work, tmp_path / "none", trials=2, settings=settings, learn=learn)


def test_another_search_is_refused(
    tiny_work: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train", pretend(by_rate))
    tune.tune(tiny_work, tmp_path / "out", trials=1, settings=settings)
    with pytest.raises(ResumeError, match="holds another search: its recipe"):
        tune.tune(tiny_work, tmp_path / "out", trials=2, settings=[*settings, "epochs=2"])
    with pytest.raises(ResumeError, match="its seed"):
        tune.tune(tiny_work, tmp_path / "out", trials=2, settings=settings, seed=1)
    with sqlite3.connect(tmp_path / "out" / "study.sqlite") as search:  # cut off while it wrote down what it is
        search.execute("DELETE FROM study_user_attributes WHERE key != 'recipe'")
    assert len(tune.tune(tiny_work, tmp_path / "out", trials=2, settings=settings)["trials"]) == 2
    with storage.alone_in(tmp_path / "busy"), pytest.raises(ResumeError, match="Another process"):
        tune.tune(tiny_work, tmp_path / "busy", trials=2, settings=settings)
    assert not (tmp_path / "busy").exists()
    with pytest.raises(ConfigError, match="0 trials find nothing"):
        tune.tune(tiny_work, tmp_path / "out", trials=0)
    with pytest.raises(ConfigError, match="no recipe named"):
        tune.tune(tiny_work, tmp_path / "out", recipe="none")


def test_the_command_line_trains_trials_for_real(
    tiny_work: Path, settings: list[str], as_flags: Any, tmp_path: Path, run: Callable[..., SimpleNamespace]
) -> None:
    flags = as_flags([*settings, "epochs=1"])
    answer = run("tune", tiny_work, "--trials", "2", "--out", tmp_path / "out", *flags)
    assert answer.code == 0, answer.err
    assert f"perceived train {tiny_work} --recipe fast" in answer.out
    found = json.loads((tmp_path / "out" / "tuning.json").read_text())
    for row in found["trials"]:
        folder = tmp_path / "out" / "runs" / row["run"]
        assert (folder / "best" / "model.safetensors").is_file(), "a trial is an ordinary run"
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert row["score"] == max(line["val_accuracy"] for line in lines)


def test_what_hears_of_a_validation_may_end_the_run(tiny_work: Path, settings: list[str], tmp_path: Path) -> None:
    heard: list[int] = []

    def stop(line: Mapping[str, Any]) -> None:
        heard.append(line["step"])
        raise InterruptedError

    recipe = recipes.get("fast", [*settings, "epochs=2"])
    with pytest.raises(InterruptedError):
        training.train(tiny_work, recipe, tmp_path / "run", quiet=True, after_validation=stop)
    last = training.train(
        tiny_work, recipe, tmp_path / "run", quiet=True, after_validation=lambda line: heard.append(line["step"])
    )
    assert heard == [6, 12], "it goes on after the validation that was heard of"
    assert last["step"] == 12
