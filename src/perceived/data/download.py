"""CelebA from Kaggle, through kagglehub; and how to get it by hand where that cannot work."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from perceived.data import celeba as layouts
from perceived.errors import DataError
from perceived.extras import needed_for
from perceived.storage import storage_errors

HANDLE = "jessicali9530/celeba-dataset/versions/2"
"""The version is named so that a finished download is found again without the network."""

KAGGLE_PAGE = "https://www.kaggle.com/datasets/jessicali9530/celeba-dataset"
OFFICIAL_PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"

BY_HAND = (
    f"get CelebA (1.4 GB, for non-commercial research only) with a browser: the zip from {KAGGLE_PAGE}, which need not "
    f"be unpacked; or Anno, Eval and Img/img_align_celeba.zip from {OFFICIAL_PAGE}. "
    "Then: perceived prepare ZIP_OR_FOLDER --out WORK"
)


def celeba(to: Path) -> Path:
    """Download CelebA below ``to`` and return the folder that ``perceived prepare`` reads.

    What is already there is kept: an interrupted download goes on where it stopped, a finished one
    is returned at once, without the network.

    Raises:
        MissingExtraError: kagglehub is not installed.
        DataError: Kaggle cannot be reached or refuses; the message says how to get the data by hand.
        StorageError: the disk is full or ``to`` cannot be written.
    """
    to = Path(to).resolve()
    download = _downloader()
    with storage_errors(to):
        to.mkdir(parents=True, exist_ok=True)
        with _kept_in(to):
            folder = _fetch(download)
    layouts.find(folder)
    return folder


def _downloader() -> Callable[[str], str]:
    with needed_for("Downloading CelebA"):
        from kagglehub import dataset_download
    return dataset_download  # type: ignore[no-any-return]


def _fetch(download: Callable[[str], str]) -> Path:
    from kagglehub import exceptions
    from requests import RequestException

    refusals = (
        RequestException,
        exceptions.BackendError,
        exceptions.CredentialError,
        exceptions.DataCorruptionError,
        exceptions.KaggleEnvironmentError,
        exceptions.NotFoundError,
        exceptions.UnauthenticatedError,
        zipfile.BadZipFile,
        ValueError,
    )
    try:
        return Path(download(HANDLE))
    except refusals as error:
        raise DataError(
            f"CelebA could not be downloaded: {type(error).__name__}: {str(error).partition(' (Caused by')[0][:200]}.",
            expected="a connection to Kaggle",
            mend=f"run the command again to go on where it stopped, or {BY_HAND}",
        ) from error


@contextlib.contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Let kagglehub keep its files in ``folder``: only its own cache resumes, an output folder does not."""
    before = os.environ.get("KAGGLEHUB_CACHE")
    os.environ["KAGGLEHUB_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["KAGGLEHUB_CACHE"]
        else:
            os.environ["KAGGLEHUB_CACHE"] = before
