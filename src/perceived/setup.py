"""What a training run needs before its first step, and the record of it."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from torch import nn

from perceived import backbones, from_onnx, lineage, storage
from perceived.acceleration import precision_of
from perceived.backbones import Backbone
from perceived.checkpoint import Run, TrainedModel
from perceived.data import feed, split as splits
from perceived.data.feed import Feed
from perceived.data.source import NOT_STATED
from perceived.errors import ConfigError, ModelFileError, PictureSizeError, ResumeError
from perceived.frozen import features, features_of, opinion, standardised
from perceived.installed import processor
from perceived.model import Network, build_head, freeze
from perceived.models import find_trained
from perceived.preprocess import Preprocessing
from perceived.progress import counter, say
from perceived.recipes import Recipe
from perceived.scoring import weights_sha256
from perceived.spec import LABELS, ModelSpec
from perceived.wording import first_line
from perceived.workspace import Workspace

CHECK_PICTURES = 32
"""Validation pictures kept in the run directory, on which an exported model is compared."""
SETTLE_PICTURES = 128
"""Training pictures from which the batch norms of a model file take their statistics."""
LIBRARIES = ("perceived", "torch", "timm", "accelerate", "numpy", "opencv-python-headless", "pillow")


@dataclass(frozen=True, slots=True)
class Setup:
    """A run's inputs: its recipe, data, network and the place where results go."""

    recipe: Recipe
    run: Run
    feed: Feed
    network: Network
    frozen: list[nn.Module]
    preprocessing: Preprocessing
    config: Mapping[str, Any]

    def spec(self, line: Mapping[str, Any]) -> ModelSpec:
        """Return the specification of the model as it stands after a validation.

        Its input has the size of that validation, which in a run of growing pictures may be smaller
        than the last.
        """
        height, width = line["size"]
        recipe = {**self.config["recipe"], "teacher": ",".join(one.name for one in self.recipe.teachers)}
        return ModelSpec(
            name=self.run.root.resolve().name,
            backbone=self.recipe.backbone,
            labels=LABELS,
            preprocessing=dataclasses.replace(self.preprocessing, height=height, width=width),
            provenance={"recipe": recipe}
            | {key: self.config[key] for key in ("weights", "data", "environment")}
            | {"courses": self._courses(line["seconds"])},
            metrics={"validation": dict(line)},
        )

    def _courses(self, seconds: float) -> lineage.Courses:
        """Return the courses that this run goes on from, and its own, which has taken so many ``seconds``."""
        own = {
            "seconds": seconds,
            "pictures_sha256": self.feed.pictures_fingerprint,
            "sources": list(self.feed.licences),
            "licences": dict(self.feed.licences),
            "pretrained": _pretrained(self.config["weights"]),
        }
        return {**self.config["courses_before"], lineage.course(self.config): own}


def prepare_run(
    work: Path, recipe: Recipe, out: Path, accelerator: Accelerator, *, init: Path | None, quiet: bool
) -> Setup:
    """Gather everything for a run and write its ``config.json``, or check it against the one there.

    Raises:
        ResumeError: ``out`` holds a run of another recipe, split or starting point.
        ConfigError: there are more processes than pictures in a batch, or features to learn and no teacher.
    """
    run = Run(out)
    split_sha256 = splits.fingerprint(Workspace(work).read_split())
    _require_same(run, {"recipe": recipe.to_dict(), "data": {"split_sha256": split_sha256}}, in_part=True)
    if recipe.batch_size < accelerator.num_processes:
        raise ConfigError(
            f"A batch of {recipe.batch_size} pictures cannot be shared out to {accelerator.num_processes} processes.",
            mend="use fewer processes, or --set batch_size=…",
        )
    if recipe.feature_weight and not recipe.teachers:
        raise ConfigError(
            "The recipe learns a teacher's features, and has no teacher.",
            mend="--set teacher=RUN, or --set feature_weight=0",
        )
    teachers = [(path, TrainedModel.load(path)) for path in recipe.teachers]
    torch.manual_seed(recipe.seed)
    quiet = quiet or not accelerator.is_main_process
    with accelerator.main_process_first():
        start = None if init is None else TrainedModel.load(init)
        backbone = backbones.create(recipe.backbone, weights=recipe.weights) if start is None else blank(recipe, start)
        preprocessing = framing(recipe, backbone.input)
        with counter("Decoding pictures", quiet=quiet) as progress:
            pictures = feed.load(work, recipe, preprocessing, progress=progress)
        beside = pictures.attributes.shape[1]
        if recipe.feature_weight:
            beside += sum(trained.network.width for _, trained in teachers)
        network, frozen = build(recipe, backbone, start, beside=beside)
        if init is not None and not find_trained(init).is_dir():
            from_onnx.settle(
                network, np.asarray(pictures.train[_spread(len(pictures.train), SETTLE_PICTURES)], np.uint8)
            )
        learnt_from = [*([start] if start else []), *(trained for _, trained in teachers)]
        before = lineage.united(trained.spec for trained in learnt_from)
        config = describe(recipe, pictures, backbone, accelerator, init) | {"courses_before": before}
        _require_same(run, config)
        check_pictures = pictures.val[_spread(len(pictures.val), CHECK_PICTURES)]
        if recipe.teacher or recipe.cached_features:
            pictures = _answered(
                pictures, recipe, Workspace(work), preprocessing, teachers, network, accelerator, quiet=quiet
            )
    if accelerator.is_main_process:
        if run.config.is_file():
            for line in () if quiet else changes_of_place(storage.read_json(run.config), config):
                say(line)
        else:
            storage.write_json(run.config, config, durable=True)
        if not run.check_pictures.is_file():
            with storage.atomic_path(run.check_pictures, durable=True) as partial, open(partial, "wb") as file:
                np.save(file, check_pictures)
    return Setup(recipe, run, pictures, network, frozen, preprocessing, config)


