"""Files of tensors: whole, readable by others, and a full disk told as such."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from perceived import tensors
from perceived.errors import StorageError


def test_tensors_are_kept_in_a_file_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    value = torch.arange(6.0).reshape(2, 3).T
    tensors.save(tmp_path / "file", {"a": value}, metadata={"of": "this"})
    assert torch.equal(load_file(tmp_path / "file")["a"], value)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise SafetensorError(f"Error while serializing: I/O error: {words}")

    monkeypatch.setattr(tensors, "save_file", refuse)
    words = "No space left on device (os error 28)"
    with pytest.raises(StorageError, match="The disk is full"):
        tensors.save(tmp_path / "file", {})
    words = "invalid"
    with pytest.raises(SafetensorError, match="invalid"):
        tensors.save(tmp_path / "file", {})
    assert list(tmp_path.iterdir()) == []
