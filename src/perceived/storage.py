"""Files that are either whole or absent: atomic writes, hashes and JSON."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from perceived.errors import ConfigError, DataError, ResumeError, StorageError

if TYPE_CHECKING:
    import polars as pl

HOLDER = ".perceived-partial"
"""How the hidden folders end in which files are written before they take their names."""
_REPLACED = ".perceived-replaced"
"""A folder inside such a one: the folder that is replaced waits there until the new one has taken its name."""
_SHOWN = 40
"""Letters of a file's name that the name of its hidden folder shows."""


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write at ``path`` into :class:`StorageError`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or _is_numpys(error):
            raise StorageError(
                f"The disk is full while writing {path}.",
                expected="enough free space for the whole file",
                mend="free some space, or point the output at another disk, and run the command again",
            ) from error
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise StorageError(
                f"{path} cannot be written: {error.strerror}.", mend="allow more open files (ulimit -n 1024)"
            ) from error
        if error.errno == errno.EFBIG:
            raise StorageError(
                f"{path} cannot be written: it is larger than a file may be there.",
                expected="a disk, and a limit of the shell (ulimit -f), that allow it",
                mend="write to another disk, or fewer pictures to a file",
            ) from error
        if error.errno in (errno.EIO, errno.ESTALE):
            raise StorageError(
                f"{path} cannot be written: {error.strerror}.",
                expected="a disk, or a mounted drive, without faults",
                mend="see the system's log, and write to another disk",
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR):
            raise StorageError(
                f"{path} cannot be written: {error.strerror}{_elsewhere(error, path)}.",
                expected="a folder this user may write to",
                mend="choose another output folder",
            ) from error
        if error.errno == errno.ELOOP:
            raise StorageError(
                f"{path} cannot be written: it is a link that leads in circles.", mend="remove the link"
            ) from error
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
            raise StorageError(
                f"{path} cannot be written: its name is longer than this disk allows, or has signs that it does not.",
                mend="choose a short name without signs such as : and ?, or another disk",
            ) from error
        if error.errno in (errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY):
            raise StorageError(
                f"{path} cannot be written: a {'folder' if path.is_dir() else 'file'} is in the way.",
                expected="a name that is free, or that of an earlier result of the same kind",
                mend="choose another name",
            ) from error
        raise


def _is_numpys(error: OSError) -> bool:
    """Say whether NumPy has written less than it should: "1500 requested and 1008 written", without a number."""
    return error.errno is None and str(error).endswith("written")


def _elsewhere(error: OSError, path: Path) -> str:
    """Name the file that was refused, where it is none of those that writing ``path`` is about."""
    refused = error.filename
    if not isinstance(refused, str) or path.is_relative_to(refused) or Path(refused).is_relative_to(path.parent):
        return ""
    return f" ({refused})"


