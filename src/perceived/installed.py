"""What is installed here: versions, weights and devices, for bug reports and for those who compare hashes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from perceived import __version__
from perceived.devices import available, missing
from perceived.errors import MissingExtraError
from perceived.extras import EXTRAS
from perceived.models import SHIPPED, installed, sums
from perceived.storage import sha256_file

CORE = ("numpy", "onnxruntime", "opencv-python-headless", "pillow", "rich", "typer")


def describe() -> dict[str, str]:
    """Return the version of perceived, Python, the system and every package that matters."""
    here = {
        "perceived": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": f"{os.cpu_count()}, {processor()}",
    }
    extras = {name: _version(name, extra) for extra, names in EXTRAS.items() for name in names}
    return here | {name: _version(name) for name in CORE} | extras


def processor() -> str:
    """Return the processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def weights() -> Iterator[tuple[str, str, str, str]]:
    """Yield name and bytes of each network that ships with a package, whether it is what was packed, and its SHA-256.

    Their licences lie beside them.
    """
    for file in (*sorted(SHIPPED.glob("*.onnx")), *installed().values()):
        if not file.is_file():
            yield file.stem, "", "no: it is missing; install its package again", ""
            continue
        packed, found = sums(file.parent), sha256_file(file)
        whole = "yes" if packed.get(file.name) == found else "no: damaged or changed; install the package again"
        yield file.stem, f"{file.stat().st_size:,}", whole if packed else "its package names no hash", found


def devices() -> Iterator[tuple[str, str]]:
    """Yield what a model may run on, and whether the ONNX Runtime installed here offers it."""
    for device, here in available().items():
        yield device, "yes" if here else f"no: {missing(device)}"


def model(name: str) -> dict[str, Any]:
    """Return what a model says about itself, with its file and hash.

    Raises:
        ModelFileError: there is no such model, or it cannot be read.
    """
    from perceived.classifier import Classifier
    from perceived.models import find_model

    path = find_model(name)
    spec = Classifier(path).spec
    return {"file": str(path), "sha256": sha256_file(path), **spec.to_dict()}


def _version(name: str, extra: str | None = None) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed" if extra is None else f"not installed: {MissingExtraError(name, extra).mend}"
