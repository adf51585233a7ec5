"""Optional dependencies: which extra brings which package, and what to say when one is missing."""

from __future__ import annotations

from perceived.errors import MissingExtraError

EXTRAS = {
    "heic": frozenset({"pillow_heif"}),
    "serve": frozenset(
        {"fastapi", "httpx2", "prometheus_client", "pydantic", "pydantic_settings", "python_multipart", "uvicorn"}
    ),
    "train": frozenset(
        {
            "accelerate",
            "jinja2",
            "kagglehub",
            "matplotlib",
            "onnx",
            "onnxscript",
            "polars",
            "safetensors",
            "sklearn",
            "tensorboard",
            "timm",
            "torch",
            "torchvision",
        }
    ),
    "audit": frozenset({"jinja2", "matplotlib", "polars"}),
    "video": frozenset({"av"}),
}
"""Import names of the packages each extra brings; a test compares them with pyproject.toml."""


def missing_extra(error: ModuleNotFoundError, feature: str) -> MissingExtraError | None:
    """Say which extra would have brought the module that ``error`` misses, or ``None`` if no extra does."""
    package = (error.name or "").partition(".")[0]
    for extra, packages in EXTRAS.items():
        if package in packages:
            return MissingExtraError(f"{feature} ({package})", extra)
    return None
