"""A folder that every node can reach: a shared path, or an address that fsspec knows (s3, gs, abfs, …)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from perceived.errors import ConfigError, StorageError
from perceived.storage import atomic_path, storage_errors


class Folder:
    """Files by their names below one root. A file is whole or absent: object stores and renames see to that."""

    def __init__(self, root: str) -> None:
        """Open the folder, which need not exist.

        Raises:
            ConfigError: the address is of a kind that nothing installed here knows.
        """
        self.files, self._path = open_address(root if is_address(root) else str(Path(root).resolve()))
        self.local = isinstance(self.files, LocalFileSystem)
        self.root = self._path if self.local else root

    def __str__(self) -> str:
        return self.root

    def names(self, below: str = "") -> list[str]:
        """Return the names of the files directly in the folder ``below``, in order; none where there is no folder."""
        path = self.at(below)
        with self._errors(below):
            self.files.invalidate_cache(path)
            if not self.files.isdir(path):
                return []
            found = self.files.ls(path, detail=True)
        return sorted(one["name"].rstrip("/").rpartition("/")[2] for one in found if one["type"] == "file")

    def exists(self, name: str) -> bool:
        with self._errors(name):
            return bool(self.files.exists(self.at(name)))

    def read(self, name: str) -> bytes:
        with self._errors(name):
            content: bytes = self.files.cat_file(self.at(name))
        return content

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """Open a file for reading at any place."""
        with self._errors(name), self.files.open(self.at(name), "rb") as file:
            yield file

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole, in place of one of that name."""
        if self.local:
            with atomic_path(Path(self.root, name)) as partial:
                partial.write_bytes(content)
            return
        with self._writing(name):
            self.files.makedirs(self.at(name).rpartition("/")[0], exist_ok=True)
            self.files.pipe_file(self.at(name), content)

    def remove(self, name: str) -> None:
        """Remove a file; another process, which does the same work, may have done so."""
        with self._writing(name), contextlib.suppress(FileNotFoundError):
            self.files.rm_file(self.at(name))

    def remove_folder(self, name: str) -> None:
        """Remove a folder and everything in it, if it is there."""
        with self._writing(name):
            if self.files.isdir(self.at(name)):
                self.files.rm(self.at(name), recursive=True)

    def at(self, name: str) -> str:
        """Return where a file or folder is, as ``files``, the file system, calls it."""
        return f"{self._path.rstrip('/')}/{name}" if name else self._path

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        with self._errors(name), storage_errors(Path(self.root, name)):
            yield

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self.root}/{name} cannot be used: {error}.",
                expected="a folder that this user may read and write, from every node",
                mend="check the address and the permissions; credentials are those of its fsspec package",
            ) from error


def is_address(word: str) -> bool:
    """Say whether a word is an address, such as ``s3://bucket/folder``, and no path."""
    scheme, separator, _ = word.partition("://")
    return bool(separator) and scheme.replace("+", "").isalnum()


def open_address(word: str) -> tuple[Any, str]:
    """Return the file system of an address or path, and the path in it.

    Raises:
        ConfigError: nothing installed here knows such addresses.
    """
    try:
        files, path = url_to_fs(word)
    except (ImportError, ValueError) as error:
        known = ", ".join(sorted({"file", "gs", "s3", "abfs", "http"} & set(fsspec.available_protocols())))
        raise ConfigError(
            f"{word} cannot be opened: {error}.",
            expected=f"a path, or an address such as {known}, whose fsspec package is installed on every node",
            mend="pip install s3fs, gcsfs or adlfs",
        ) from error
    return files, path
