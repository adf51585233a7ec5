"""Downloading through kagglehub, with kagglehub and the network stood in for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perceived.data import download
from perceived.errors import DataError, MissingExtraError, StorageError

kagglehub = pytest.importorskip("kagglehub", exc_type=ImportError)


def stand_in(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], str]) -> None:
    monkeypatch.setattr(kagglehub, "dataset_download", answer)


def test_download_lands_below_the_folder(faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLEHUB_CACHE", raising=False)

    def fetch(handle: str) -> str:
        assert handle == "jessicali9530/celeba-dataset/versions/2"
        return str(faces.write(Path(os.environ["KAGGLEHUB_CACHE"]) / "datasets" / "versions" / "2"))

    stand_in(monkeypatch, fetch)
    folder = download.celeba(tmp_path / "celeba")
    assert folder.is_relative_to(tmp_path / "celeba")
    assert "KAGGLEHUB_CACHE" not in os.environ


def test_an_earlier_cache_setting_is_put_back(faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", "elsewhere")
    stand_in(monkeypatch, lambda handle: str(faces.write(tmp_path / "celeba")))
    download.celeba(tmp_path / "celeba")
    assert os.environ["KAGGLEHUB_CACHE"] == "elsewhere"


def test_offline_says_how_to_get_it_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    def fetch(handle: str) -> str:
        raise requests.exceptions.ConnectionError("Max retries exceeded (Caused by a long story)")

    stand_in(monkeypatch, fetch)
    with pytest.raises(DataError) as error:
        download.celeba(tmp_path)
    message = str(error.value)
    assert "Max retries exceeded." in message
    for hint in (download.KAGGLE_PAGE, download.OFFICIAL_PAGE, "perceived prepare", "go on where it stopped"):
        assert hint in message


def test_refused_credentials_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(handle: str) -> str:
        raise kagglehub.exceptions.UnauthenticatedError

    stand_in(monkeypatch, fetch)
    with pytest.raises(DataError, match="UnauthenticatedError"):
        download.celeba(tmp_path)


def test_something_else_came_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, lambda handle: str(tmp_path))
    with pytest.raises(DataError, match="list_attr_celeba"):
        download.celeba(tmp_path)


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(handle: str) -> str:
        raise OSError(28, "No space left on device")

    stand_in(monkeypatch, fetch)
    with pytest.raises(StorageError, match="disk is full"):
        download.celeba(tmp_path)


def test_without_kagglehub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MissingExtraError, match=r"perceived\[train\]"):
        download.celeba(tmp_path / "celeba")
    assert not (tmp_path / "celeba").exists()
