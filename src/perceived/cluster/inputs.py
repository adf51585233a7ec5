"""From words to pictures: which parts the words of a command mean, and what each part holds.

Words are those of ``perceived predict`` (files, folders, patterns), the same as addresses that
fsspec knows, and, alone or among the files of a folder, Parquet files of pictures and WebDataset tars;
and Lance datasets, which are folders themselves.
"""

from __future__ import annotations

import errno
import glob
import os
import tarfile
import time
import zipfile
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePath
from typing import IO, Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from aiohttp import ClientError, ClientPayloadError, ClientResponseError, ClientSSLError
from fsspec import AbstractFileSystem

from perceived import images, prefetch, sources
from perceived.archive import SEPARATOR
from perceived.cluster.folder import is_address, open_address
from perceived.cluster.plan import Part
from perceived.errors import ClusterError, ConfigError, DataError, ImageError
from perceived.extras import needed_for
from perceived.given import Source

Named: TypeAlias = tuple[str, Source | ImageError]
"""A picture's name in the answers, and what to read, or why it cannot be read."""

PARQUET, TAR, LANCE = ".parquet", ".tar", ".lance"
ENDINGS = sources.ENDINGS | {PARQUET, TAR}
PICTURE_COLUMNS = ("image", "picture", "bytes", "content", "data", "jpg", "jpeg", "png", "webp")
"""Where a table has several columns of bytes, the first of these is the pictures."""
ADDRESS_COLUMNS = ("url", "uri", "path", "location", "file", "filename", "source")
"""Columns of text that may say where pictures are."""
NAME_COLUMNS = ("id", "key", "__key__", "source", "url", "uri", "path", "name", "filename")
"""Columns that may name the pictures; where there is none, it is the file's name with the row's number."""
READERS, READ_AHEAD = 8, 32
"""Threads that wait for remote pictures, and how many pictures they are ahead of the answers."""
PASSING = frozenset(
    getattr(errno, name)
    for name in ("EIO", "EBUSY", "ESTALE", "ENOTCONN", "ENETDOWN", "ENETUNREACH", "EHOSTUNREACH", "EHOSTDOWN")
    if hasattr(errno, name)  # not every system has all
)
"""Codes of errors that say nothing about a file: the store, the drive or the way to it is out of order."""
WEB = ("http://", "https://")
PAUSES = (1.0, 3.0)
"""Seconds between attempts to download a picture."""
_OF_A_SITE = (ClientResponseError, ClientPayloadError, ClientSSLError, FileNotFoundError)
"""Errors by which a site shows that it is there."""
_OF_AN_ADDRESS = (ValueError, ConfigError, ClientSSLError, FileNotFoundError)
"""Errors that an address gives whenever it is asked for."""
_WEB_ANSWERED: deque[float] = deque(maxlen=1)
"""When a site of the web last answered anything here."""
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
_CHUNK = 2**20
ROWS = 64
"""Rows of a table that are held together."""


def parts(words: Iterable[str], size: int, *, without: str = "") -> Iterator[Part]:
    """Yield the parts that ``words`` mean: up to ``size`` picture files each, or what one container holds.

    What lies in ``without``, a folder as of :attr:`Folder.root`, is left out: answers are no pictures.

    Raises:
        ConfigError: a word is standard input, a video or an address of an unknown kind.
        DataError: a word means nothing, or a table holds no pictures.
        MissingExtraError: a Lance dataset, and no package that reads it.
    """
    waiting: list[str] = []
    for location in (location for word in words for location in _locations(word, without)):
        if _is_lance(location):
            yield from (Part(kind="lance", locations=(location,), group=n) for n in _fragments(location))
            continue
        ending = PurePath(location).suffix.lower()
        if ending == PARQUET:
            yield from (Part(kind="parquet", locations=(location,), group=n) for n in range(_row_groups(location)))
        elif ending == TAR:
            yield Part(kind="tar", locations=(location,))
        else:
            waiting.append(location)
            if len(waiting) == size:
                yield Part(kind="files", locations=tuple(waiting))
                waiting.clear()
    if waiting:
        yield Part(kind="files", locations=tuple(waiting))


def check_seen(words: Iterable[str], node: str) -> None:
    """Raise :class:`ClusterError` if what was on the disk where the plan was made is not here, on a node."""
    for word in words:
        root = word if os.path.lexists(word) else sources.place(word.partition(SEPARATOR)[0])
        if not is_address(word) and not os.path.lexists(root):
            raise ClusterError(
                f"Node {node} does not see {root}.",
                expected="pictures where every node can read them",
                mend="mount the folder on every node, or give the address of an object store, such as s3://…",
            )


