"""Predicting on two nodes: the answers of one process, however often something is killed."""

from __future__ import annotations

import json
import os
import signal
import tarfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs the extra perceived[cluster]")

import pyarrow as pa
import pyarrow.parquet as pq
from ray.exceptions import RayActorError

from perceived import Predictor, demo_faces
from perceived.cluster import connection, predict as cluster
from perceived.cluster.predict import predict
from perceived.errors import ClusterError, ConfigError, ModelFileError, ResumeError
from perceived.storage import alone_in
from perceived.types import Picture

WHOLE = {"detect": False}
"""The tiny model answers for a picture as a face."""


def rows(out: Path) -> list[dict]:
    """Return all answers of a job, in the order of their files."""
    return [row for file in sorted(out.glob("answers/*.parquet")) for row in pq.read_table(file).to_pylist()]


def finished(out: Path) -> int:
    return len(list(out.glob("answers/*-end.parquet")))


def offline(model: Path | str, pictures: list, names: list[str], **options) -> list[dict]:
    """Return what one process without a cluster answers, as Parquet would hold it."""
    answered = Predictor(model, threads=1, **options).stream(pictures, names)
    return json.loads(json.dumps([picture.to_dict() for picture in answered]))


@pytest.mark.full  # two nodes of Ray on two busy processors start too late, now and then
def test_a_node_is_killed_and_nothing_is_lost_or_there_twice(nodes, album, tiny_model, tmp_path, when):
    folder, out = album(120), tmp_path / "out"
    (folder / "00050.png").write_text("a poison picture")
    names = [str(path) for path in sorted(folder.iterdir())]
    expected = offline(tiny_model, names, names, **WHOLE)
    killer = when(lambda: finished(out) >= 3, nodes.kill)
    tally = predict(
        [str(folder)], str(out), address=nodes.grow(), model=str(tiny_model), options=WHOLE, part_size=2, quiet=True
    )
    killer.join()
    assert (tally.pictures, tally.unreadable, tally.parts_before) == (120, 1, 0)
    assert rows(out) == expected
    assert [row["source"] for row in rows(out) if row["error"]] == [str(folder / "00050.png")]

    lost = out / "answers" / "part-00000007-0000-end.parquet"
    lost.unlink()
    (out / "answers" / "part-00000009-0000-end.parquet").rename(out / "answers" / "part-00000009-0001-end.parquet")
    again = predict(
        [str(folder)], str(out), address=nodes.address, model=str(tiny_model), options=WHOLE, part_size=2, quiet=True
    )
    assert (again.unreadable, again.unreadable_before) == (0, 1)
    assert (again.pictures, again.parts_before) == (4, 58), "finished parts are answered again, or others are not"
    assert rows(out) == expected


@pytest.mark.parametrize(("idle", "begun"), [(3, 3), (9, 4), (0, 1)])
def test_as_many_workers_begin_as_find_room(idle, begun):
    pool = cluster._actors(None, 4, idle)["compute"]
    assert (pool.min_size, pool.initial_size, pool.max_size) == (1, begun, 4)


@pytest.mark.parametrize("lost", [True, False])
def test_one_worker_begins_where_several_together_are_lost(monkeypatch, lost):
    begun = []

    def rows(together):
        begun.append(together)
        if together and lost:
            raise RayActorError
        yield from ({"part": 0}, {"part": 1})

    monkeypatch.setattr(cluster, "_pipeline", lambda work, todo, *, together: together)
    monkeypatch.setattr(cluster, "_rows", rows)
    assert [row["part"] for row in cluster._answered(None, [0, 1])] == [0, 1]
    assert begun == ([True, False] if lost else [True])


