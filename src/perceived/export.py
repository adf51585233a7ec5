"""From a trained run to one ONNX file that carries everything a reader needs, checked before it gets its name."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from perceived import compact, redescribe, storage
from perceived.classifier import ACTIVATION, INPUT, OUTPUT
from perceived.errors import ConfigError, ModelFileError
from perceived.from_onnx import largest_difference
from perceived.model import Network, explains, planes
from perceived.models import model_file
from perceived.preprocess import Pixels, frame
from perceived.spec import ModelSpec
from perceived.wording import counted

OPSET = 20
TOLERANCES = {"float32": 1e-3, "float16": 5e-3, "int8": 5e-2}
"""Largest difference in probability, on the run's check pictures, between ONNX Runtime and torch in float32,
by the type in which the file keeps its weights: their rounding comes on top."""


def export(run: Path, out: Path, *, store: str = "float32") -> Path:
    """Write the best model of ``run`` to the ONNX file ``out`` and return ``out``.

    The file holds the network (input ``pixels``, uint8 ``(n, height, width, 3)`` RGB; outputs
    ``logits``, float32 ``(n, labels)``, and, where the network allows it, ``activation``, float32
    ``(n, labels, h', w')``) and, in its metadata, the :class:`ModelSpec`. ``store``, one of
    :data:`perceived.compact.STORES`, is the type in which the weights are kept.

    Raises:
        ConfigError: there is no such type, or ``out`` is a folder.
        ModelFileError: the run is damaged, or ONNX Runtime and torch disagree; no file is left.
    """
    from perceived.checkpoint import Run, TrainedModel

    if not Path(run).is_dir():
        raise ModelFileError(
            f"{run} is no folder that 'perceived train' wrote.",
            expected="the RUN folder of a training; a model file is exported already",
            mend="check the path",
        )
    trained = TrainedModel.load(run)
    return write(
        trained.network, trained.spec, read_check_pictures(Run(run).check_pictures, trained.spec), out, store=store
    )


def write(network: nn.Module, spec: ModelSpec, check: Pixels, out: Path, *, store: str = "float32") -> Path:
    """Write ``network``, which takes float RGB ``(n, 3, h, w)`` of 0-255, as :func:`export` does.

    The network is put into evaluation mode and float32. ``check`` are the framed pictures,
    ``(n, h, w, 3)`` uint8, on which the file has to agree with it.
    """
    out = model_file(out)
    if store not in compact.STORES:
        raise ConfigError(f"Weights cannot be kept as {store!r}.", expected=f"one of {', '.join(compact.STORES)}")
    network.float().eval()
    served = _Explained(network) if explains(network, planes(check)) else _Served(network)
    model = _to_onnx(served.eval(), spec)
    with storage.atomic_path(out) as partial:
        difference = _agree(model, network, spec, check, partial, "float32")
        if store != "float32":
            compact.store(model.graph, store)
            difference = _agree(model, network, spec, check, partial, store)
        redescribe.save(model, _with_provenance(spec, store, len(check), difference), partial)
    return out


def _agree(model: Any, network: nn.Module, spec: ModelSpec, check: Pixels, partial: Path, store: str) -> float:
    """Write a model and return its largest difference from the network, or refuse one beyond the tolerance."""
    redescribe.save(model, spec, partial)
    difference, tolerance = largest_difference(network, spec, check, partial), TOLERANCES[store]
    if not difference <= tolerance:  # nor if it is no number
        raise ModelFileError(
            f"The exported model and the trained one differ by {difference:.2g} in probability.",
            expected=f"at most {tolerance:g} on the run's {counted(len(check), 'check picture')}",
            mend="report this with the run's config.json; evaluate the run itself meanwhile"
            if store == "float32"
            else "keep more of the weights: --store float16, or float32, which 'perceived quantize' makes small, too",
        )
    return difference


def read_check_pictures(path: Path, spec: ModelSpec) -> Pixels:
    """Read the pictures on which an export is checked, framed as the model takes them: ``(n, h, w, 3)`` uint8.

    They are stored at the last size of the training. Where pictures grow, the best model may be of an earlier one.

    Raises:
        ModelFileError: they are missing, damaged or none.
    """
    mend = "run the training again: it writes the check pictures, and resumes where it was"
    try:
        pixels: Pixels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelFileError(f"The check pictures {path} cannot be read: {error}.", mend=mend) from error
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.size == 0:
        raise ModelFileError(
            f"The check pictures {path} are {pixels.dtype} of shape {pixels.shape}.",
            expected="uint8 of shape (n, height, width, 3)",
            mend=mend,
        )
    return np.stack([frame(picture, spec.preprocessing) for picture in pixels])


class _Served(nn.Module):
    """A network that takes pixels as a file has them: uint8, ``(n, h, w, 3)``."""

    outputs = (OUTPUT,)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network(pixels.permute(0, 3, 1, 2).to(torch.float32))
        return logits


class _Explained(nn.Module):
    """The same, with the activation map as second output: the first is computed from it."""

    outputs = (OUTPUT, ACTIVATION)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        assert isinstance(network, Network)
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        activation = self.network.activation(pixels.permute(0, 3, 1, 2).to(torch.float32))
        # ONNX Runtime sums ReduceMean's rows in an order that hangs on where they lie: on the other faces of a batch
        mean = nn.functional.avg_pool2d(activation, activation.shape[2:]).flatten(1)
        return mean + self.network.output.bias, activation


def _to_onnx(served: _Served | _Explained, spec: ModelSpec) -> Any:
    size = spec.preprocessing
    example = torch.zeros(2, size.height, size.width, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        _with_clamps(copy.deepcopy(served.cpu())),
        (example,),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=list(served.outputs),
        dynamic_shapes={INPUT: {0: torch.export.Dim("n", min=1, max=1 << 16)}},
    )
    assert program is not None
    model = program.model_proto
    _forget_the_machine(model)
    return model


class _Clamp(nn.Module):
    """ReLU6, in the words of the exporter's core operations."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(0.0, 6.0)


def _with_clamps(module: nn.Module) -> nn.Module:
    """Replace every ReLU6, which the exporter takes apart step by step: a third of the time of a mobile network."""
    for name, child in module.named_children():
        setattr(module, name, _Clamp() if isinstance(child, nn.ReLU6) else _with_clamps(child))
    return module


def _forget_the_machine(model: Any) -> None:
    """Remove the exporter's notes from every node: they name files on the machine that ran it."""
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:]
    for part in (graph.node, graph.input, graph.output, graph.value_info, graph.initializer):
        for item in part:
            del item.metadata_props[:]
            item.doc_string = ""


def _with_provenance(spec: ModelSpec, store: str, pictures: int, difference: float) -> ModelSpec:
    made = {
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "opset": OPSET,
        "weights": store,
        "check_pictures": pictures,
        "largest_difference": difference,
    }
    return dataclasses.replace(spec, provenance={**spec.provenance, "export": made})