def _on_a_disk(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Turn what ``/proc`` and the like say where files are made into :class:`StorageError`."""
    return _if_missing(f"{folder} cannot be written: no files can be made there.", "choose another output folder")


@contextlib.contextmanager
def _if_missing(what: str, mend: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(what, mend=mend) from error


def require_other(out: Path, read: Iterable[Path], *, suffixes: Collection[str]) -> None:
    """Refuse to write ``out`` over one of the files that are ``read`` for it, or by another ending.

    Raises:
        ConfigError: it is one of them, or has none of the ``suffixes``.
    """
    if out.suffix.lower() not in suffixes:
        raise ConfigError(f"{out} is no name for that.", expected=f"one that ends with {' or '.join(suffixes)}")
    for path in read:
        if out.exists() and path.exists() and out.samefile(path):
            raise ConfigError(f"{out} is what is read.", expected="another name")


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write a table as Parquet, whole or not at all; polars itself calls a full disk a fault of its own."""
    encoded = io.BytesIO()
    table.write_parquet(encoded)
    with atomic_path(path) as partial:
        partial.write_bytes(encoded.getbuffer())


@contextlib.contextmanager
def atomic_path(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the name ``path`` only if the block succeeds.

    The block may leave a file or a folder at the temporary path. On any error it is removed, so
    that nothing half-written is ever found under the final name. What a killed process has left
    behind is removed by the next one that writes into the same folder. A link stays one: what it
    points to is replaced, and a file keeps its permissions. A ``durable`` file is on the disk before it
    gets its name, whatever happens to the machine.

    Raises:
        StorageError: the disk refuses the file, or ``path`` is a device or a pipe, which cannot be replaced.
    """
    path = Path(path)
    with storage_errors(path):
        path = replaceable(path)
        make_folder(path.parent)
        with _on_a_disk(path.parent):
            _remove_abandoned(path.parent.resolve())
            holder, opened = _make_holder(path)
        try:
            partial = holder / path.name
            yield partial
            with _if_missing(
                f"{path} cannot be written: its folder, or what was to become of it in there, was removed meanwhile.",
                "run the command again, and let hidden folders beside results be",
            ):
                _take_name(partial, path, durable=durable)
        finally:
            _remove_holder(holder)
            os.close(opened)


def _take_name(partial: Path, path: Path, *, durable: bool) -> None:
    """Give what stands in a hidden folder its name."""
    if path.is_dir() and partial.is_dir():
        (partial.parent / _REPLACED).mkdir()
        path.rename(partial.parent / _REPLACED / path.name)
    if durable:
        _flush(partial)
    if path.is_file():
        shutil.copymode(path, partial)
    partial.replace(path)


def _flush(file: Path) -> None:
    with open(file, "r+b") as opened:
        os.fsync(opened.fileno())


def replaceable(path: Path) -> Path:
    """Return what a new file at ``path`` takes the place of: where a link leads to, or ``path`` itself.

    Raises:
        StorageError: it is a device or a pipe, which cannot be replaced.
    """
    a_stream = os.path.abspath(path).startswith(("/dev/std", "/dev/fd/", "/proc/self/fd/"))  # noqa: PTH100 -- links are not followed
    if a_stream or (path.exists() and not (path.is_file() or path.is_dir())):
        raise StorageError(
            f"{path} is a device or a pipe, which cannot be replaced by a whole file.",
            expected="the name of a file",
            mend="write to a file, or print and redirect what is printed",
        )
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def lock(file: int | IO[Any]) -> bool:
    """Lock a file or folder for as long as it is open; say whether it was free. On a drive without locks it is."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a mounted drive may know no locks
    return True


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same from working in ``folder`` meanwhile.

    It is made where it is missing, and goes again if nothing has come into it.

    Raises:
        ResumeError: another process works there.
        StorageError: no folder can be made there.
    """
    is_new = not folder.exists()
    opened = _open_folder(folder)
    try:
        is_free = lock(opened)
        if not is_free:
            raise ResumeError(
                f"Another process is at work in {folder}.",
                expected="one at a time",
                mend="wait until it has ended, which the same command then goes on from, or choose another --out",
            )
        yield
    finally:
        if is_new and is_free:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()
        os.close(opened)


def _open_folder(folder: Path) -> int:
    """Open a folder, made where it is missing; another process may just be taking it away."""
    while True:
        make_folder(folder)
        with contextlib.suppress(FileNotFoundError):
            opened = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(opened), folder.stat()):
                    return opened
            os.close(opened)


def _make_holder(path: Path) -> tuple[Path, int]:
    """Make a hidden folder beside ``path``, locked for as long as this process lives."""
    while True:
        holder = Path(tempfile.mkdtemp(prefix=f".{path.name[:_SHOWN]}.", suffix=HOLDER, dir=path.parent))
        try:
            opened = os.open(holder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process took it for an abandoned one before it was locked
        with contextlib.suppress(OSError):  # a mounted drive may know no locks: nothing is removed there either
            fcntl.flock(opened, fcntl.LOCK_EX)
        if holder.is_dir():
            return holder, opened
        os.close(opened)


@functools.lru_cache(maxsize=1024)
def _remove_abandoned(folder: Path) -> None:
    """Remove the hidden folders of writers that were killed: those that nobody holds the lock of.

    Once for each folder, because a folder of a hundred thousand files takes long to list.
    """
    for holder in folder.glob(f".*{HOLDER}"):
        with contextlib.suppress(FileNotFoundError, PermissionError):  # it is gone, or another user's
            opened = os.open(holder, os.O_RDONLY)
            with contextlib.suppress(OSError):
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove_holder(holder)
            os.close(opened)


def _remove_holder(holder: Path) -> None:
    """Remove a hidden folder; what it made room with goes back to its name, if nothing new has come to bear it."""
    with contextlib.suppress(OSError):
        for replaced in (holder / _REPLACED).iterdir():
            if not (holder.parent / replaced.name).exists():
                replaced.rename(holder.parent / replaced.name)
    shutil.rmtree(holder, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where there are none.

    Raises:
        StorageError: a file is in the way, or no folder can be made there.
    """
    with storage_errors(folder), _on_a_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)


def check_folder(folder: Path) -> None:
    """Make sure that files can be written into ``folder``, before long work is done for them; leave nothing there.

    What others have put into a folder by then stays.

    Raises:
        StorageError: a file is in the way, or no folder or file can be made there.
    """
    with storage_errors(folder):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        make_folder(folder)
        with _on_a_disk(folder):
            tempfile.TemporaryFile(dir=folder).close()
        with contextlib.suppress(OSError):
            for path in missing:
                path.rmdir()


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write UTF-8 text atomically, see :func:`atomic_path`; names that are not Unicode are escaped, as JSON has it."""
    with atomic_path(path, durable=durable) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any, *, durable: bool = False) -> None:
    """Write indented JSON atomically, see :func:`atomic_path`; NaN is refused, because JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n", durable=durable)


def read_json(path: Path, *, mend: str = "delete it and run the stage that writes it") -> Any:
    """Read JSON; ``mend`` says what helps if it is none.

    Raises:
        DataError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", expected="a file of JSON") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not JSON: {error}.", mend=mend) from error


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form: equal values have equal hashes."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
