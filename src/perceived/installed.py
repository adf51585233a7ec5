"""What is installed here: for bug reports, read from package metadata without importing anything heavy."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from perceived import __version__

CORE = ("numpy", "onnxruntime", "opencv-python-headless", "pillow", "rich", "typer")
TRAIN = ("torch", "torchvision", "timm", "accelerate", "safetensors", "polars", "onnx")


def describe() -> dict[str, str]:
    """Return the version of perceived, Python, the system and every package that matters."""
    here = {
        "perceived": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": str(os.cpu_count()),
    }
    return here | {name: _version(name) for name in (*CORE, *TRAIN)}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed: pip install 'perceived[train]'" if name in TRAIN else "not installed"
