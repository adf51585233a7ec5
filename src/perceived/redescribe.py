"""A network written as an ONNX file with what it says about itself, or once more with another description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from perceived import storage
from perceived.classifier import Classifier
from perceived.errors import ModelFileError
from perceived.spec import METADATA_KEY, ModelSpec


def save(network: Any, spec: ModelSpec, path: Path) -> None:
    """Write an ONNX ``ModelProto`` with its specification; other metadata that it has stays."""
    kept = {entry.key: entry.value for entry in network.metadata_props}
    onnx.helper.set_model_props(network, {**kept, METADATA_KEY: spec.to_json()})
    network.producer_name = "perceived"
    onnx.save(network, path)


def write(model: Path, spec: ModelSpec, out: Path) -> None:
    """Write the network of ``model`` with another specification as ``out``; it is opened before it gets its name.

    Raises:
        ModelFileError: the file written would not open.
    """
    network = onnx.load(model)
    with storage.atomic_path(out) as partial:
        save(network, spec, partial)
        if Classifier(partial).spec != spec:
            raise ModelFileError(f"{out} does not read back as it was written.", mend="report this with the model")
