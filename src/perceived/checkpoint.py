"""What a run leaves on disk: the best model so far, and the state from which it goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from perceived import backbones, storage, tensors
from perceived.classifier import calibrated, look
from perceived.errors import DataError, ModelFileError
from perceived.model import Network, build_head, planes
from perceived.models import find_trained
from perceived.spec import METADATA_KEY, ModelSpec

MODEL_FILE = "model.safetensors"
STATE_FILE = "state.json"
HEAD = ("hidden", "dropout", "average_flip")
"""What a network's shape takes from its recipe, beside the backbone that its specification names."""


@dataclass(frozen=True, slots=True)
class Run:
    """Names of the files in a run directory."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    def history(self) -> list[dict[str, Any]]:
        """Return the line of each validation so far.

        Raises:
            DataError: the file is damaged.
        """
        if not self.metrics.is_file():
            return []
        try:
            return [json.loads(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]
        except ValueError as error:
            raise DataError(
                f"{self.metrics} is damaged: {error}.", mend="restore it, or train in another folder"
            ) from error

    @property
    def curves(self) -> Path:
        return self.root / "curves.png"

    @property
    def best(self) -> Path:
        return self.root / "best"

    @property
    def last(self) -> Path:
        return self.root / "last"

    @property
    def check_pictures(self) -> Path:
        return self.root / "check.npy"


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A trained network with its specification, ready to answer on the CPU or a given device."""

    spec: ModelSpec
    network: Network

    @classmethod
    def load(cls, model: Path) -> TrainedModel:
        """Load the best model of a run's folder, an ONNX file, or a model that is installed, by its name.

        Raises:
            ModelFileError: it is none of these, or it is damaged.
        """
        found = find_trained(model)
        return cls._of_run(found) if found.is_dir() else cls._of_file(found)

    @classmethod
    def _of_file(cls, path: Path) -> TrainedModel:
        from perceived import from_onnx
        from perceived.classifier import Classifier

        spec = Classifier(path).spec
        return cls(spec, from_onnx.fill(_blank(spec, path), spec, path))

    @classmethod
    def _of_run(cls, run: Path) -> TrainedModel:
        path = Run(run).best / MODEL_FILE
        if not path.is_file():
            raise ModelFileError(
                f"{run} holds no trained model ({path.name} is missing).",
                expected="a folder that 'perceived train --out' has written",
                mend="check the path, or let the training reach its first validation",
            )
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
            state = load_file(path)
        except (SafetensorError, OSError) as error:
            raise ModelFileError(f"{path} is damaged: {error}.", mend="train again, or copy the file again") from error
        if METADATA_KEY not in metadata:
            raise ModelFileError(f"{path} was not written by perceived.", expected="a specification in its metadata")
        spec = ModelSpec.from_json(metadata[METADATA_KEY])
        network = _blank(spec, path)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise ModelFileError(
                f"The weights do not fit {spec.backbone}: {str(error).splitlines()[-1].strip()}",
                mend="use the timm version the run was trained with (its config.json names it)",
            ) from error
        return cls(spec, network)

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return calibrated probabilities, ``(n, labels)``, of framed RGB pictures ``(n, h, w, 3)``."""
        logits = look(self._first_look, pixels, self.spec.mirror_below)
        return calibrated(logits, self.spec.temperature, self.spec.power)

    @property
    def answers_features(self) -> bool:
        """Whether a frozen backbone's features of a picture, computed once, are all that is looked at."""
        recipe = self.spec.provenance.get("recipe", {})
        return bool(recipe.get("cached_features")) and not (self.spec.mirror_below or self.network.average_flip)

    def probabilities_of(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return calibrated probabilities, ``(n, labels)``, of pictures' features ``(n, features)``."""
        logits = self._logits(torch.from_numpy(np.array(features)))
        return calibrated(logits, self.spec.temperature, self.spec.power)

    def _first_look(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return self._logits(planes(pixels))

    def _logits(self, batch: Tensor) -> npt.NDArray[np.float32]:
        """Return the network's logits, ``(n, labels)``, of pictures in planes or of features."""
        with torch.inference_mode():
            answers = self.network(batch.to(next(self.network.parameters()).device))
        logits: npt.NDArray[np.float32] = answers.float().cpu().numpy()
        return logits


def save_model(folder: Path, network: Network, spec: ModelSpec) -> None:
    """Write ``model.safetensors``, with the specification in its metadata, and ``model.json`` to read it by eye."""
    tensors.save(folder / MODEL_FILE, network.kept(), metadata={METADATA_KEY: spec.to_json()}, durable=True)
    storage.write_json(folder / "model.json", spec.to_dict())


def _blank(spec: ModelSpec, path: Path) -> Network:
    """Return a network of the shape of the model in ``path``, with random weights, in evaluation mode."""
    head = spec.provenance.get("recipe", {})
    if not head.keys() >= {*HEAD}:
        raise ModelFileError(
            f"{path} does not say how it was trained.",
            expected="a model that 'perceived train' wrote, or 'perceived export' of a run",
            mend="start from the RUN that it was exported from",
        )
    backbone = backbones.create(spec.backbone, weights="none")
    expects = backbones.Input.of(spec.preprocessing)
    classifier = build_head(backbone.features, len(spec.labels), head["hidden"], head["dropout"])
    return Network(backbone.network, classifier, expects, average_flip=head["average_flip"]).eval()


def save_state(folder: Path, state: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
    """Write a resume state that is whole at every instant: tensors first, then the record naming them."""
    name = f"step-{progress['step']:08d}.safetensors"
    tensors.save(folder / name, state, durable=True)
    storage.write_json(folder / STATE_FILE, {"tensors": name, "progress": dict(progress)}, durable=True)
    for old in folder.glob("step-*.safetensors"):
        if old.name != name:
            old.unlink()


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the last resume state, or nothing where a run has not saved one yet."""
    if not (folder / STATE_FILE).is_file():
        return None
    record = storage.read_json(folder / STATE_FILE)
    try:
        return load_file(folder / record["tensors"]), record["progress"]
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"The resume state in {folder} is damaged: {error}.", mend=f"delete {folder} to start the run afresh"
        ) from error
