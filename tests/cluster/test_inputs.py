"""Which pictures the words of a job mean, where they may be, and what becomes of damaged ones."""

from __future__ import annotations

import errno
import io
import socket
import sys
import tarfile
import threading
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePath
from typing import ClassVar

import pytest

pytest.importorskip("ray", reason="needs the extra perceived[cluster]")

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from aiohttp import ClientResponseError

from perceived import images
from perceived.cluster import inputs
from perceived.cluster.plan import Part
from perceived.errors import ClusterError, ConfigError, DataError, ImageError, MissingExtraError


def read(word: object, size: int = 256) -> list[tuple[str, object]]:
    """Return every picture that a word means, as the parts give them."""
    return [picture for part in inputs.parts([str(word)], size) for picture in inputs.read(part)]


def test_files_are_shared_out_to_parts_of_one_size(album):
    folder = album(7)
    names = [str(folder / f"{index:05d}.png") for index in range(7)]
    assert list(inputs.parts([str(folder)], 3)) == [
        Part(kind="files", locations=tuple(names[start : start + 3])) for start in (0, 3, 6)
    ]
    assert read(folder) == read(folder / "*.png") == [(name, Path(name).read_bytes()) for name in names]


def test_answers_among_the_pictures_are_no_pictures(album):
    folder = album(2)
    (folder / "answers").mkdir()
    pq.write_table(pa.table({"schema": [1]}), folder / "answers" / "part.parquet")
    pictures = [Part(kind="files", locations=tuple(str(folder / f"0000{index}.png") for index in range(2)))]
    assert list(inputs.parts([str(folder)], 3, without=str(folder / "answers"))) == pictures
    with pytest.raises(DataError, match="has no column"):
        list(inputs.parts([str(folder)], 3))


def test_answers_at_an_address_among_the_pictures_are_no_pictures():
    files = fsspec.filesystem("memory")
    for name in ("a.jpg", "out/plan/b.jpg", "outside.jpg"):
        files.pipe(f"/among/{name}", b"1")
    (part,) = inputs.parts(["memory://among"], 9, without="memory://among/out")
    assert [PurePath(location).name for location in part.locations] == ["a.jpg", "outside.jpg"]


def test_a_drive_that_fails_is_no_fault_of_a_picture(album, monkeypatch):
    folder = album(3)
    (part,) = inputs.parts([str(folder)], 9)
    (folder / "00001.png").unlink()
    (_, first), (name, gone), _ = inputs.read(part)
    assert first == (folder / "00000.png").read_bytes()
    assert name.endswith("00001.png")
    assert isinstance(gone, ImageError)
    for code in (errno.EIO, errno.ESTALE):
        monkeypatch.setattr(images, "_check_file", lambda _, code=code: (_ for _ in ()).throw(OSError(code, "drive")))
        with pytest.raises(DataError, match="out of reach"):
            list(inputs.read(part))


def test_a_folder_of_a_store_that_cannot_be_listed_is_not_passed_over(monkeypatch):
    files = fsspec.filesystem("memory")
    files.pipe_file("/bucket/a.jpg", b"a")
    files.pipe_file("/bucket/deep/b.jpg", b"b")
    ls = type(files).ls

    def forbidden(self, path, **rest):
        if path.rstrip("/").endswith("deep"):
            raise PermissionError("403")
        return ls(self, path, **rest)

    monkeypatch.setattr(type(files), "ls", forbidden)
    try:
        with pytest.raises(DataError, match="cannot be read: 403"):
            read("memory://bucket")
    finally:
        monkeypatch.undo()
        files.rm("/bucket", recursive=True)