def _answered(
    pictures: Feed, recipe: Recipe, workspace: Workspace, preprocessing: Preprocessing,
    teachers: Sequence[tuple[Path, TrainedModel]], network: Network, accelerator: Accelerator, *, quiet: bool,
) -> Feed:  # fmt: skip
    """Return the pictures with what networks that do not learn make of them: teachers' opinions, cached features."""
    train, val = feed.rows(workspace.read_split(), recipe)
    folder = workspace.cache
    if teachers:
        opinions = [opinion(*one, train, folder, accelerator, quiet=quiet) for one in teachers]
        pictures = dataclasses.replace(pictures, soft_labels=np.mean(opinions, axis=0, dtype=np.float32))
    if recipe.feature_weight:
        found = [standardised(features_of(*one, train, folder, accelerator, quiet=quiet)) for one in teachers]
        pictures = dataclasses.replace(pictures, features=np.concatenate(found, axis=1))
    if recipe.cached_features:
        ours = (preprocessing, network, folder, accelerator)
        pictures = dataclasses.replace(
            pictures,
            train=features(train, pictures.train, *ours, title="Features of train", quiet=quiet),
            val=features(val, pictures.val, *ours, title="Features of val", quiet=quiet),
        )
    return pictures


def _spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """Return at most ``most`` rows of ``count``, from the first to the last."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def blank(recipe: Recipe, start: TrainedModel) -> Backbone:
    """Return a recipe's backbone without weights, for those of a trained model; input and source are that model's."""
    expects, before = start.spec.preprocessing, start.spec.provenance.get("weights", {})
    return dataclasses.replace(
        backbones.create(recipe.backbone, weights="none"),
        input=backbones.Input.of(expects),
        source={key: before[key] for key in ("weights", "file", "sha256", "license") if key in before},
    )


def framing(recipe: Recipe, expects: backbones.Input) -> Preprocessing:
    """Return the preprocessing of a recipe on a backbone."""
    return recipe.framing(mean=expects.mean, std=expects.std, interpolation=expects.interpolation)


def build(
    recipe: Recipe, backbone: Backbone, start: TrainedModel | None = None, *, beside: int = 0
) -> tuple[Network, list[nn.Module]]:
    """Return the network to train, which learns so many values ``beside`` the label, and its frozen modules.

    Raises:
        ModelFileError: ``start``, whose weights it takes, is a model of another shape.
        PictureSizeError: the recipe's pictures are too small for it.
    """
    head = build_head(backbone.features, len(LABELS), recipe.hidden, recipe.dropout)
    learnt = nn.Linear(backbone.features, beside) if beside else None
    network = Network(backbone.network, head, backbone.input, average_flip=recipe.average_flip, beside=learnt)
    if start is not None:
        try:
            network.load_state_dict(network.state_dict() | start.network.kept())
        except RuntimeError as error:
            trained_with = start.spec.provenance.get("recipe", {}).get("name")
            raise ModelFileError(
                f"The model {start.spec.name} has another shape than recipe {recipe.name!r}.",
                expected=f"backbone {recipe.backbone} with the same head; this one is {start.spec.backbone}",
                mend=f"--recipe {trained_with}" if trained_with else "choose the recipe it was trained with",
            ) from error
    _require_sizes(network, recipe)
    frozen = freeze(network, [""] if recipe.cached_features else recipe.frozen)
    return network, frozen


def _require_sizes(network: Network, recipe: Recipe) -> None:
    """Raise :class:`PictureSizeError` where pictures of a recipe's sizes are too small for its network."""
    network.eval()
    for _, height, width in recipe.sizes:
        try:
            with torch.inference_mode():
                network(torch.zeros(1, 3, height, width))
        except (RuntimeError, AssertionError) as error:
            raise PictureSizeError(
                f"{recipe.backbone} cannot take pictures of {height}×{width} pixels: {first_line(error)}.",
                expected="larger ones; of a transformer, sides that its patches divide",
                mend="--set 'sizes=[[0, 160, 160]]'",
            ) from error
    network.train()