def read(part: Part, *, ahead: int = READ_AHEAD, without: Collection[int] = ()) -> Iterator[Named]:
    """Yield the pictures of a part, in an order that never changes.

    Up to ``ahead`` are read before they are asked for; members of a tar are read as they come. Of numbers that are
    ``without`` nothing is read: they come empty. A file that is damaged from some place on yields what is before it,
    then its own name with the error.

    Raises:
        DataError: the network or the store fails; later it may not.
    """

    def fetch(numbered: tuple[int, tuple[str, Any]]) -> Named:
        number, (name, picture) = numbered
        return name, b"" if number in without else _fetch(name, picture)

    most = 1 if part.kind == "tar" else ahead
    return prefetch.ahead(fetch, enumerate(_named(part)), threads=READERS, most=most)


def _named(part: Part) -> Iterator[tuple[str, Any]]:
    """Yield the names of a part's pictures, each with what it is to be read from, or why it cannot be."""
    if part.kind == "files":
        yield from ((location, location) for location in part.locations)
        return
    (location,) = part.locations
    try:
        if part.kind == "parquet":
            yield from _of_parquet(location, part.group)
        elif part.kind == "lance":
            yield from _of_lance(location, part.group)
        else:
            yield from _of_tar(location)
    except (tarfile.TarError, pa.ArrowException, EOFError) as error:
        yield location, ImageError(f"{location} is damaged: {error}.", mend="copy the file again")
    except (OSError, ClientError) as error:
        yield location, _unreadable(location, error)


def _unreadable(location: str, error: Exception) -> ImageError:
    """Return why something cannot be read, for its row; raise where it is no fault of the file."""
    _raise_if_passing(location, error)
    return ImageError(f"{location} cannot be read: {error}.", mend="check the address and the permissions")


def _raise_if_passing(location: str, error: Exception) -> None:
    """Raise :class:`DataError` where the store, the drive or the network is out of order, and not the file."""
    if _may_pass(error):
        raise _out_of_reach(location, error) from error


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ClientResponseError):
        return error.status in (408, 429) or error.status >= 500
    down = getattr(error, "errno", None) in PASSING
    return down or isinstance(error, ClientError | ConnectionError | TimeoutError)


def _out_of_reach(location: str, error: Exception) -> DataError:
    return DataError(
        f"{location} is out of reach: {error or type(error).__name__}.",
        expected="a network and a store that answer",
        mend="run the same command again later: it goes on where it stopped",
    )


def _locations(word: str, without: str) -> Iterator[str]:
    if word == sources.STDIN:
        raise ConfigError("A cluster has no standard input.", expected="files, folders, patterns or addresses")
    if _is_lance(word):
        yield word
        return
    if is_address(word):
        found = _at_address(word, without)
    else:
        spared = () if not without or is_address(without) else (Path(without),)
        found = (one.location for one in sources.find([word], endings=ENDINGS, whole=LANCE, without=spared))
    first = next(found, None)
    if first is None:
        raise DataError(f"There is no picture in {word}.", expected=f"files that end with {', '.join(sorted(ENDINGS))}")
    if not is_address(word) and not os.path.lexists(first) and SEPARATOR not in first:
        raise DataError(f"There is no {word}.", expected="files, folders, patterns or addresses of pictures")
    yield first
    yield from found


def _at_address(word: str, without: str) -> Iterator[str]:
    """Yield the addresses of files: of a pattern, of a folder and what is below, or of one file."""
    files, path = open_address(word)
    spared = f"{open_address(without)[1].rstrip('/')}/" if is_address(without) else None
    try:
        if files.isdir(path):
            names = _below(files, path)
        elif glob.has_magic(path) and not files.exists(path):
            names = _matching(files, path)
        else:
            files.info(path)
            yield word
            return
        yield from (files.unstrip_protocol(one) for one in names if not (spared and one.startswith(spared)))
    except OSError as error:
        raise DataError(f"{word} cannot be read: {error}.", mend="check the address and the permissions") from error


def _matching(files: AbstractFileSystem, pattern: str) -> Iterator[str]:
    """Yield the files that a pattern of a store fits, and those in and below the folders that it fits."""
    for name, found in sorted(files.glob(pattern, detail=True).items()):
        if found["type"] == "directory" and not _is_lance(name):
            yield from _below(files, name)
        else:
            yield name