def test_addresses_mean_what_paths_mean_and_are_read_ahead():
    files = fsspec.filesystem("memory")
    for name in ("b.jpg", "a.jpg", "deep/c.png", "notes.txt"):
        files.pipe_file(f"/bucket/{name}", name.encode())
    files.pipe_file("/bucket/x[1].jpg", b"x")
    try:
        assert [content for _, content in read("memory://bucket/x[1].jpg")] == [b"x"]
        files.rm_file("/bucket/x[1].jpg")
        found = read("memory://bucket")
        assert [content for _, content in found] == [b"a.jpg", b"b.jpg", b"deep/c.png"]
        assert [content for _, content in read("memory://bucket/d*")] == [b"deep/c.png"]
        assert found[0][0].endswith("bucket/a.jpg")
        assert [content for _, content in read("memory://bucket/*.jpg")] == [b"a.jpg", b"b.jpg"]
        (part,) = inputs.parts(["memory://bucket/a.jpg"], 9)
        files.rm("/bucket/a.jpg")
        ((_, error),) = inputs.read(part)
        assert isinstance(error, ImageError)
        assert "a.jpg cannot be read" in error.what
    finally:
        files.rm("/bucket", recursive=True)


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"image": [b"one", b"two", b"three"]}, ["#0", "#1", "#2"]),
        ({"jpg": [b"one", b"two", b"three"], "json": [b"{}"] * 3, "id": [7, 8, 9]}, ["7", "8", "9"]),
        ({"image": [{"bytes": one, "path": "x"} for one in (b"one", b"two", b"three")]}, ["#0", "#1", "#2"]),
        *(
            ({"image": pa.array([b"one", b"two", b"three"], pa.binary()).cast(kind)}, ["#0", "#1", "#2"])
            for kind in (pa.large_binary(), pa.binary_view())
        ),
        ({"image": pa.array([b"one", b"two", b"three"]).dictionary_encode()}, ["#0", "#1", "#2"]),
    ],
)
def test_parquet_files_of_pictures_give_one_part_for_each_row_group(tmp_path, columns, names):
    file = tmp_path / "some.parquet"
    pq.write_table(pa.table(columns), file, row_group_size=2)
    assert [part.group for part in inputs.parts([str(tmp_path)], 256)] == [0, 1]
    found = read(file)
    assert [content for _, content in found] == [b"one", b"two", b"three"]
    assert [name.removeprefix(str(file)) for name, _ in found] == names


def test_parquet_files_may_say_where_pictures_are(tmp_path, album):
    folder = album(2)
    file = tmp_path / "where.parquet"
    pictures = [str(folder / "00000.png"), f"file://{folder}/00001.png", None]
    pq.write_table(pa.table({"url": pictures, "label": ["x"] * 3}), file)
    local, remote, empty = read(file)
    assert local == (pictures[0], (folder / "00000.png").read_bytes())
    assert remote == (pictures[1], (folder / "00001.png").read_bytes())
    assert isinstance(empty[1], ImageError)


def test_a_parquet_file_without_pictures_says_what_it_has(tmp_path):
    pq.write_table(pa.table({"age": [1]}), tmp_path / "ages.parquet")
    with pytest.raises(DataError, match="no column of pictures; its columns are age"):
        read(tmp_path)
    (tmp_path / "ages.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"image": [b"one", b"two", b"three"]}, ["#0", "#1", "#2"]),
        ({"id": [7, 8, 9], "image": [b"one", b"two", b"three"]}, ["7", "8", "9"]),
    ],
)
def test_lance_datasets_of_pictures_give_one_part_for_each_fragment(tmp_path, columns, names):
    lance = pytest.importorskip("lance", reason="needs the extra perceived[lance]")
    folder = tmp_path / "some.lance"
    lance.write_dataset(pa.table(columns), str(folder), max_rows_per_file=2)
    assert [part.group for part in inputs.parts([str(folder)], 256)] == [0, 1]
    found = read(folder)
    assert [content for _, content in found] == [b"one", b"two", b"three"]
    assert [name.removeprefix(str(folder)) for name, _ in found] == names
    (tmp_path / "a.png").write_bytes(b"zero")
    for word in (tmp_path, f"file://{tmp_path}"):
        assert {content for _, content in read(word)} == {b"zero", b"one", b"two", b"three"}
    assert len(read(tmp_path / "*.lance")) == 3
    with pytest.raises(
        DataError, match=r"nothing\.lance is not a readable Lance dataset: .* was not found: .*_versions\."
    ):
        read(tmp_path / "nothing.lance")
    lance.write_dataset(pa.table({"age": [1]}), str(tmp_path / "ages.lance"))
    with pytest.raises(DataError, match="no column of pictures; its columns are age"):
        read(tmp_path / "ages.lance")


