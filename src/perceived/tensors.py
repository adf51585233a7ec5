"""Files of tensors, written whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from perceived import storage

_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")
"""How the library, which is written in Rust, tells what the operating system refused."""


def save(
    path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None, durable: bool = False
) -> None:
    """Write tensors as safetensors, atomically; see :func:`perceived.storage.atomic_path`.

    Raises:
        StorageError: the disk is full or refuses the file.
    """
    whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with storage.atomic_path(path, durable=durable) as partial:
        partial.touch()
        mode = partial.stat().st_mode  # what new files get here; the library's are their owner's alone
        try:
            save_file(whole, partial, metadata=None if metadata is None else dict(metadata))
        except SafetensorError as error:
            if found := _SYSTEM_ERROR.search(str(error)):
                raise OSError(int(found[1]), str(error)) from error
            raise
        partial.chmod(mode)
