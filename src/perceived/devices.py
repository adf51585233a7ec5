"""What a model runs on: names for ONNX Runtime's execution providers, and which are there."""

from __future__ import annotations

import platform

from perceived.errors import ConfigError

DEVICES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""ONNX Runtime's name of each device's provider (onnxruntime.ai/docs/execution-providers)."""
PACKAGES = {"cuda": "onnxruntime-gpu", "coreml": "onnxruntime", "openvino": "onnxruntime-openvino"}
"""The build of ONNX Runtime that brings a device; CoreML comes with the one for macOS."""
_MACOS_ONLY = "coreml"


def available() -> dict[str, bool]:
    """Say of each device whether the ONNX Runtime installed here was built for it."""
    import onnxruntime as ort

    built_for = set(ort.get_available_providers())
    return {device: provider in built_for for device, provider in DEVICES.items()}


def missing(device: str) -> str:
    """Say of a device that is not here what it comes with."""
    if device == _MACOS_ONLY and platform.system() != "Darwin":
        return "macOS only"
    return f"it comes with the package {PACKAGES[device]}"


def providers(device: str) -> list[str]:
    """Return the providers to open a model with: the device's own, then the CPU for what it cannot run.

    Raises:
        ConfigError: the device is unknown, or this ONNX Runtime was not built for it.
    """
    if device not in DEVICES:
        raise ConfigError(f"The device {device!r} is unknown.", expected=f"one of {', '.join(DEVICES)}")
    if device == "cpu":
        return [DEVICES["cpu"]]
    here = available()
    if not here[device]:
        raise ConfigError(
            f"The ONNX Runtime installed here cannot use {device}: {missing(device)}.",
            expected=f"one of {', '.join(name for name, there in here.items() if there)}",
            mend="choose another device, or run it on a machine that has this one",
        )
    return [DEVICES[device], DEVICES["cpu"]]
