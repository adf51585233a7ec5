"""Optional dependencies: which extra brings which package, and what to say when one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from perceived.errors import MissingExtraError

EXTRAS = {
    "heic": ("pillow-heif",),
    "serve": (
        *("fastapi", "httpx2", "prometheus-client", "pydantic", "pydantic-settings"),
        *("python-dotenv", "python-multipart", "uvicorn"),
    ),
    "train": (
        *("accelerate", "jinja2", "kagglehub", "matplotlib", "onnx", "onnxscript", "polars", "safetensors"),
        *("scikit-learn", "scipy", "tensorboard", "timm", "torch", "torchvision"),
    ),
    "hub": ("huggingface-hub", "pyyaml"),
    "tune": ("optuna",),
    "audit": ("jinja2", "matplotlib", "polars"),
    "video": ("av",),
    "cluster": ("fsspec", "pyarrow", "ray"),
    "lance": ("pylance",),
}
"""Packages each extra brings; a test compares them with pyproject.toml."""
_IMPORTED_AS = {"pylance": "lance", "python-dotenv": "dotenv", "pyyaml": "yaml", "scikit-learn": "sklearn"}


def modules(extra: str) -> frozenset[str]:
    """Return the names under which the packages of an extra are imported."""
    return frozenset(_IMPORTED_AS.get(package, package.replace("-", "_")) for package in EXTRAS[extra])


def is_installed(extra: str) -> bool:
    """Say whether the packages of an extra are here, without loading them."""
    return all(find_spec(name) for name in modules(extra))


@contextmanager
def needed_for(feature: str, *, extra: str = "") -> Iterator[None]:
    """Turn a failing import into what ``feature`` lacks; any other missing module is a defect, and passes.

    ``extra`` is named where several bring the missing package.

    Raises:
        MissingExtraError: a package of an extra is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        bringing = [name for name in EXTRAS if missing in modules(name)]
        if not bringing:
            raise
        raise MissingExtraError(feature, extra if extra in bringing else bringing[0]) from error


def submodule(package: str, name: str) -> ModuleType:
    """Return a module of a package, loaded now that it is asked for.

    Raises:
        AttributeError: there is none of that name.
        MissingExtraError: it needs a package of an extra that is not installed.
    """
    whole = f"{package}.{name}"
    if name.startswith("_") or not name.isidentifier() or find_spec(whole) is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    with needed_for(whole, extra=name):
        return import_module(whole)
