"""A dataset on disk to a table, the table to a split, the split to pixels and batches.

The stages are modules, imported when first used: ``perceived.data.table.prepare``,
``perceived.data.split.make``, ``perceived.data.download.celeba``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perceived.data import (
        augment as augment,
        cache as cache,
        celeba as celeba,
        check as check,
        download as download,
        fairface as fairface,
        feed as feed,
        labels as labels,
        preview as preview,
        sampling as sampling,
        split as split,
        table as table,
    )

if not TYPE_CHECKING:  # which would take every name for one of these

    def __getattr__(name):
        from perceived.extras import submodule

        return submodule(__name__, name)