def test_without_its_package_a_lance_dataset_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(MissingExtraError, match=r"Reading Lance") as caught:
        read(tmp_path / "some.lance")
    assert "perceived[lance]" in caught.value.mend


def shard(path: Path, names: list[str]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 600
            tar.addfile(info, io.BytesIO(name.encode().ljust(600)))
    return path


def test_a_tar_is_read_from_front_to_back(tmp_path):
    path = shard(tmp_path / "000.tar", ["1.jpg", "1.json", "2.JPG", "2.cls"])
    found = read(tmp_path)
    assert [name for name, _ in found] == [f"{path}!1.jpg", f"{path}!2.JPG"]
    assert found[0][1] == b"1.jpg".ljust(600)


def test_a_tar_that_was_cut_short_ends_with_its_own_error(tmp_path):
    path = shard(tmp_path / "000.tar", ["1.jpg", "2.jpg"])
    path.write_bytes(path.read_bytes()[:1700])
    (_, first), (name, error) = read(path)
    assert first == b"1.jpg".ljust(600)
    assert name == str(path)
    assert "is damaged" in str(error)


def test_a_tar_that_is_damaged_in_the_middle_or_goes_on_after_its_end_says_so(tmp_path):
    names = [f"{number}.jpg" for number in range(6)]
    whole = shard(tmp_path / "000.tar", names).read_bytes()
    step = 3 * tarfile.BLOCKSIZE  # a header and 600 bytes
    damaged = tmp_path / "001.tar"
    damaged.write_bytes(whole[: 3 * step] + b"?" * tarfile.BLOCKSIZE + whole[3 * step + tarfile.BLOCKSIZE :])
    found = read(damaged)
    assert len(found) == 4
    assert f"from byte {3 * step:,} on" in str(found[-1][1])
    twice = tmp_path / "002.tar"
    twice.write_bytes(whole * 2)
    found = read(twice)
    assert len(found) == 7
    assert isinstance(found[-1][1], ImageError)
    assert [type(picture) for _, picture in read(tmp_path / "000.tar")] == [bytes] * 6


def test_a_network_that_fails_is_no_fault_of_a_picture():
    with pytest.raises(DataError, match="out of reach") as caught:
        inputs._unreadable("s3://bucket/a.jpg", ConnectionResetError("reset by peer"))
    assert "goes on" in caught.value.mend
    assert isinstance(inputs._unreadable("s3://bucket/a.jpg", PermissionError("403")), ImageError)


@pytest.mark.parametrize(
    ("status", "passes"), [(400, False), (403, False), (404, False), (408, True), (429, True), (500, True), (503, True)]
)
def test_a_store_that_is_busy_or_ill_may_be_asked_later(status, passes):
    assert inputs._may_pass(ClientResponseError(None, (), status=status)) == passes


def test_of_a_vast_picture_no_more_is_read_than_shows_that_it_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 500)
    fsspec.filesystem("memory").pipe_file("/vast/a.jpg", bytes(1000))
    try:
        assert len(inputs._fetch("x", "memory://vast/a.jpg")) == 501
    finally:
        fsspec.filesystem("memory").rm("/vast", recursive=True)
    ((name, error),) = read(shard(tmp_path / "000.tar", ["1.jpg"]))
    assert name.endswith("000.tar!1.jpg")
    assert "has 600 bytes" in str(error)