def describe(
    recipe: Recipe, pictures: Feed, backbone: Backbone, accelerator: Accelerator, init: Path | None
) -> dict[str, Any]:
    """Return the resolved configuration: recipe, data, weights and environment."""
    return {
        "recipe": recipe.to_dict(),
        "data": {
            "split_sha256": pictures.fingerprint,
            "train": len(pictures.train),
            "val": len(pictures.val),
        },
        "weights": dict(backbone.source)
        | ({"init": init.name, "init_sha256": weights_sha256(init)} if init else {})
        | ({"teachers_sha256": [weights_sha256(one) for one in recipe.teachers]} if recipe.teacher else {}),
        "environment": {
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
            "processor": processor(),
            "device": str(accelerator.device),
            "precision": precision_of(accelerator),
            "threads": torch.get_num_threads(),
            "processes": accelerator.num_processes,
            "versions": {name: metadata.version(name) for name in LIBRARIES},
        },
    }


def _pretrained(weights: Mapping[str, str]) -> dict[str, str]:
    """Return the name and the licence of the weights that others have trained; nothing of random ones."""
    return {weights["file"]: weights.get("license", NOT_STATED)} if "file" in weights else {}


SAME = {
    "recipe": "use the same recipe and --set",
    "data": "use the same workspace and split",
    "weights": "use the same --init and --set weights",
}
"""Parts of ``config.json`` that a run keeps for life, and how to mend a difference."""
STARTING_POINT = ("init_sha256", "sha256", "teachers_sha256")
"""What of the weights' description tells them from others; the rest is there to be read."""


def changes_of_place(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each difference between the machines of two parts of a run.

    The last bits of its weights depend on them.
    """
    places = [config.get("environment", {}) for config in (before, now)]
    sides = [{**place, **place.get("versions", {})} for place in places]
    changed = [key for key in sides[0] if key != "versions" and sides[0][key] != sides[1].get(key)]
    return [
        f"This run was begun with {key} {sides[0][key]} and goes on with {sides[1].get(key, 'none')}: "
        "its weights will not be those of an unbroken run, bit for bit."
        for key in changed
    ]


def _require_same(run: Run, config: Mapping[str, Any], *, in_part: bool = False) -> None:
    """Refuse a run directory that belongs to another recipe, split or starting point, as far as ``config`` is known."""
    recorded = storage.read_json(run.config) if run.config.is_file() else {}
    if "recipe" in recorded:  # a setting that came with a later version had its default value
        recorded["recipe"] = _completed(recorded["recipe"], Recipe(name="").to_dict())
    for part in SAME.keys() & recorded.keys() & config.keys():
        before, now = (
            {key: value for key, value in side[part].items() if part != "weights" or key in STARTING_POINT}
            for side in (recorded, config)
        )
        changed = [key for key in (now if in_part else now | before) if before.get(key) != now.get(key)]
        if changed:
            key = changed[0]
            raise ResumeError(
                f"{run.root} holds another run: its {part} {key} is {before.get(key)!r}, not {now.get(key)!r}.",
                expected="the arguments the run was started with",
                mend=f"{SAME[part]}, or choose another --out",
            )


def _completed(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` with the defaults that are missing in them, in mappings within them too."""
    given = {
        key: _completed(value, defaults[key]) if isinstance(value, Mapping) and key in defaults else value
        for key, value in values.items()
    }
    return {**defaults, **given}
