"""A dataset on disk to a table, the table to a split, the split to pixels and batches.

The stages are modules, imported when first used: ``perceived.data.table.prepare``,
``perceived.data.split.make``, ``perceived.data.download.celeba``.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

_STAGES = frozenset(
    {
        "augment",
        "cache",
        "celeba",
        "check",
        "download",
        "fairface",
        "feed",
        "labels",
        "preview",
        "sampling",
        "split",
        "table",
    }
)


def __getattr__(name: str) -> ModuleType:
    if name not in _STAGES:
        raise AttributeError(f"module 'perceived.data' has no attribute {name!r}")
    return import_module(f"perceived.data.{name}")
