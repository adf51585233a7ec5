"""Build a model from the data, with one command:

    python runs/shipped_models.py default FAIRFACE
    python runs/shipped_models.py research CELEBA FAIRFACE --default build/default

CELEBA and FAIRFACE are folders in a layout that 'perceived prepare' reads. ImageNet weights come from
packages of the registry, or from the hub with --weights hub. Interrupted, the same command goes on.
Networks are trained, chosen and calibrated on training and validation pictures; the test pictures are
opened once, by the last stage.

``default`` learns from FairFace (CC BY 4.0) alone: no picture, model or label of CelebA touches it.
``research`` goes on from its runs with both, taught by CLIP's image encoder (MIT), for non-commercial research as
CelebA asks. Each takes the place of the one that ships.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perceived import average, calibrate, evaluate, export, models, quantize, recipes, train
from perceived.data import split, table
from perceived.workspace import Workspace

ROOT = Path(__file__).parents[1]
SHIPPED = {
    "default": ROOT / "src" / "perceived" / "weights",
    "research": ROOT / "packages" / "research-weights" / "src" / "perceived_research_weights",
}
SOURCES = {"default": {"fairface"}, "research": {"celeba", "fairface"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One training: a recipe with settings, from the run ``init``, taught by the runs ``teachers``.

    ``weigh_by`` and ``boost`` say how often it sees which pictures, as for ``perceived split``; with
    ``fairface_alone`` those of CelebA are left aside.
    """

    run: str
    recipe: str
    settings: tuple[str, ...] = ()
    init: str = ""
    teachers: tuple[str, ...] = ()
    weigh_by: tuple[str, ...] = ()
    boost: Mapping[str, float] = field(default_factory=dict)
    fairface_alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """No training: the mean of the weights of runs; one that is named twice counts twice."""

    run: str
    of: tuple[str, ...]


