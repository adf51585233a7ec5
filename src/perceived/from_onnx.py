"""An exported model, opened again as a network that can go on learning.

The exporter folds each batch norm into the convolution before it. Here such a batch norm is one that
changes nothing but for a bias; :func:`settle` then gives it the statistics of real pictures, which
training needs, without a change of the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from perceived import compact
from perceived.classifier import Classifier, calibrated
from perceived.errors import ModelFileError
from perceived.model import Network, Norm, affine, norm_state, planes
from perceived.preprocess import Pixels
from perceived.spec import ModelSpec

PREFIX = "network."
"""Before a tensor's name in a model file."""
FOLDED = "_bias"
"""After the name of a convolution's weights: what is left of the batch norm behind it."""
NORM_INPUTS = ("weight", "bias", "running_mean", "running_var")
"""What a batch norm is made of, in the order of ONNX."""
TOLERANCE = 1e-3
"""Largest difference in probability between the file and the network that is made of it."""


def fill(network: Network, spec: ModelSpec, path: Path) -> Network:
    """Return ``network``, which has the file's architecture, with the file's weights, in evaluation mode.

    Of a file that computes in int8, they are what its levels stand for.

    Raises:
        ModelFileError: the file holds other weights, or the network answers otherwise than the file.
    """
    with compact.in_float32(path) as plain:
        return _fill(network.eval(), spec, path, plain)


def _fill(network: Network, spec: ModelSpec, path: Path, plain: Path) -> Network:
    graph = onnx.load(plain).graph
    tensors = {
        name.removeprefix(PREFIX): torch.from_numpy(values)
        for name, values in compact.expand(graph).items()
        if name.startswith(PREFIX)
    }
    state = network.state_dict()
    known = {name: tensors[name] for name in state.keys() & tensors.keys()}
    norms = _normalised(network, spec)
    for convolution, norm in norms.items():
        bias = tensors.get(f"{convolution}.weight{FOLDED}")
        if bias is not None:
            known |= _bias_alone(network.get_submodule(norm), norm, bias)
            if f"{convolution}.bias" in state:
                known[f"{convolution}.bias"] = torch.zeros_like(bias)
    known |= {name: tensors[other] for name, other in _unfolded(graph, norms).items()}
    own = {"mean", "std"} | {name for name in state if name.endswith("num_batches_tracked")}
    left = [name for name in state if name not in known and name not in own]
    if left:
        raise _cannot_learn(path, f"it has nothing for {left[0]}")
    try:
        network.load_state_dict(state | known)
    except RuntimeError as error:
        raise _cannot_learn(path, f"its weights do not fit {spec.backbone}") from error
    _require_same_answers(network, spec, path, plain)
    return network


@torch.inference_mode()
def settle(network: Network, pixels: Pixels) -> None:
    """Give batch norms the statistics of framed pictures, ``(n, h, w, 3)`` uint8, and leave all answers as they are."""

    def take(norm: Norm, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3), correction=0)
        norm.load_state_dict(norm_state(*affine(norm), mean, variance, eps=norm.eps), strict=False)

    network.eval()
    with _watched(network, Norm, before=take):
        network.features(planes(pixels))


def _unfolded(graph: Any, norms: Mapping[str, str]) -> dict[str, str]:
    """Return the names that the values of remaining batch norms have in the file, which keeps equal tensors once."""
    convolutions = {node.output[0]: node for node in graph.node if node.op_type == "Conv"}
    found: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "BatchNormalization" and node.input[0] in convolutions:
            convolution = convolutions[node.input[0]].input[1].removeprefix(PREFIX).removesuffix(".weight")
            norm = norms.get(convolution, convolution)
            values = [name.removeprefix(PREFIX) for name in node.input[1:]]
            found |= dict(zip((f"{norm}.{key}" for key in NORM_INPUTS), values, strict=True))
    return found


def _bias_alone(norm: nn.Module, name: str, bias: Tensor) -> dict[str, Tensor]:
    """Return the state of a batch norm that adds a bias and does nothing else."""
    assert isinstance(norm, Norm)
    one = torch.ones_like(bias)
    return {
        f"{name}.weight": one,
        f"{name}.bias": bias,
        f"{name}.running_mean": torch.zeros_like(bias),
        f"{name}.running_var": one - norm.eps,
    }


@torch.inference_mode()
def _normalised(network: Network, spec: ModelSpec) -> dict[str, str]:
    """Return which batch norm follows a convolution at once, by their names."""
    convolved: dict[int, tuple[str, Tensor]] = {}  # the tensors are kept, so that no other takes their place
    found: dict[str, str] = {}
    names = {module: name for name, module in network.named_modules()}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        convolved[id(output)] = names[module], output

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in convolved:
            found[convolved[id(inputs[0])][0]] = names[module]

    with _watched(network, nn.Conv2d, after=note), _watched(network, Norm, before=look):
        network.features(planes(_noise(spec, count=1)))
    return found


@contextmanager
def _watched(
    network: nn.Module,
    kind: type[nn.Module],
    *,
    before: Callable[..., None] | None = None,
    after: Callable[..., None] | None = None,
) -> Iterator[None]:
    """Call functions before or after every module of a kind, as long as the block lasts."""
    modules = [module for module in network.modules() if isinstance(module, kind)]
    hooks = [module.register_forward_pre_hook(before) for module in modules if before]
    hooks += [module.register_forward_hook(after) for module in modules if after]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def largest_difference(network: nn.Module, spec: ModelSpec, check: Pixels, path: Path) -> float:
    """Return the largest difference in probability between torch and the ONNX file at ``path`` on ``check``.

    ONNX Runtime sees the first picture alone, so that another batch size than torch's is tried.
    """
    with torch.inference_mode():
        logits = network(planes(check)).cpu().numpy()
    expected = calibrated(logits, spec.temperature, spec.power)
    classifier = Classifier(path)
    found = np.concatenate([classifier.first_look(part) for part in (check[:1], check[1:])])
    return float(np.abs(calibrated(found, spec.temperature, spec.power) - expected).max())


def _require_same_answers(network: Network, spec: ModelSpec, path: Path, plain: Path) -> None:
    pixels = _noise(spec, count=2)
    difference = largest_difference(network, spec, pixels, plain)
    if not difference <= TOLERANCE:
        raise _cannot_learn(path, f"the network made of it differs by {difference:.2g} in probability")


def _cannot_learn(path: Path, why: str) -> ModelFileError:
    return ModelFileError(
        f"{path} cannot be trained on: {why}.",
        expected="a model that 'perceived export' wrote of a run",
        mend="start from the RUN that it was exported from",
    )


def _noise(spec: ModelSpec, *, count: int) -> Pixels:
    size = spec.preprocessing
    return np.random.default_rng(0).integers(0, 256, (count, size.height, size.width, 3), dtype=np.uint8)
