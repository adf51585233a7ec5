"""Files are whole or absent, whatever ends the process that writes them."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from perceived import storage
from perceived.errors import ConfigError, DataError, ResumeError, StorageError

KILLED = """
import os, signal, sys
from pathlib import Path
from perceived import storage
with storage.atomic_path(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "file.txt"
    with storage.atomic_path(target) as partial:
        partial.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_durable_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, synced = tmp_path / "file.json", []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((os.fstat(file).st_size, target.exists())))
    storage.write_json(target, {"a": 1}, durable=True)
    assert synced == [(target.stat().st_size, False)]


def test_an_error_leaves_what_was_there_before(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("before")
    with pytest.raises(ZeroDivisionError), storage.atomic_path(target) as partial:
        partial.write_text(f"half {1 / 0}")
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "set"
    for name in ("old", "new"):
        with storage.atomic_path(target) as partial:
            partial.mkdir()
            (partial / name).touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_may_take_the_place_of_a_fuller_one(tmp_path: Path) -> None:
    target = tmp_path / "set"
    target.mkdir()
    (target / "old").touch()
    with storage.atomic_path(target) as partial:
        partial.mkdir()
    assert list(target.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="counts open files")
def test_what_is_written_leaves_no_file_open(tmp_path: Path) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    for number in range(5):
        storage.write_text(tmp_path / f"{number}.txt", "whole")
    with storage.alone_in(tmp_path / "new"):
        pass
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "file.txt")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name.startswith(".file.txt.") for path in tmp_path.iterdir()] == [True]
    storage.write_text(tmp_path / "other.txt", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


KILLED_WHILE_REPLACING = """
import os, signal, sys
from pathlib import Path
from perceived import storage
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with storage.atomic_path(Path(sys.argv[1])) as partial:
    partial.mkdir()
"""
"""A writer that is killed after the folder of before has made room and before the new one has its name."""


def test_a_folder_that_made_room_for_one_that_never_came_goes_back(tmp_path: Path) -> None:
    target = tmp_path / "set"
    target.mkdir()
    (target / "before").touch()
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_REPLACING, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    storage.write_text(tmp_path / "other.txt", "whole")
    assert [path.name for path in target.iterdir()] == ["before"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.txt", "set"]


def test_a_folder_goes_back_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "set"
    target.mkdir()
    (target / "before").touch()
    monkeypatch.setattr(Path, "replace", lambda *_: (tmp_path / "missing").stat())
    with pytest.raises(StorageError, match="removed meanwhile"), storage.atomic_path(target) as partial:
        partial.mkdir()
    assert [path.name for path in target.iterdir()] == ["before"]


def test_a_folder_is_listed_once_for_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = []
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: listed.append(folder) or iter(()))
    for number in range(5):
        storage.write_text(tmp_path / f"{number}.txt", "whole")
    assert listed == [tmp_path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "elsewhere" / "file.txt", tmp_path / "link.txt"
    target.parent.mkdir()
    link.symlink_to(target)
    for text in ("first", "second"):
        storage.write_text(link, text)
        assert (link.readlink(), target.read_text()) == (target, text)


def test_what_is_no_disk_takes_no_file() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("there is no /proc")
    with pytest.raises(StorageError, match="/proc"):
        storage.write_text(Path("/proc/perceived.txt"), "text")
    with pytest.raises(StorageError, match="/proc/perceived cannot be written"):
        storage.write_text(Path("/proc/perceived/a.txt"), "text")


def test_a_stream_is_not_replaced_where_it_is_a_file() -> None:
    """As /dev/stdout is with ``> log.txt``: what else is written there would be lost."""
    for name in ("/dev/stdout", "/dev/stderr", "/dev/fd/1"):
        with pytest.raises(StorageError, match=r"a device or a pipe"):
            storage.write_text(Path(name), "text")


def test_a_link_to_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    """As /dev/stdout is, whose target has no name."""
    reader, writer = os.pipe()
    if not Path(f"/proc/self/fd/{writer}").exists():
        pytest.skip("there is no /proc")
    with pytest.raises(StorageError, match="a device or a pipe"):
        storage.write_text(Path(f"/proc/self/fd/{writer}"), "text")
    os.close(reader)
    os.close(writer)


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="a device or a pipe"):
        storage.write_text(tmp_path / "pipe", "text")
    assert (tmp_path / "pipe").is_fifo()


def test_names_as_long_as_a_disk_allows(tmp_path: Path) -> None:
    storage.write_text(tmp_path / ("a" * 255), "whole")
    assert (tmp_path / ("a" * 255)).read_text() == "whole"
    with pytest.raises(StorageError, match="longer than this disk allows"):
        storage.write_text(tmp_path / ("b" * 256), "whole")
    assert len(list(tmp_path.iterdir())) == 1


def test_one_process_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    for _ in range(2):
        with storage.alone_in(tmp_path / "new"):
            with pytest.raises(ResumeError, match=r"at work in .*/new\."), storage.alone_in(tmp_path / "new"):
                pass
            assert list((tmp_path / "new").iterdir()) == []
        assert not (tmp_path / "new").exists(), "nothing has come into it"
    with storage.alone_in(tmp_path / "new"):
        (tmp_path / "new" / "file").touch()
    assert (tmp_path / "new" / "file").exists()
    (tmp_path / "empty").mkdir()
    with storage.alone_in(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").is_dir(), "it was there before"


def test_a_drive_that_knows_no_locks_stands_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with storage.alone_in(tmp_path / "run"):
        (tmp_path / "run" / "file").touch()


def test_who_comes_too_late_takes_no_folder_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both saw no folder; one made it, and has put nothing into it yet."""
    folder = tmp_path / "new"
    with storage.alone_in(folder):
        with monkeypatch.context() as late:
            late.setattr(Path, "exists", lambda path: path != folder)
            with pytest.raises(ResumeError, match="at work in"), storage.alone_in(folder):
                pass
        assert folder.is_dir()
        with pytest.raises(ResumeError, match="at work in"), storage.alone_in(folder):
            pass


def test_a_writer_at_work_is_left_alone(tmp_path: Path) -> None:
    with storage.atomic_path(tmp_path / "one.txt") as partial:
        partial.write_text("one")
        storage._remove_abandoned.cache_clear()  # as in another process
        storage.write_text(tmp_path / "two.txt", "two")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["one", "two"]


def test_another_users_writing_does_not_stand_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: str | Path, *flags: int, **more: int) -> int:
        if Path(path).name.startswith(".theirs.txt"):  # a folder that its owner alone may open
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *flags, **more)

    with storage.atomic_path(tmp_path / "theirs.txt") as partial:
        partial.write_text("theirs")
        storage._remove_abandoned.cache_clear()
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", refuse)
            storage.write_text(tmp_path / "ours.txt", "ours")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.txt", "theirs.txt"]


@pytest.mark.parametrize("gone", ["", "results"])
def test_a_folder_that_is_removed_meanwhile_is_told(tmp_path: Path, gone: str) -> None:
    out = tmp_path / "results" / "a.txt"

    def write() -> None:
        with storage.atomic_path(out) as partial:
            partial.write_text("whole")
            shutil.rmtree(tmp_path / gone if gone else partial.parent)

    with pytest.raises(StorageError, match="was removed meanwhile"):
        write()


def test_a_file_that_is_refused_on_the_way_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as error, storage.atomic_path(tmp_path / "here" / "file"):
        raise PermissionError(errno.EACCES, "Permission denied", "/somewhere/else")
    assert error.value.what == f"{tmp_path}/here/file cannot be written: Permission denied (/somewhere/else)."
    for ours in (tmp_path / "here" / "holder" / "file", tmp_path):
        with pytest.raises(StorageError) as error, storage.storage_errors(tmp_path / "here" / "file"):
            raise PermissionError(errno.EACCES, "Permission denied", str(ours))
        assert error.value.what == f"{tmp_path}/here/file cannot be written: Permission denied."


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EROFS, "cannot be"),
        (errno.EFBIG, "larger than a file may be"),
        (errno.EIO, "Input/output error"),
        (errno.EINVAL, "signs that it does not"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_what_the_disk_refuses_is_told(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(StorageError, match=words) as error, storage.atomic_path(tmp_path / "file"):
        raise OSError(number, os.strerror(number))
    assert error.value.mend
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_checked_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    storage.check_folder(tmp_path)
    storage.check_folder(tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    for folder, words in (("file", "a file is in the way"), ("file/below", "Not a directory")):
        with pytest.raises(StorageError, match=f"{folder} cannot be written: {words}"):
            storage.check_folder(tmp_path / folder)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where no files can be made")
def test_a_folder_below_proc_is_refused() -> None:
    for folder in (Path("/proc"), Path("/proc/audit/here")):
        with pytest.raises(StorageError, match=f"{folder} cannot be written"):
            storage.check_folder(folder)


def test_a_name_that_is_not_unicode_comes_back_from_json(tmp_path: Path) -> None:
    storage.write_json(tmp_path / "a.json", {"name": "caf\udce9"})
    assert storage.read_json(tmp_path / "a.json") == {"name": "caf\udce9"}


def test_json_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        storage.read_json(tmp_path / "file.json")
    (tmp_path / "file.json").write_text('{"half": ')
    with pytest.raises(DataError, match="is not JSON"):
        storage.read_json(tmp_path / "file.json")
    with pytest.raises(ValueError, match="Out of range float"):
        storage.write_json(tmp_path / "nan.json", float("nan"))
    assert not (tmp_path / "nan.json").exists()


def test_equal_values_have_equal_hashes_in_whichever_order_their_keys_come() -> None:
    one, other = ({"a": 1, "b": {"c": [1, 2], "d": None}}, {"b": {"d": None, "c": [1, 2]}, "a": 1})
    assert list(one) != list(other)
    assert storage.sha256_json(one) == storage.sha256_json(other)
    assert storage.sha256_json(one) != storage.sha256_json({**one, "b": {"c": [2, 1], "d": None}})


def test_a_table_that_does_not_fit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="disk is full"):
        storage.write_table(tmp_path / "t.parquet", pl.DataFrame({"a": [1]}))
    with pytest.raises(StorageError, match="disk is full"), storage.atomic_path(tmp_path / "a.npy"):
        raise OSError("1500 requested and 1008 written")
    with pytest.raises(OSError, match="something else"), storage.atomic_path(tmp_path / "a.npy"):
        raise OSError("something else")
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    picture = tmp_path / "i.png"
    picture.touch()
    storage.require_other(tmp_path / "new.png", (picture, tmp_path / "gone.png"), suffixes=(".png",))
    with pytest.raises(ConfigError, match="is what is read"):
        storage.require_other(tmp_path / "." / "i.png", (picture,), suffixes=(".png",))
    (tmp_path / "link.png").symlink_to(picture)
    with pytest.raises(ConfigError, match="is what is read"):
        storage.require_other(tmp_path / "link.png", (picture,), suffixes=(".png",))
    with pytest.raises(ConfigError, match=r"one that ends with \.png"):
        storage.require_other(tmp_path / "i.jpg", (picture,), suffixes=(".png",))
