"""A job in its folder: what is written down before it starts, what counts as finished, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

pytest.importorskip("ray", reason="needs the extra perceived[cluster]")

import fsspec
import pyarrow.parquet as pq

from perceived.cluster import answers, plan
from perceived.cluster.folder import Folder
from perceived.cluster.plan import Job, Part
from perceived.errors import ConfigError, ResumeError, StorageError
from perceived.types import Box, Face, Picture, Prediction

JOB = Job(words=("/album",), model="tiny", model_sha256="0" * 64, options={"min_face": None}, part_size=2)
PARTS = [Part(kind="files", locations=(f"/album/{n}.jpg", f"/album/{n}b.jpg")) for n in range(300)]


@pytest.fixture(params=["path", "address"])
def folder(request, tmp_path):
    """A folder of each kind."""
    if request.param == "path":
        yield Folder(str(tmp_path / "out"))
        return
    yield Folder("memory://jobs/out")
    if fsspec.filesystem("memory").exists("/jobs"):
        fsspec.filesystem("memory").rm("/jobs", recursive=True)


def never():
    raise AssertionError("the plan stands already")
    yield


def test_a_plan_stands_once_it_is_written(folder):
    job = plan.open_job(folder, JOB, b"model", PARTS)
    assert job.parts == 300
    assert [plan.read_part(folder, number) for number in (0, 255, 256, 299)] == [
        PARTS[number] for number in (0, 255, 256, 299)
    ]
    assert folder.read(plan.MODEL) == b"model"
    assert plan.open_job(folder, JOB, b"model", never()) == job


def test_a_job_stands_only_once_its_plan_and_model_do(folder, monkeypatch):
    written, write = [], folder.write
    monkeypatch.setattr(folder, "write", lambda name, content: written.append(name) or write(name, content))
    plan.open_job(folder, JOB, b"model", PARTS)
    assert written == ["plan/000000.parquet", "plan/000001.parquet", plan.MODEL, plan.JOB]


def test_options_that_differ_are_named_and_no_others(folder):
    options = {"min_face": None, "threshold": 0.5, "detect": True}
    plan.open_job(folder, replace(JOB, options=options), b"model", PARTS)
    with pytest.raises(ResumeError, match=r"was begun with detect True, not None, threshold 0\.5, not 0\.9\.\n"):
        plan.open_job(folder, replace(JOB, options={"min_face": None, "threshold": 0.9}), b"model", never())


def test_a_plan_that_was_never_finished_is_made_again(folder):
    def breaks():
        yield from PARTS[:260]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan.open_job(folder, JOB, b"model", breaks())
    assert plan.open_job(folder, JOB, b"model", PARTS).parts == 300


@pytest.mark.parametrize(
    ("change", "mend"),
    [
        ({"words": ("/other",)}, "the same pictures"),
        ({"model_sha256": "1" * 64}, "--model"),
        ({"options": {"min_face": 40}}, "options"),
        ({"part_size": 3}, "--part-size"),
    ],
)
def test_another_job_is_refused(tmp_path, change, mend):
    folder = Folder(str(tmp_path))
    plan.open_job(folder, JOB, b"model", PARTS[:1])
    with pytest.raises(ResumeError) as caught:
        plan.open_job(folder, Job(**{**{n: getattr(JOB, n) for n in Job.__slots__}, **change}), b"model", never())
    assert mend in caught.value.mend


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ResumeError, match="holds other files"):
        plan.open_job(Folder(str(tmp_path)), JOB, b"model", PARTS)
    (tmp_path / "job.json").write_text("{}")
    with pytest.raises(ResumeError, match=r"no job of ours"):
        plan.open_job(Folder(str(tmp_path)), JOB, b"model", PARTS)


def test_answers_of_another_job_are_not_added_to(folder):
    folder.write("answers/part-00000000-0000-end.parquet", b"")
    with pytest.raises(ResumeError, match="holds other files"):
        plan.open_job(folder, JOB, b"model", PARTS)


def picture(source: str) -> Picture:
    face = Face(box=Box(x0=1, y0=2.5, x1=3, y1=4), detection_score=0.9, landmarks=((1.0, 2.0),) * 5)
    answer = Prediction(face=face, perceived_gender="male", confidence=0.75, probability={"female": 0.25, "male": 0.75})
    return Picture(source=source, width=9, height=8, faces=(answer,), model="tiny", model_sha256="0" * 64)


LABELS = ("female", "male")


def test_answers_are_the_pictures_as_json_has_them(folder):
    pictures = [picture("a.jpg"), Picture(source="b.jpg", error="no picture", model="tiny", model_sha256="0" * 64)]
    answers.write(folder, 12, 0, pictures, LABELS, last=True)
    (name,) = folder.names("answers")
    assert name == "part-00000012-0000-end.parquet"
    with folder.open(f"answers/{name}") as file:
        rows = pq.read_table(file).to_pylist()
    assert json.loads(json.dumps(rows)) == json.loads(json.dumps([one.to_dict() for one in pictures]))


def test_a_name_that_is_not_unicode_is_escaped(folder):
    name = "caf\udce9.jpg"
    answers.write(folder, 0, 0, [Picture(source=name, error=f"{name} is empty")], LABELS, last=True)
    with folder.open(f"answers/{folder.names('answers')[0]}") as file:
        (row,) = pq.read_table(file).to_pylist()
    assert (row["source"], row["error"]) == ("caf\\udce9.jpg", "caf\\udce9.jpg is empty")


def test_a_plan_keeps_names_that_are_not_unicode(tmp_path):
    folder, part = Folder(str(tmp_path / "job")), Part(kind="files", locations=("/x/caf\udce9.jpg", "/x/é.jpg"))
    plan.open_job(folder, JOB, b"model", [part])
    assert plan.read_part(folder, 0) == part


def test_a_file_that_another_process_removed_is_gone_all_the_same(folder):
    folder.write("note", b"")
    folder.remove("note")
    assert not folder.exists("note")
    folder.remove("note")


def test_parts_are_finished_when_every_chunk_is_there(folder):
    there = ((0, 0, True), (1, 0, False), (2, 1, True), (3, 0, False), (3, 1, True), (4, 0, True), (4, 1, False))
    for part, chunk, last in there:
        answers.write(folder, part, chunk, [], LABELS, last=last)
    folder.write("answers/notes.txt", b"a reader's")
    assert answers.finished(folder) == {0, 3}
    assert folder.names("answers") == [
        "notes.txt",
        "part-00000000-0000-end.parquet",
        "part-00000003-0000.parquet",
        "part-00000003-0001-end.parquet",
    ], "what is half written was not removed"


def test_what_could_not_be_read_is_counted_in_the_parts_asked_for(folder):
    bad = Picture(source="b.jpg", error="no picture")
    for part, count in ((0, 2), (1, 1)):
        answers.write(folder, part, 0, [picture("a.jpg"), *[bad] * count], LABELS, last=True)
    assert [answers.unreadable(folder, parts) for parts in (set(), {0}, {0, 1})] == [0, 2, 3]


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be"):
        Folder(str(tmp_path / "file" / "out")).write("job.json", b"{}")
    with pytest.raises(ConfigError, match="cannot be opened"):
        Folder("nosuch://bucket/out")
