"""A dataset on disk to a table, the table to a split, the split to pixels and batches.

The stages are modules, imported when first used: ``perceived.data.table.prepare``,
``perceived.data.split.make``, ``perceived.data.download.celeba``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perceived.data import (
        augment,
        cache,
        celeba,
        check,
        download,
        fairface,
        feed,
        labels,
        preview,
        sampling,
        split,
        table,
    )

__all__ = [
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
]

if not TYPE_CHECKING:  # which would take every name for one of these

    def __getattr__(name):
        from perceived.extras import submodule

        return submodule(__name__, name, import_module)
