"""An ONNX network's weights in fewer bytes: as float16 or int8, turned into float32 again as a file is opened.

This is weight-only quantisation. The network computes in float32 all the same: what turns the weights back is
made of plain ``Cast`` and ``Mul`` nodes on constants, which ONNX Runtime carries out once, on loading. A network
that computes in int8 itself (:mod:`perceived.quantize`) is told apart, and turned back, here too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

STORES = ("float32", "float16", "int8")
SMALLEST = 256
"""Number of values from which on a tensor is kept in fewer bytes."""
_LEVELS = 127
_ROUNDING = ("QuantizeLinear", "DequantizeLinear")
_LEVELS_OF = "_quantized"
"""What ONNX Runtime's tools put after a tensor's name where they keep its levels."""


def store(graph: Any, kind: str) -> None:
    """Keep the large float32 tensors of ``graph`` as ``kind``, one of :data:`STORES`.

    As ``"int8"`` a convolution's weights are whole multiples, from -127 to 127, of one step for each
    output channel; other tensors, which are small beside them, are kept as float16.
    """
    if kind == "float32":
        return
    nodes: list[Any] = []
    steps: list[Any] = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST:
            continue
        name = tensor.name
        values: npt.NDArray[np.float32] = onnx.numpy_helper.to_array(tensor)
        stored = f"{name}.{kind}"
        if kind == "int8" and values.ndim == 4:
            levels, step = _quantised(values)
            tensor.CopyFrom(onnx.numpy_helper.from_array(levels, stored))
            steps.append(onnx.numpy_helper.from_array(step, f"{name}.step"))
            nodes.append(onnx.helper.make_node("Cast", [stored], [f"{name}.levels"], to=onnx.TensorProto.FLOAT))
            nodes.append(onnx.helper.make_node("Mul", [f"{name}.levels", f"{name}.step"], [name]))
        else:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), stored))
            nodes.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    graph.initializer.extend(steps)
    nodes.extend(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)


def expand(graph: Any) -> dict[str, npt.NDArray[np.float32]]:
    """Return the float32 tensors of ``graph`` by name, those that :func:`store` keeps in fewer bytes among them."""
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = {name: values.copy() for name, values in tensors.items() if values.dtype == np.float32}
    for name, values in tensors.items():
        whole, _, kind = name.rpartition(".")
        if kind in STORES:
            step = tensors.get(f"{whole}.step", np.float32(1))
            found[whole] = values.astype(np.float32) * step
    return found


def computes_in_int8(graph: Any) -> bool:
    """Return whether a network's values are rounded on their way, and not its weights alone."""
    return any(node.op_type == "QuantizeLinear" for node in graph.node)


@contextmanager
def in_float32(path: Path) -> Iterator[Path]:
    """Yield a file whose network computes in float32: ``path`` itself, or a passing one with the same weights."""
    model = onnx.load(path)
    if not computes_in_int8(model.graph):
        yield path
        return
    _turn_back(model.graph)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.name
        onnx.save(model, plain)
        yield plain


def _turn_back(graph: Any) -> None:
    """Make ``graph`` compute in float32: its tensors get the names that they had, and nothing is rounded between."""
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    instead: dict[str, str] = {}
    found: dict[str, npt.NDArray[np.float32]] = {}
    for node in graph.node:
        source = node.input[0] if node.input else ""
        if node.op_type == "DequantizeLinear" and source in tensors:
            instead[node.output[0]] = name = source.removesuffix(_LEVELS_OF)
            found[name] = _values(*(tensors[given] for given in node.input))
        elif node.op_type in _ROUNDING:
            instead[node.output[0]] = source
    kept = [node for node in graph.node if node.op_type not in _ROUNDING]
    for node in kept:
        for i, name in enumerate(node.input):
            while name in instead and instead[name] != name:
                name = instead[name]
            node.input[i] = name
    used = {name for node in kept for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in used and tensor.name not in found]
    weights += [onnx.numpy_helper.from_array(values, name) for name, values in found.items()]
    for part, items in ((graph.node, kept), (graph.initializer, weights), (graph.value_info, [])):
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        del part[:]  # and with it the items themselves
        part.extend(copies)


def _values(levels: npt.NDArray[Any], step: npt.NDArray[np.float32], zero: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return what ``levels``, with a step for each first index or one for all, stand for."""
    shape = (-1, *[1] * (levels.ndim - 1)) if step.ndim else ()
    values: npt.NDArray[np.float32] = (levels.astype(np.float32) - zero.reshape(shape)) * step.reshape(shape)
    return values.astype(np.float32)


def _quantised(weights: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return levels, shaped as the weights, and one step for each output channel, ``(out, 1, 1, 1)``."""
    step = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / np.float32(_LEVELS)
    step = np.where(step == 0, np.float32(1), step).astype(np.float32)
    return np.rint(weights / step).astype(np.int8), step
