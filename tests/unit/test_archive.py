"""Reading members of a zip in place: the same bytes as the standard library, from any thread."""

from __future__ import annotations

import gc
import os
import weakref
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from perceived import archive
from perceived.errors import DataError

members = st.dictionaries(
    st.text("abcé/", min_size=1, max_size=6).filter(lambda name: not name.endswith("/")),
    st.binary(max_size=3000),
    min_size=1,
)


def write(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


@settings(deadline=None, max_examples=50)
@given(files=members, method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]), before=st.binary(max_size=20))
def test_members_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], method: int, before: bytes
) -> None:
    path = write(tmp_path_factory.mktemp("zip") / "a.zip", files, method)
    path.write_bytes(before + path.read_bytes())
    opened = archive.Archive(path)
    assert opened.names() == list(files)
    assert {name: opened.read(name) for name in files} == files
    assert {name: opened.size(name) for name in files} == {name: len(data) for name, data in files.items()}


def test_threads_share_one_archive(tmp_path: Path) -> None:
    files = {f"{i}.bin": bytes([i]) * (1000 + i) for i in range(100)}
    path = write(tmp_path / "a.zip", files)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda name: archive.read_location(f"{path}!{name}"), list(files) * 5))
    assert read == list(files.values()) * 5
    assert archive.open_archive(path) is archive.open_archive(str(path))


def test_a_replaced_archive_is_opened_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"x": b"old"})
    assert archive.read_location(f"{path}!x") == b"old"
    old = weakref.ref(archive.open_archive(path))
    write(tmp_path / "b.zip", {"x": b"newer"}).replace(path)
    assert archive.read_location(f"{path}!x") == b"newer"
    gc.collect()
    assert old() is None, "it is let go"


def test_a_replaced_archive_of_the_same_size_is_opened_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"x": b"old"})
    assert archive.read_location(f"{path}!x") == b"old"
    new = write(tmp_path / "b.zip", {"x": b"new"})
    os.utime(new, ns=(0, 10**18))
    new.replace(path)
    assert archive.read_location(f"{path}!x") == b"new"


def test_one_thread_at_a_time_opens_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset's directory takes seconds to read: not once for each thread."""
    held = []
    monkeypatch.setattr(archive, "Archive", lambda path: held.append(archive._LOCK.locked()))
    archive.open_archive(write(tmp_path / "a.zip", {"x": b"data"}))
    assert held == [True]


def test_folders_are_no_members(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.mkdir("folder")
        file.writestr("folder/x", b"data")
    assert archive.Archive(tmp_path / "a.zip").names() == ["folder/x"]


def test_an_encrypted_member_is_told_to_be_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"x": b"data"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"x in .* cannot be read: encrypted"):
        archive.Archive(path).read("x")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 100])
def test_not_a_zip(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match="not a readable zip"):
        archive.open_archive(tmp_path / "a.zip")


def test_missing_archive_and_missing_member(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be opened"):
        archive.read_location(f"{tmp_path}/gone.zip!x")
    path = write(tmp_path / "a.zip", {"x": b"data"})
    with pytest.raises(DataError, match="has no member y"):
        archive.read_location(f"{path}!y")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_member(tmp_path: Path, method: int) -> None:
    path = write(tmp_path / "a.zip", {"x": bytes(range(256)) * 4}, method)
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"x in .* cannot be read"):
        archive.Archive(path).read("x")


def test_a_member_cannot_outgrow_its_declared_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"x": b"\0" * 1_000_000})
    data = path.read_bytes()
    declared = (1_000_000).to_bytes(4, "little")
    assert data.count(declared) == 2
    path.write_bytes(data.replace(declared, (10).to_bytes(4, "little")))
    opened = archive.Archive(path)
    assert opened.size("x") == 10
    with pytest.raises(DataError, match="checksum differs"):
        opened.read("x")
    packed = zlib.compress(b"\0" * 1_000_000)[2:-4]
    assert len(archive._unpack(packed, opened._member("x"))) == 11, "no more of it is unpacked than shows that"


def test_rare_packing_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"x": b"data" * 100}, zipfile.ZIP_BZIP2)
    with pytest.raises(DataError, match="method 12"):
        archive.Archive(path).read("x")


def test_locations() -> None:
    assert archive.split_location("/data/a.zip!b/c.jpg") == ("/data/a.zip", "b/c.jpg")
    assert archive.split_location("/data/a.ZIP!c.jpg") == ("/data/a.ZIP", "c.jpg")
    assert archive.split_location("/data/a.Zip!c.zip!d.jpg") == ("/data/a.Zip", "c.zip!d.jpg")
    assert archive.split_location("/data/hello!.jpg") is None
    assert archive.split_location("/data/a.zip") is None