def test_rows_say_where_a_picture_is_or_have_no_name(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"on disk")
    rows = {
        "image": [{"bytes": None, "path": str(tmp_path / "a.jpg")}, {"bytes": b"here", "path": "x"}],
        "id": [None, "second"],
    }
    pq.write_table(pa.table(rows), tmp_path / "some.parquet")
    file = tmp_path / "some.parquet"
    assert read(file) == [(f"{file}#0", b"on disk"), ("second", b"here")]


class Site(BaseHTTPRequestHandler):
    """A site with a picture, one that is cut off, gone or vast, and one that is there the third time."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        again = self.asked.count(self.path)
        status = {"/gone": 404, "/secret": 403, "/ill": 503, "/busy": 200 if again > 2 else 503}.get(self.path, 200)
        self.send_response(status)
        content = b"a picture" * (100 if self.path == "/large" else 1)
        self.send_header("Content-Length", str(len(content) + 5 * (self.path == "/cut")))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(inputs, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(inputs, "_WEB_ANSWERED", deque(maxlen=1))
    monkeypatch.setattr(images, "MAX_BYTES", 400)
    Site.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_what_one_site_of_the_web_lacks_is_a_row(site: str) -> None:
    assert inputs._fetch("x", f"{site}/a.jpg") == b"a picture"
    assert inputs._fetch("x", f"{site}/busy") == b"a picture", "at the third attempt"
    assert len(inputs._fetch("x", f"{site}/large")) == 401, "enough to refuse it by its size"
    for name, times in (("gone", 1), ("secret", 1), ("ill", 3), ("cut", 3)):
        error = inputs._fetch("x", f"{site}/{name}")
        assert isinstance(error, ImageError), name
        assert Site.asked.count(f"/{name}") == times
    for address in ("http://[::1", "http:///x.jpg", "zip://a::/etc/hostname"):
        assert isinstance(inputs._fetch("x", address), ImageError), address


def test_a_site_that_is_gone_is_a_row_while_others_answer(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    download = inputs._download

    def meanwhile(address: str) -> bytes:
        if address == nowhere and not Site.asked:
            inputs._from_web(f"{site}/gone")
        return download(address)

    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and does not listen
        nowhere = f"http://127.0.0.1:{deaf.getsockname()[1]}/a.jpg"
        inputs._fetch("x", f"{site}/a.jpg")
        Site.asked.clear()
        with pytest.raises(DataError, match="is out of reach"):
            inputs._fetch("x", nowhere)  # what answered before may be gone by now
        monkeypatch.setattr(inputs, "_download", meanwhile)
        assert isinstance(inputs._fetch("x", nowhere), ImageError)


@pytest.mark.parametrize(
    ("word", "error", "message"),
    [
        ("-", ConfigError, "no standard input"),
        ("gone", DataError, "There is no"),
        ("nothing/*.jpg", DataError, "There is no"),
        ("clip.mp4", ConfigError, "is a video"),
        ("nosuch://bucket", ConfigError, "cannot be opened"),
        ("memory://nowhere/at.jpg", DataError, "cannot be read"),
    ],
)
def test_words_that_mean_nothing_are_refused(word, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        read(word)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="no picture in"):
        read(tmp_path)


def test_a_node_must_see_the_pictures(tmp_path):
    inputs.check_seen([str(tmp_path), f"{tmp_path}/**/*.jpg", "s3://bucket/x"], "10.0.0.2")
    with pytest.raises(ClusterError, match=r"10\.0\.0\.2 does not see .*/elsewhere"):
        inputs.check_seen([str(tmp_path / "elsewhere" / "*.jpg")], "10.0.0.2")


def test_chunks_say_which_is_the_last():
    assert list(inputs.chunks(iter("abcde"), 2)) == [
        (0, False, ["a", "b"]),
        (1, False, ["c", "d"]),
        (2, True, ["e"]),
    ]
    assert list(inputs.chunks(iter(()), 2)) == [(0, True, [])]