def _below(files: AbstractFileSystem, folder: str) -> Iterator[str]:
    """Yield the files in a folder of a store, then those of the folders below; one that cannot be listed raises."""
    entries = sorted((one["name"].rstrip("/"), one["type"]) for one in files.ls(folder, detail=True))
    deeper = []
    for name, kind in entries:
        if name.strip("/") == folder.strip("/"):
            continue  # some stores list a folder in itself
        if kind == "directory" and not _is_lance(name):
            deeper.append(name)
        elif kind == "directory" or PurePath(name).suffix.lower() in ENDINGS:
            yield name
    for name in deeper:
        yield from _below(files, name)


def _row_groups(location: str) -> int:
    """Return how many row groups a Parquet file has, having seen that there are pictures in it."""
    files, path = open_address(location)
    try:
        with files.open(path, "rb") as opened:
            file = pq.ParquetFile(opened)
            _columns(file.schema_arrow, location)
            return int(file.num_row_groups)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{location} is not a readable Parquet file: {error}.", mend="copy the file again, or leave it out"
        ) from error


def _of_parquet(location: str, group: int) -> Iterator[tuple[str, Any]]:
    files, path = open_address(location)
    with files.open(path, "rb") as opened:
        file = pq.ParquetFile(opened)
        column, key = _columns(file.schema_arrow, location)
        first = sum(file.metadata.row_group(before).num_rows for before in range(group))
        batches = file.iter_batches(ROWS, row_groups=[group], columns=_wanted(column, key))
        yield from _of_batches(batches, location, column, key, first)


def _is_lance(word: str) -> bool:
    return PurePath(word).suffix.lower() == LANCE and not glob.has_magic(word)


def _dataset(location: str) -> Any:
    """Open a Lance dataset at a path or an address of an object store."""
    with needed_for("Reading Lance", extra="lance"):
        import lance
    try:
        return lance.dataset(location)
    except (ValueError, OSError) as error:
        raise DataError(
            f"{location} is not a readable Lance dataset: {str(error).partition(', /')[0]}.",
            mend="check the address and the permissions, or leave it out",
        ) from error


def _fragments(location: str) -> list[int]:
    """Return the numbers of a Lance dataset's fragments, having seen that there are pictures in it."""
    dataset = _dataset(location)
    _columns(dataset.schema, location)
    return [fragment.fragment_id for fragment in dataset.get_fragments()]


def _of_lance(location: str, number: int) -> Iterator[tuple[str, Any]]:
    dataset = _dataset(location)
    column, key = _columns(dataset.schema, location)
    before = (f for f in dataset.get_fragments() if f.fragment_id < number)
    first = sum(fragment.count_rows() for fragment in before)  # rows without a key are named by their numbers
    batches = dataset.get_fragment(number).to_batches(columns=_wanted(column, key), batch_size=ROWS)
    yield from _of_batches(batches, location, column, key, first)


def _wanted(column: str, key: str | None) -> list[str]:
    return list(dict.fromkeys((column, key or column)))


def _of_batches(
    batches: Iterable[pa.RecordBatch], location: str, column: str, key: str | None, first: int
) -> Iterator[tuple[str, Any]]:
    """Yield the pictures of a table's rows, named by ``key`` or by their numbers from ``first`` on."""
    for number, one in enumerate((one for batch in batches for one in batch.to_pylist()), first):
        yield str(one[key]) if key and one[key] is not None else f"{location}#{number}", one[column]


def _columns(schema: pa.Schema, location: str) -> tuple[str, str | None]:
    """Return the column that holds the pictures or says where they are, and the one that names them."""
    texts = [field.name for field in schema if any(is_text(_plain(field.type)) for is_text in _TEXTS)]
    pictures = [field.name for field in schema if _is_bytes(field.type)]
    if len(pictures) > 1:
        pictures = [name for name in PICTURE_COLUMNS if name in pictures]
    found = pictures or [name for name in ADDRESS_COLUMNS if name in texts]
    if not found:
        raise DataError(
            f"{location} has no column of pictures; its columns are {', '.join(schema.names[:12])}.",
            expected=f"a column of encoded files, called {', '.join(PICTURE_COLUMNS[:4])} … where there are several,"
            f" or one of addresses, called {', '.join(ADDRESS_COLUMNS[:3])} …",
        )
    numbers = [field.name for field in schema if pa.types.is_integer(field.type)]
    return found[0], next((name for name in NAME_COLUMNS if name in (*texts, *numbers)), None)


