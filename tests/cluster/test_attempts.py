"""A picture that ends every process which reads it is found out and given up; the others are answered."""

from __future__ import annotations

import pytest

pytest.importorskip("ray", reason="needs the extra perceived[cluster]")

import pyarrow as pa
import pyarrow.parquet as pq

from perceived.cluster import inputs, predict
from perceived.cluster.folder import Folder
from perceived.cluster.plan import Job, Part, open_job
from perceived.predictor import Predictor


class Lost(BaseException):
    """Stands for the end of a process: no error that anything would catch."""


@pytest.fixture
def work(album, tmp_path):
    names = tuple(sorted(map(str, album(6).iterdir())))
    job = Job(words=names, model="default", model_sha256="", options={}, part_size=9)
    folder = Folder(str(tmp_path / "out"))
    open_job(folder, job, b"", [Part(kind="files", locations=names)])
    return predict.Work(out=folder.root, job=job)


def sources(work, predictor):
    """Answer the part as an actor does, and return what it has written."""
    actor = object.__new__(predict.PartWorker)
    actor._work, actor._predictor = work, predictor
    list(actor(pa.table({"part": [0]})))
    with work.folder.open("answers/part-00000000-0000-end.parquet") as file:
        return [(row["source"][-9:], row["error"]) for row in pq.read_table(file).to_pylist()]


def test_a_picture_that_ends_processes_is_a_row_with_an_error(work, monkeypatch):
    predictor = Predictor(threads=1, detect=False)
    healthy = predictor._prepared
    lost = 0

    def prepare(decoded, name, *, keep):
        nonlocal lost
        if name.endswith("00003.png"):
            lost += 1
            raise Lost
        return healthy(decoded, name, keep=keep)

    monkeypatch.setattr(predictor, "_prepared", prepare)
    for _ in range(4):
        with pytest.raises(Lost):
            sources(work, predictor)
    found = sources(work, predictor)
    assert lost == 4
    assert [name for name, error in found if error] == ["00003.png"]
    assert [name for name, _ in found] == [f"0000{number}.png" for number in range(6)]
    assert "ended the process that read it 2 times" in found[3][1]
    assert not work.folder.names("attempts"), "what is finished is forgotten"


def test_a_picture_that_ends_processes_as_it_is_read_is_given_the_blame(work, monkeypatch):
    predictor, healthy = Predictor(threads=1, detect=False), inputs._fetch

    def fetch(name, picture):
        if name.endswith("00003.png"):
            raise Lost
        return healthy(name, picture)

    monkeypatch.setattr(inputs, "_fetch", fetch)
    for _ in range(4):
        with pytest.raises(Lost):
            sources(work, predictor)
    assert [name for name, error in sources(work, predictor) if error] == ["00003.png"]


def test_a_picture_whose_faces_end_processes_in_the_network_is_found_among_those_of_its_batch(work, monkeypatch):
    predictor = Predictor(threads=1, detect=False)
    healthy, lost = predictor.classify, []

    def classify(batch):
        if any(one.faces and one.picture.source.endswith("00002.png") for one in batch):
            lost.append(len(batch))
            raise Lost
        return healthy(batch)

    monkeypatch.setattr(predictor, "classify", classify)
    for _ in range(4):
        with pytest.raises(Lost):
            sources(work, predictor)
    found = sources(work, predictor)
    assert [name for name, error in found if error] == ["00002.png"]
    assert len(found) == 6
    assert lost == [predictor.batch_size] * 2 + [1, 1], "with care, each picture is answered alone"
    assert not work.folder.names("attempts")


def test_processes_lost_at_different_pictures_cost_none_of_them(work, monkeypatch):
    predictor = Predictor(threads=1, detect=False)
    healthy = predictor._prepared
    ends = iter(["00001.png", "00004.png", "00002.png", "00005.png", "00003.png", None])

    def unlucky(at):
        def prepare(decoded, name, *, keep):
            if at and name.endswith(at):
                raise Lost
            return healthy(decoded, name, keep=keep)

        return prepare

    for at in ends:
        monkeypatch.setattr(predictor, "_prepared", unlucky(at))
        if at:
            with pytest.raises(Lost):
                sources(work, predictor)
    assert [error for _, error in sources(work, predictor)] == [None] * 6