def workers_at_work() -> list[int]:
    """Return the processes in which Ray runs our actors."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if b"PartWorker" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def test_a_worker_is_killed_and_nothing_is_lost_or_there_twice(nodes, album, tiny_model, tmp_path, when):
    folder, out, killed = album(120), tmp_path / "out", []

    def kill():
        killed.extend(workers_at_work())
        for process in killed:
            os.kill(process, signal.SIGKILL)

    killer = when(lambda: finished(out) >= 3, kill)
    tally = predict(
        [str(folder)], str(out), address=nodes.grow(1), model=str(tiny_model), options=WHOLE, part_size=2, quiet=True
    )
    killer.join()
    assert killed, "no worker was killed"
    assert tally.pictures == 120
    names = [str(path) for path in sorted(folder.iterdir())]
    assert rows(out) == offline(tiny_model, names, names, **WHOLE)


def test_containers_and_stages_that_are_apart(nodes, portraits_folder, tmp_path):
    """Faces are found by some processes and classified by others; the model is the one that ships."""
    files = sorted(portraits_folder.glob("*.jpg"))
    contents = [path.read_bytes() for path in files]
    inside, out = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    pq.write_table(pa.table({"image": [*contents[:3], b"poison"], "key": [*"abcd"]}), inside / "rows.parquet")
    with tarfile.open(inside / "shard.tar", "w") as tar:
        for path in files[3:]:
            tar.add(path, path.name)
    tally = predict([str(inside)], str(out), address=nodes.grow(1), part_size=2, apart=True, quiet=True)
    names = [*"abcd", *(f"{inside}/shard.tar!{path.name}" for path in files[3:])]
    expected = offline("default", [*contents[:3], b"poison", *contents[3:]], names)
    assert tally.pictures == len(expected)
    assert tally.faces >= len(files) - 1, "a portrait was not found"
    found = rows(out)
    assert [(row["source"], len(row["faces"])) for row in found] == [(r["source"], len(r["faces"])) for r in expected]
    for ours, theirs in zip(found, expected, strict=True):
        for face, other in zip(ours["faces"], theirs["faces"], strict=True):
            assert face["box"] == other["box"]
            assert face["confidence"] == pytest.approx(other["confidence"], abs=1e-5)
    assert finished(out) == 2
    assert len(list(out.glob("answers/*.parquet"))) > 2, "large containers are not written in chunks"


@pytest.fixture(scope="session")
def portraits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_faces.write(tmp_path_factory.mktemp("faces") / "demo", count=8, seed=1) / "img_align_celeba"


def test_nothing_is_started_where_everything_is_finished(album, tiny_model, tmp_path, monkeypatch):
    from perceived.cluster import answers, plan
    from perceived.cluster.folder import Folder

    monkeypatch.setattr("perceived.cluster.predict._pipeline", None)
    out, folder = tmp_path / "out", album(2)
    with pytest.raises(ClusterError):
        predict([str(folder)], str(out), address="127.0.0.1:1", model=str(tiny_model), options=WHOLE)
    assert plan.read_part(Folder(str(out)), 0).locations == tuple(map(str, sorted(folder.iterdir())))
    labels = ("female", "male")
    answers.write(Folder(str(out)), 0, 0, [], labels, last=True)
    tally = predict([str(folder)], str(out), address="127.0.0.1:1", model=str(tiny_model), options=WHOLE)
    assert str(tally).endswith("besides 1 part finished before")

    (out / "answers" / "part-00000000-0000-end.parquet").unlink()
    read, unread = (Picture(source="a.png", error=error) for error in (None, "broken"))
    answers.write(Folder(str(out)), 0, 0, [read, unread], labels, last=False)
    answers.write(Folder(str(out)), 0, 1, [unread], labels, last=True)
    tally = predict([str(folder)], str(out), address="127.0.0.1:1", model=str(tiny_model), options=WHOLE)
    assert str(tally).endswith("besides 1 part finished before (2 unreadable)")


def test_what_cannot_be_used_is_refused_before_anything_is_started(album, tmp_path):
    folder = str(album(1))
    for options, error in (({"threshold": 2.0}, ConfigError), ({"max_faces": 0}, ConfigError)):
        with pytest.raises(error):
            predict([folder], str(tmp_path / "out"), address="local", options=options)
    with pytest.raises(ModelFileError):
        predict([folder], str(tmp_path / "out"), address="local", model="no-such-model")
    with pytest.raises(ConfigError, match="--workers 0"):
        predict([folder], str(tmp_path / "out"), address="local", workers=0)
    assert not (tmp_path / "out").exists()


def test_an_address_where_nothing_answers(monkeypatch):
    monkeypatch.setattr(connection, "REACH_SECONDS", 0.5)
    for address, message in (
        ("127.0.0.1:1", "No cluster answers at 127.0.0.1:1"),
        ("nowhere", "nowhere is no address of a cluster"),
        ("127.0.0.1:65536", "no address of a cluster"),
        ("192.0.2.1:6379", "No cluster answers"),
        ("ray://head:10001", "the address of a client"),
    ):
        with pytest.raises(ClusterError, match=message), connection.connected(address):
            raise AssertionError("there is no cluster")


def test_a_node_that_does_not_see_the_pictures_is_named(nodes, album, tiny_model, tmp_path, monkeypatch):
    folder = album(2)

    @contextmanager
    def unmounted(address):
        with connection.connected(address):
            folder.rename(tmp_path / "elsewhere")
            yield

    monkeypatch.setattr(cluster, "connected", unmounted)
    with pytest.raises(ClusterError, match=rf"Node .* does not see {folder}"):
        predict(
            [str(folder)], str(tmp_path / "out"), address=nodes.grow(1), model=str(tiny_model), options=WHOLE,
            quiet=True,
        )  # fmt: skip


def test_a_node_with_other_versions_is_named(nodes):
    with connection.connected(nodes.grow(1)):
        here = connection._reporter()()
        connection._check_nodes(here)
        with pytest.raises(ClusterError, match=r"Node .* has perceived .*, this process 9\.9\.9") as caught:
            connection._check_nodes({**here, "perceived": "9.9.9"})
    assert "install perceived 9.9.9" in caught.value.mend


def test_one_process_at_a_time_works_in_a_folder(album, tiny_model, tmp_path):
    with alone_in(tmp_path / "out"), pytest.raises(ResumeError, match="Another process"):
        predict([str(album(1))], str(tmp_path / "out"), address="local", model=str(tiny_model), quiet=True)