def _is_bytes(kind: pa.DataType) -> bool:
    """Say whether a column holds encoded files: as bytes, or as a struct of bytes and path, as datasets have it."""
    if pa.types.is_struct(kind):
        return "bytes" in {field.name for field in kind} and _is_bytes(kind.field("bytes").type)
    return any(is_bytes(_plain(kind)) for is_bytes in _BYTES)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return what a column's cells are, where it keeps each value once, too."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _of_tar(location: str) -> Iterator[Named]:
    """Read a tar from front to back, once, as it comes over the network.

    Raises:
        tarfile.TarError: it is damaged, or ends early, which tarfile itself takes for its end.
    """
    files, path = open_address(location)
    with files.open(path, "rb") as opened:
        end = yield from _members(location, opened)
        opened.seek(end)
        rest = opened.read(tarfile.BLOCKSIZE)
        if len(rest) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it ends early")
        while rest:
            if rest.strip(tarfile.NUL):
                raise tarfile.ReadError(f"no file can be made out from byte {end:,} on")
            rest = opened.read(_CHUNK)


def _members(location: str, opened: IO[bytes]) -> Generator[Named, None, int]:
    """Yield the pictures of a tar, and return where tarfile took it to end."""
    with tarfile.open(fileobj=opened, mode="r|") as tar:
        for member in tar:
            if not member.isfile() or PurePath(member.name).suffix.lower() not in sources.ENDINGS:
                continue
            name = f"{location}{SEPARATOR}{member.name}"
            if member.size > images.MAX_BYTES:
                yield name, ImageError(f"{name} has {member.size:,} bytes.", expected=f"at most {images.MAX_BYTES:,}")
            elif (file := tar.extractfile(member)) is not None:
                yield name, file.read()
        return int(tar.offset)


def _fetch(name: str, picture: Any) -> Source | ImageError:
    """Return what there is to read of a picture; what is bytes already, or an error, passes as it is."""
    if isinstance(picture, dict):
        picture = picture["bytes"] if picture["bytes"] is not None else picture.get("path")
    if picture is None:
        return ImageError(f"{name} is empty: there is no picture.")
    if isinstance(picture, bytes | ImageError):
        return picture
    if not is_address(picture):
        return _from_disk(picture)
    if picture.startswith(WEB):
        return _from_web(picture)
    try:
        files, path = open_address(picture)
        content: bytes = files.cat_file(path, end=images.MAX_BYTES + 1)
    except (ValueError, zipfile.BadZipFile) as error:
        return ImageError(f"{picture} cannot be read: {error}.", mend="check the address")
    except (OSError, ClientError, ConfigError) as error:
        return _unreadable(picture, error)
    return content


def _from_web(address: str) -> bytes | ImageError:
    """Download a picture from a site of the web, of which some are always gone: what one lacks is its own fault.

    Raises:
        DataError: it is out of reach, and so has been all of the web since it was asked for.
    """
    began = time.monotonic()
    for pause in (*PAUSES, None):
        try:
            content = _download(address)
        except (OSError, ValueError, ClientError, ConfigError) as error:
            why = error
        else:
            _WEB_ANSWERED.append(time.monotonic())
            return content
        if isinstance(why, _OF_A_SITE):
            _WEB_ANSWERED.append(time.monotonic())
        if pause is None or isinstance(why, _OF_AN_ADDRESS) or not _may_pass(why):
            break
        time.sleep(pause)
    if isinstance(why, _OF_AN_ADDRESS) or (_WEB_ANSWERED and _WEB_ANSWERED[0] >= began):
        return ImageError(f"{address} cannot be read: {why or type(why).__name__}.", mend="check the address")
    raise _out_of_reach(address, why) from why


def _download(address: str) -> bytes:
    """Read an address of the web as it comes, and no more than a byte beyond what a picture may have."""
    files, path = open_address(address)
    content = bytearray()  # a size is given, so that the site is not asked for it
    with files.open(path, "rb", block_size=0, size=1) as opened:
        while len(content) <= images.MAX_BYTES and (more := opened.read(_CHUNK)):
            content += more
    return bytes(content[: images.MAX_BYTES + 1])


def _from_disk(path: str) -> bytes | ImageError:
    """Read a file of a drive, which may be one that nodes share, and fail."""
    try:
        return images.read_bytes(path)
    except ImageError as error:
        if isinstance(error.__cause__, OSError):
            _raise_if_passing(path, error.__cause__)
        return error


def chunks(items: Iterator[Any], size: int) -> Iterator[tuple[int, bool, Sequence[Any]]]:
    """Yield number, whether it is the last, and up to ``size`` items; of nothing, one empty chunk."""
    number, some = 0, list(islice(items, size))
    while following := list(islice(items, size)):
        yield number, False, some
        number, some = number + 1, following
    yield number, True, some
