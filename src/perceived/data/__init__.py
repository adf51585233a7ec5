"""A dataset on disk to a table, the table to a split, the split to pixels and batches.

The stages are modules, imported when first used: ``perceived.data.table.prepare``,
``perceived.data.split.make``, ``perceived.data.download.celeba``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perceived.data import (
        augment as augment,
    )
    from perceived.data import (
        cache as cache,
    )
    from perceived.data import (
        celeba as celeba,
    )
    from perceived.data import (
        check as check,
    )
    from perceived.data import (
        download as download,
    )
    from perceived.data import (
        fairface as fairface,
    )
    from perceived.data import (
        feed as feed,
    )
    from perceived.data import (
        labels as labels,
    )
    from perceived.data import (
        preview as preview,
    )
    from perceived.data import (
        sampling as sampling,
    )
    from perceived.data import (
        split as split,
    )
    from perceived.data import (
        table as table,
    )

if not TYPE_CHECKING:  # which would take every name for one of these

    def __getattr__(name):
        from perceived.extras import submodule

        return submodule(__name__, name)
