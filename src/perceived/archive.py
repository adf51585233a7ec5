"""A zip archive read in place: listed once, its members read by any thread without unpacking.

The standard library parses the directory; members are then sliced out of a read-only memory map,
which threads and forked processes may share (a ``ZipFile`` handle may not).
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import threading
import zipfile
import zlib
from pathlib import Path

from perceived.errors import DataError

SEPARATOR = "!"
"""Stands between an archive and its member: ``/data/archive.zip!img_align_celeba/000001.jpg``."""

_MARK = re.compile(re.escape(".zip" + SEPARATOR), re.IGNORECASE)
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1


class Archive:
    """One zip archive, open for reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
                self._members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error) as error:
            raise DataError(
                f"{path} is not a readable zip archive: {error}.",
                expected="a complete .zip file",
                mend="download or copy the archive again; a download that was cut short looks like this",
            ) from error

    def names(self) -> list[str]:
        """Return the members' names in the archive's order, without folders."""
        return list(self._members)

    def size(self, name: str) -> int:
        """Return the number of bytes :meth:`read` would return."""
        return self._member(name).file_size

    def read(self, name: str) -> bytes:
        """Return a member's bytes, checked against the archive's CRC-32.

        Raises:
            DataError: there is no such member, or it is damaged, encrypted or packed in a rare way.
        """
        info = self._member(name)
        start = info.header_offset
        try:
            signature, name_length, extra_length = _LOCAL_HEADER.unpack_from(self._bytes, start)
            start += _LOCAL_HEADER.size + name_length + extra_length
            data = self._bytes[start : start + info.compress_size]
            if signature != b"PK\x03\x04" or info.flag_bits & _ENCRYPTED:
                raise ValueError("encrypted" if info.flag_bits & _ENCRYPTED else "no local header where one should be")
            data = _unpack(data, info)
            if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
                raise ValueError("the checksum differs")
        except (ValueError, struct.error, zlib.error) as error:
            raise DataError(
                f"{name} in {self.path} cannot be read: {error}.", mend="download or copy the archive again"
            ) from error
        return data

    def _member(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._members[name]
        except KeyError as error:
            raise DataError(f"{self.path} has no member {name}.") from error


def _unpack(data: bytes, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type == zipfile.ZIP_STORED:
        return data
    if info.compress_type == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, info.file_size + 1)
    raise ValueError(f"packed by method {info.compress_type}; stored and deflated members are read")


_OPEN: dict[str, tuple[tuple[int, int], Archive]] = {}
"""Archives by path, each with the time and the size of the file that was opened."""
_LOCK = threading.Lock()


def open_archive(path: str | Path) -> Archive:
    """Return the archive at ``path``, opened once per process for as long as the file is unchanged."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- once per picture, and three times as quick as Path.stat
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}.") from error
    key, now = os.fspath(path), (status.st_mtime_ns, status.st_size)
    with _LOCK:
        before, archive = _OPEN.get(key, (None, None))
        if archive is None or before != now:
            archive = Archive(Path(path))
            _OPEN[key] = now, archive
        return archive


def split_location(location: str) -> tuple[str, str] | None:
    """Return ``(archive, member)`` of a location inside a zip, or ``None`` for a plain path."""
    mark = _MARK.search(location) if SEPARATOR in location else None
    return (location[: mark.end() - len(SEPARATOR)], location[mark.end() :]) if mark else None


def find(location: str) -> tuple[Archive, str] | None:
    """Return the open archive and the member's name, or ``None`` for a plain path.

    A plain file whose name merely looks like a member's location has no archive beside it.

    Raises:
        DataError: there is such a file, but it is no archive.
    """
    inside = split_location(location)
    if inside is None:
        return None
    try:
        return open_archive(inside[0]), inside[1]
    except DataError:
        if Path(location).exists():
            return None
        raise


def read_location(location: str) -> bytes:
    """Return the bytes of a plain file or of a member of a zip.

    Raises:
        DataError: the member cannot be read.
        OSError: the plain file cannot be read.
    """
    inside = find(location)
    if inside is None:
        return Path(location).read_bytes()
    archive, member = inside
    return archive.read(member)
