"""ONNX Runtime's sessions, opened in one way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from perceived.errors import ConfigError

REFUSED = (
    *(errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf),
    *(errors.NotImplemented, errors.RuntimeException),
)
"""What ONNX Runtime raises of a model that it cannot run; :data:`DAMAGED` of a file that is none."""
DAMAGED = errors.InvalidProtobuf
ONLY_FAULTS = 4
"""Severity from which ONNX Runtime's own messages are printed: those that end the process."""


def run(session: ort.InferenceSession, outputs: Sequence[str], inputs: Mapping[str, Any]) -> list[Any]:
    """Return what a model makes of its inputs, in the order of ``outputs``.

    Raises:
        ConfigError: there is not enough memory for it.
    """
    try:
        found: list[Any] = session.run(outputs, inputs)
    except errors.RuntimeException as error:
        if "bad_alloc" not in str(error) and "Failed to allocate" not in str(error):
            raise
        raise ConfigError(
            "There is not enough memory for the network.",
            expected="about 300 MB for one process",
            mend="free some, allow more (ulimit -v), or use fewer --threads",
        ) from error
    return found


def open_session(
    model: Path | bytes, *, threads: int, providers: Sequence[str], memory_patterns: bool = True
) -> ort.InferenceSession:
    """Open a model, a file or its bytes, on so many ``threads`` (0: one for each core, as ONNX Runtime sees fit).

    ``memory_patterns`` are kept for every shape of the input, and are worth it where there are few.

    Raises:
        one of :data:`REFUSED`: ONNX Runtime cannot run it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = memory_patterns
    options.log_severity_level = ONLY_FAULTS
    if isinstance(model, Path) and not str(model).isprintable():
        model = model.read_bytes()  # ONNX Runtime takes names in UTF-8 only
    return ort.InferenceSession(model, options, providers=list(providers))