FEWER_FAULTS = (
    "degradation.shrink=0.2",
    "degradation.blur=0.08",
    "degradation.noise=0.08",
    "degradation.jpeg=0.15",
    "degradation.cover=0.1",
)
MIRROR_BELOW = 1.5
"""On validation as good as always looking twice, for an eighth of the faces."""
GO_ON = ("sizes=[[0, 128, 128]]", "frozen=[]", "learning_rate=2.5e-4", "head_learning_rate=5e-4", "warmup=0.05")
"""For a network that has learnt already: all of it goes on learning, at lower rates."""
LABELS_ALONE = (*GO_ON, *FEWER_FAULTS, "label_smoothing=0")
LONG = (
    *(*LABELS_ALONE, f"frozen={json.dumps(recipes.STEM)}", "learning_rate=3.5e-4"),
    *("epochs=6.5", "ema_decay=0.999", "teacher_share=0.5", "seed=2"),
)
"""A long course at a higher rate, the labels halved with a teacher's opinion so that their errors are not learnt."""
MIXED = (*LONG, "epochs=3", "mixup=0.2", "cutmix=1", "seed=4")
"""Pairs of pictures and of labels, mixed."""
HARD = (
    *(*LONG, "epochs=2.5", "learning_rate=3e-4", "teacher_share=0.7", "seed=5"),
    *("degradation.shrink=0.4", "degradation.smallest=10", "degradation.blur=0.15", "degradation.cover=0.15"),
    *("degradation.noise=0.2", "degradation.loudest=60", "degradation.jpeg=0.3", "degradation.poorest=4"),
    *("augmentation.light=0.25", "augmentation.contrast=0.5", "augmentation.rotate=20"),
)
"""Small, noisy, badly compressed, dark and turned pictures, of which it learns what it makes of them unspoilt."""
MILD_FAULTS = (
    *("degradation.shrink=0.3", "degradation.smallest=12", "degradation.blur=0.12", "degradation.cover=0.12"),
    *("degradation.noise=0.12", "degradation.loudest=40", "degradation.jpeg=0.2", "degradation.poorest=8"),
    *("augmentation.light=0.18", "augmentation.contrast=0.4"),
)
"""Faults between the hard ones and the few of before."""
MILDER = (*LONG, "epochs=2", "learning_rate=2.5e-4", "teacher_share=0.6", "seed=6", *MILD_FAULTS)
ALONE_LARGER = (
    *(*MILDER, "sizes=[[0, 160, 160]]", "epochs=4.5", "learning_rate=3e-4", "ema_decay=0.9995"),
    *("select_by=loss", "seed=61"),
)
"""The course of milder faults once more, longer and of larger pictures."""
ONCE_MORE = (
    *(*ALONE_LARGER, "epochs=1", "learning_rate=1.5e-4", "head_learning_rate=2e-4", "ema_decay=0.999"),
    *("validate_every=30000", "seed=62"),
)
"""Short, at lower rates: for a mean with the one before."""
AT_144 = (
    *(*ONCE_MORE, "sizes=[[0, 144, 144]]", "epochs=0.3", "learning_rate=1e-4", "head_learning_rate=1e-4"),
    "seed=63",
)
"""A last few steps in the size that it answers in, which takes less time."""
GLANCE = (
    *(*LONG, "epochs=2.2", "teacher_share=0.8", "feature_weight=0.5", "seed=12"),
    *("degradation.shrink=0.3", "degradation.smallest=12", "degradation.blur=0.1", "degradation.noise=0.1"),
    *("degradation.loudest=30", "degradation.jpeg=0.2", "degradation.poorest=10", "augmentation.contrast=0.3"),
    "augmentation.light=0.15",
)
"""Most of each label is the large network's opinion of the picture; the features it gave it are learnt, too."""
TAUGHT = (
    *(*GLANCE, "epochs=5.4", "learning_rate=3e-4", "ema_decay=0.9995", "feature_weight=0.3", "seed=31"),
    *("degradation.shrink=0.35", "degradation.blur=0.12", "degradation.cover=0.12", "degradation.noise=0.15"),
    *("degradation.loudest=45", "degradation.jpeg=0.25", "degradation.poorest=6", "augmentation.light=0.2"),
    "augmentation.contrast=0.4",
)
"""The same for longer, of pictures that are spoilt more."""
BOTH = (*TAUGHT, "epochs=2.5", "seed=41", *MILD_FAULTS, "degradation.blur=0.1")
"""The same once more, of FairFace and CelebA."""
LARGER = (*BOTH, "sizes=[[0, 160, 160]]", "epochs=2.75", "learning_rate=2.5e-4", "select_by=loss", "seed=51")
"""And once more, of larger pictures."""
LONGER = (*LARGER, "epochs=4.5", "validate_every=36000", "seed=71")
"""The same for longer."""
ALIKE: Mapping[str, Any] = {"weigh_by": ("label",), "boost": {"race=Black": 1.5}}
"""Men and women are drawn alike, Black faces half as often again."""
BY_ITSELF: Mapping[str, Any] = {**ALIKE, "teachers": ("alone-at-128",)}
"""So they are, and the mean of the courses of 128 pixels is the teacher."""
FAIRFACE: Mapping[str, Any] = {**ALIKE, "fairface_alone": True}
"""Drawn alike, and of FairFace alone."""
EVENLY: Mapping[str, Any] = {**ALIKE, "weigh_by": ("source", "label")}
"""CelebA and FairFace are drawn alike, too."""
STAGES: Mapping[str, tuple[Stage | Mean, ...]] = {
    "default": (
        Stage(run="first", recipe="small"),
        Stage(run="second", recipe="small", settings=(*GO_ON, *FEWER_FAULTS, "epochs=3"), init="first"),
        Stage(run="teacher", recipe="teacher", settings=FEWER_FAULTS),
        Stage(
            run="third",
            recipe="small",
            settings=(*GO_ON, "label_smoothing=0", "epochs=4"),
            init="second",
            teachers=("second", "teacher"),
        ),
        Stage(run="fourth", recipe="small", settings=(*LABELS_ALONE, "epochs=3"), init="third", weigh_by=("label",)),
        Mean(run="middle", of=("third", "fourth")),
        Stage(
            run="fifth",
            recipe="small",
            settings=(*LABELS_ALONE, "epochs=2.5", "seed=1"),
            init="middle",
            weigh_by=("label",),
            boost={"race=Black": 1.75},
        ),
        Mean(run="before", of=("fifth", "third", "fourth")),
        Stage(run="sixth", recipe="small", settings=LONG, init="before", teachers=("before",), weigh_by=("label",)),
        Mean(run="long", of=("sixth", "before")),
        Stage(run="mixed", recipe="small", settings=MIXED, init="long", teachers=("long",), **ALIKE),
        Stage(run="hard", recipe="small", settings=HARD, init="long", teachers=("long",), **ALIKE),
        Mean(run="hardened", of=("long", "mixed", "hard")),
        Stage(run="last", recipe="small", settings=MILDER, init="hardened", teachers=("hardened", "long"), **ALIKE),
        Mean(run="alone-at-128", of=("last", "hardened", "long")),
        Stage(run="larger", recipe="small", settings=ALONE_LARGER, init="alone-at-128", **BY_ITSELF),
        Stage(
            run="once-more",
            recipe="small",
            settings=ONCE_MORE,
            init="larger",
            **{**BY_ITSELF, "boost": {"race=Black": 2}},
        ),
        Mean(run="alone-at-160", of=("larger", "once-more")),
        Stage(run="default", recipe="small", settings=AT_144, init="alone-at-160", **BY_ITSELF),
    ),
    "research": (
        Stage(run="both", recipe="small", settings=(*GO_ON, *FEWER_FAULTS, "epochs=3"), init="third"),
        Mean(run="untaught", of=("both", "fourth")),
        Stage(run="clip", recipe="large", **FAIRFACE),
        Stage(run="glance", recipe="small", settings=GLANCE, init="alone-at-128", teachers=("clip",), **FAIRFACE),
        Mean(run="glanced", of=("alone-at-128", "glance")),
        Stage(run="taught", recipe="small", settings=TAUGHT, init="glanced", teachers=("clip",), **FAIRFACE),
        Mean(run="start", of=("untaught", "taught")),
        Stage(run="clip-both", recipe="large", **EVENLY),
        Stage(run="taught-both", recipe="small", settings=BOTH, init="start", teachers=("clip-both",), **EVENLY),
        Mean(run="at-128", of=("taught-both", "start")),
        Stage(run="both-at-160", recipe="small", settings=LARGER, init="at-128", teachers=("clip-both",), **EVENLY),
        Stage(
            run="again",
            recipe="small",
            settings=LONGER,
            init="both-at-160",
            teachers=("clip-both",),
            **{**FAIRFACE, "boost": {"race=Black": 2}},
        ),
        Mean(run="research", of=("again", "again", "both-at-160")),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=STAGES)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, help="build/NAME unless said otherwise")
    parser.add_argument(
        "--default", type=Path, default=Path("build/default"), help="what 'default' was built in, for research"
    )
    parser.add_argument("--weights", default="auto", help="auto, hub or package; see 'perceived backbones'")
    choice = parser.parse_args()
    out = choice.out or Path("build") / choice.name
    work = prepared(choice.data, out / "work")
    require_sources(work, SOURCES[choice.name])
    fairface = prepared([one for one in choice.data if list(one.rglob("fairface_label_train.csv"))], out / "fairface")
    runs = {stage.run: choice.default / stage.run for stage in STAGES["default"]}
    runs |= {stage.run: out / stage.run for stage in STAGES[choice.name]}
    for stage in STAGES[choice.name]:
        if isinstance(stage, Mean):
            if not runs[stage.run].is_dir():
                average.average([runs[name] for name in stage.of], runs[stage.run])
            continue
        pictures = fairface if stage.fairface_alone else work
        split.make(pictures, everything=True, balance=False, weigh_by=stage.weigh_by, boost=stage.boost)
        recipe = recipe_of(stage, runs, weights=choice.weights)
        train.train(pictures, recipe, runs[stage.run], init=runs[stage.init] if stage.init else None)
    for pictures in (work, fairface):
        split.make(pictures, everything=True, balance=False)
    model = out / f"{choice.name}.onnx"
    raw = export.export(runs[choice.name], out / "raw.onnx", store="int8")
    faster = Path(quantize.quantize(raw, work, out=out / "int8.onnx")["file"])
    # FairFace is the more various of the sources: confidence is fitted to its validation part alone.
    calibrate.calibrate(faster, fairface, on="val", mirror_below=MIRROR_BELOW, out=model)
    evaluate.evaluate(model, work, on="test")
    ship(model, SHIPPED[choice.name])


def ship(model: Path, folder: Path) -> None:
    """Put a model among those that ship, and its hash among theirs."""
    shutil.copyfile(model, folder / model.name)
    models.write_sum(folder / model.name)


def prepared(data: Sequence[Path], work: Path) -> Path:
    """Return the workspace ``work`` of these datasets, which are read once."""
    if not Workspace(work).examples.is_file():
        table.prepare(data, work)
    return work


def recipe_of(stage: Stage, runs: Mapping[str, Path], *, weights: str = "auto") -> recipes.Recipe:
    """Return the recipe of a stage, whose teachers are among ``runs``: the folder of each."""
    teachers = ",".join(str(runs[name]) for name in stage.teachers)
    return recipes.get(stage.recipe, [f"weights={weights}", *stage.settings, f"teacher={teachers}"])


def require_sources(work: Path, expected: set[str]) -> None:
    """Refuse pictures whose licence is not that of the model."""
    found = set(Workspace(work).read_examples()["source"].unique())
    if found != expected:
        raise SystemExit(f"The pictures come from {', '.join(sorted(found))}, not {', '.join(sorted(expected))}.")


if __name__ == "__main__":
    main()
