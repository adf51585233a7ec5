"""What a model has learnt from: its own training, and those of the models behind it.

Behind it are those that it began from, was taught by or is the mean of.

Each training, a *course*, is told by a hash of its recipe, data and starting point, so that two models
that share a past count it once. A model file keeps its courses in its provenance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from perceived.data import split
from perceived.data.known import DATASETS
from perceived.data.source import NOT_STATED
from perceived.spec import ModelSpec
from perceived.storage import sha256_json
from perceived.workspace import Workspace

PARTS = ("recipe", "data", "weights")
"""What tells one course from another."""
Courses = dict[str, Mapping[str, Any]]
"""``seconds`` to the best validation, ``pictures_sha256`` of the split, ``sources`` and their ``licences``, and
the ``pretrained`` weights it goes back to with theirs, by the course's hash."""


def course(config: Mapping[str, Any]) -> str:
    """Return what tells the course of a configuration from others."""
    return sha256_json([config.get(part) for part in PARTS])[:16]


def courses(spec: ModelSpec) -> Courses:
    """Return all of a model's courses; none of a file that does not tell of them."""
    kept = spec.provenance.get("courses")
    return dict(kept) if isinstance(kept, Mapping) else {}


def united(specs: Iterable[ModelSpec]) -> Courses:
    """Return the courses of several models, each once."""
    return {key: value for spec in specs for key, value in courses(spec).items()}


def seconds(spec: ModelSpec) -> float:
    """Return how long all that a model has learnt took, in seconds; 0: unknown."""
    return float(sum(one.get("seconds", 0.0) for one in courses(spec).values()))


def licences(spec: ModelSpec) -> dict[str, str]:
    """Return the datasets that a model is known to have learnt from, and the licence of each as far as it is told."""
    return {
        name: (one.get("licences") or {}).get(name, NOT_STATED)
        for one in courses(spec).values()
        for name in one.get("sources") or ()
    }


def pretrained(spec: ModelSpec) -> dict[str, str]:
    """Return the pretrained weights that a model goes back to, its teachers' too, and the licence of each."""
    return {name: terms for one in courses(spec).values() for name, terms in (one.get("pretrained") or {}).items()}


def notes(spec: ModelSpec, workspace: Workspace, on: str) -> list[str]:
    """Return what a reader must know of a model's figures on one split, ``on``: whether it has seen the pictures."""
    table = workspace.read_split()
    learnt, found = learnt_on(spec, table), []
    may_be_learnt = on != "test" or workspace.draws_the_test()
    if learnt != {"here"} and may_be_learnt and not is_of_other_datasets(spec, table):
        found.append(
            f"The model{' also' if 'here' in learnt else ''} learnt on another split than this one, or does not say on "
            "which: whether it has seen some of these pictures is not known."
        )
    if "here" in learnt and on == "train":
        found.append(
            "These are training pictures: the figures say how well they were learnt, not how good the model is."
        )
    if "here" in learnt and on == "val":
        found.append("The checkpoint was chosen on these pictures, so the figures flatter it a little.")
    fitted = spec.provenance.get("calibration")
    told = fitted if isinstance(fitted, Mapping) else {}
    here = split.fingerprint(table), split.pictures_fingerprint(table)
    if told.get("split") == on and {*here} & {told.get("split_sha256"), told.get("pictures_sha256")}:
        found.append("Calibration and threshold were fitted to these pictures, so the figures flatter them a little.")
    return found


def is_of_other_datasets(spec: ModelSpec, table: pl.DataFrame) -> bool:
    """Say whether a model has learnt from other published datasets, as it says itself, than the pictures are from."""
    learnt = [one.get("sources") or [NOT_STATED] for one in courses(spec).values()] or [[NOT_STATED]]
    names = {name for sources in learnt for name in sources}
    shown = set(table["source"].unique()) if "source" in table.columns else {NOT_STATED}
    return names | shown <= DATASETS.keys() and names.isdisjoint(shown)


def learnt_on(spec: ModelSpec, table: pl.DataFrame) -> set[str]:
    """Say where a model has learnt: ``here``, on the split ``table``, ``elsewhere`` or ``unknown``.

    Sampling weights do not make it a different split. Of another split it is not known whether it holds out the
    same pictures.
    """
    here, found = split.pictures_fingerprint(table), set()
    for one in courses(spec).values():
        pictures = one.get("pictures_sha256")
        found.add("unknown" if not pictures else "here" if pictures == here else "elsewhere")
    return found or {"unknown"}
