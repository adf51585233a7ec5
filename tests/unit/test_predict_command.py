"""``perceived predict``: rows in three forms, drawings, resumption, and what cannot be read."""

from __future__ import annotations

import csv
import errno
import gc
import io
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path, PurePath

import numpy as np
import pytest
from PIL import Image

from perceived import images, resume, sources
from perceived.commands import answering
from perceived.errors import ResumeError
from perceived.types import Picture


def answers(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def table(text: str) -> list[list[str]]:
    head, *lines = text.splitlines()
    assert head.split() == ["perceived", "gender", "confidence", "box", "picture"]
    return [line.split() for line in lines]


def test_a_table_with_a_row_for_each_face(run, tiny_model, group):
    two, none = group("two.png", (40, 60), (380, 200)), group("none.png")
    answer = run("predict", two, none, "--model", tiny_model)
    assert (answer.code, answer.err) == (0, "")
    first, second, third = table(answer.out)
    assert first[-1] == second[-1] == str(two)
    assert first[0] in ("female", "male")
    assert first[1].endswith("%")
    assert third == ["(no", "face)", str(none)]


def test_no_detect_takes_a_picture_as_a_face(run, tiny_model, picture):
    bright, dark = picture("bright.png", 255), picture("dark.jpg", 0)
    answer = run("predict", bright, dark, "--model", tiny_model, "--no-detect")
    assert (answer.code, answer.err) == (0, "")
    assert table(answer.out) == [
        ["male", "99.9%", "0,0", "30×40", str(bright)],
        ["female", "99.9%", "0,0", "30×40", str(dark)],
    ]


def test_json_lines_are_as_documented(run, tiny_model, group, tmp_path):
    two, gone = group("two.png", (40, 60), (380, 200)), tmp_path / "gone.jpg"
    answer = run("predict", gone, two, "--model", tiny_model, "--json")
    assert (answer.code, answer.err) == (1, "")
    first, second = answers(answer.out)
    assert (first["source"], first["width"], first["height"], first["faces"]) == (str(gone), None, None, [])
    assert str(gone) in first["error"]
    assert {key: second[key] for key in ("schema", "model", "source", "width", "height", "error")} == {
        "schema": 1,
        "model": "tiny",
        "source": str(two),
        "width": 640,
        "height": 480,
        "error": None,
    }
    assert second["model_sha256"] == first["model_sha256"]
    assert len(second["model_sha256"]) == 64
    assert len(second["faces"]) == 2
    for face in second["faces"]:
        assert set(face) == {
            *("box", "detection_score", "landmarks", "perceived_gender", "confidence", "probability"),
        }
        x0, y0, x1, y1 = face["box"]
        assert all(x0 < x < x1 and y0 < y < y1 for x, y in face["landmarks"])
        assert face["confidence"] == max(face["probability"].values())
        assert sum(face["probability"].values()) == pytest.approx(1, abs=1e-6)


def test_csv_has_a_row_for_each_face_and_each_picture_without(run, tiny_model, group, tmp_path):
    two, none, gone = group("two, or so.png", (40, 60), (380, 200)), group("none.png"), tmp_path / "gone.jpg"
    answer = run("predict", two, none, gone, "--model", tiny_model, "--csv")
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert answer.code == 1
    assert [row["source"] for row in rows] == [str(two), str(two), str(none), str(gone)]
    assert [row["face"] for row in rows] == ["1", "2", "", ""]
    assert float(rows[0]["probability_female"]) + float(rows[0]["probability_male"]) == pytest.approx(1, abs=1e-6)
    assert (rows[2]["perceived_gender"], rows[2]["error"], rows[2]["width"]) == ("", "", "640")
    assert "cannot be read" in rows[3]["error"]
    assert {row["schema"] for row in rows} == {"1"}


def test_a_dash_is_where_pictures_come_from_and_no_file(run, tiny_model, picture, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    answer = run("predict", picture("a.png", 10), "--model", tiny_model, "--json", "--out", "-")
    assert (answer.code, "--out - names no file" in answer.err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_what_cannot_be_read_is_a_row_and_the_rest_is_answered(run, tiny_model, picture, tmp_path):
    bright, gone = picture("bright.png", 255), tmp_path / "gone.jpg"
    answer = run("predict", gone, bright, "--model", tiny_model, "--no-detect")
    assert answer.code == 1
    assert table(answer.out) == [
        ["(unreadable)", str(gone)],
        ["male", "99.9%", "0,0", "30×40", str(bright)],
    ]
    assert answer.err.startswith(f"{gone} cannot be read: ")
    assert answer.err.count(str(gone)) == 1
    assert "Traceback" not in answer.err


def test_what_is_wrong_with_a_picture_and_its_mend_stand_in_one_line(run, tiny_model, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    answer = run("predict", text, "--model", tiny_model, "--no-detect")
    assert answer.err.count("\n") == 1
    assert "\\n" not in answer.err
    assert ". To fix it: " in answer.err or " Expected: " in answer.err


def test_threshold_and_always_answer(run, make_model, picture, tmp_path):
    careful = make_model(tmp_path / "careful.onnx", threshold=0.999)
    words = ("predict", picture("grey.png", 140), "--no-detect", "--model", careful)
    assert table(run(*words).out)[0][:2] == ["uncertain", "67.9%"]
    assert table(run(*words, "--threshold", "0.6").out)[0][:2] == ["male", "67.9%"]
    assert table(run(*words, "--always-answer").out)[0][:2] == ["male", "67.9%"]
    both = run(*words, "--always-answer", "--threshold", "0.6")
    assert both.code == 2
    assert "contradict" in both.err
    assert run(*words, "--threshold", "1.5").code == 2


def test_standard_input(run, tiny_model, picture, monkeypatch):
    with open(picture("bright.png", 255), "rb") as file:
        monkeypatch.setattr(sys, "stdin", file)
        answer = run("predict", "-", "--model", tiny_model, "--no-detect", "--json")
    assert [(row["source"], len(row["faces"])) for row in answers(answer.out)] == [("-", 1)]


def test_names_that_are_not_unicode(tiny_model, picture, tmp_path):
    odd = os.fsencode(tmp_path) + b"/f\xe9e.png"
    Path(os.fsdecode(odd)).write_bytes(picture("bright.png", 255).read_bytes())
    command = [sys.executable, "-m", "perceived", "predict", odd, "--no-detect", "--model", str(tiny_model)]
    answer = subprocess.run(command, capture_output=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, b"")
    assert b"f\\udce9e.png" in answer.stdout


def test_folders_are_read_with_what_is_below(run, tiny_model, picture, tmp_path):
    (tmp_path / "album" / "deep").mkdir(parents=True)
    for name in ("album/b.png", "album/a.jpg", "album/deep/c.webp"):
        picture(name, 200)
    (tmp_path / "album" / "notes.txt").write_text("no picture")
    answer = run("predict", tmp_path / "album", "--model", tiny_model, "--no-detect", "--json")
    assert [Path(row["source"]).name for row in answers(answer.out)] == ["a.jpg", "b.png", "c.webp"]


def test_the_faces_that_are_answered_can_be_limited(run, tiny_model, group):
    three = group("three.png", (0, 0), (220, 130), (460, 260))
    words = ("predict", three, "--model", tiny_model, "--json")

    def boxes(*more: str) -> list[list[float]]:
        return [face["box"] for face in answers(run(*words, *more).out)[0]["faces"]]

    everyone = boxes()
    assert len(everyone) == 3
    assert len(boxes("--max-faces", "2")) == 2
    (main,) = boxes("--main-face")
    assert 220 < main[0] < main[2] < 400
    assert boxes("--min-face", "300") == []
    assert run(*words, "--max-faces", "0").code == 2
    assert run(*words, "--min-face", "-1").code == 2


@pytest.mark.parametrize("ending", ["jsonl", "csv", "txt"])
def test_out_writes_what_would_be_printed(run, tiny_model, picture, tmp_path, ending):
    words = ("predict", picture("bright.png", 255), "--model", tiny_model, "--no-detect")
    form = {"jsonl": ["--json"], "csv": ["--csv"], "txt": []}[ending]
    out = tmp_path / "new" / f"answers.{ending}"
    printed = run(*words, *form)
    written = run(*words, "--out", out)
    assert out.read_text(encoding="utf-8") == printed.out
    assert written.out == f"answers: {out}: 1 picture, 1 face (0 pictures without a face, 0 unreadable)\n"


def test_a_full_disk_behind_standard_output_is_told(tiny_model, picture):
    words = [sys.executable, "-m", "perceived", "predict", picture("a.png", 9), "--model", tiny_model, "--no-detect"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0
    assert "Error: The disk is full while writing standard output." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_is_cut_short_is_told(tiny_model, picture, tmp_path, unbuffered):
    named = picture(f"{'a' * 200}.png", 9)
    words = [sys.executable, "-m", "perceived", "predict", named, "--json", "--no-detect", "--model", tiny_model]
    limited = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", *words]  # 512 bytes: fewer than the row has
    with open(tmp_path / "answers.jsonl", "w") as out:
        done = subprocess.run(
            limited, stdout=out, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    assert (done.returncode, "standard output" in done.stderr) == (2, True), done.stderr
    assert "ignored" not in done.stderr
    assert (tmp_path / "answers.jsonl").stat().st_size == 512


def test_a_terminal_is_shown_no_control_characters(capsys, monkeypatch):
    from perceived.commands import answering

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    answering._print("\x1b]0;title\x07a.jpg\t1\n")
    assert capsys.readouterr().out == "\\x1b]0;title\\x07a.jpg\t1\n"


def test_a_video_among_pictures_loses_no_answer(run, tiny_model, picture, tmp_path):
    picture("a.png", 9)
    (tmp_path / "b.mp4").write_bytes(bytes(100))
    words = ("--model", tiny_model, "--no-detect", "--json")
    answer = run("predict", f"{tmp_path}/*", *words)
    assert [row["error"] is None for row in answers(answer.out)] == [True, False]
    assert answer.code == 1
    answer = run("predict", tmp_path / "a.png", tmp_path / "b.mp4", *words)
    assert (answer.code, answer.out) == (2, "")
    assert "perceived video" in answer.err


def test_nothing_is_left_of_an_output_that_failed(run, tiny_model, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(answering.rows, "rows", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("predict", picture("a.png", 9), "--model", tiny_model, "--no-detect", "--out", tmp_path / "o.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(("cut", "zeros"), [(40, 0), (40, 9), (0, 9)])
def test_resume_skips_what_is_answered_and_mends_a_broken_end(run, tiny_model, picture, tmp_path, cut, zeros):
    pictures = [picture(f"{shade}.png", shade) for shade in (10, 90, 200)]
    gone, log = tmp_path / "late.png", tmp_path / "log.jsonl"
    words = ("predict", *pictures, gone, "--model", tiny_model, "--no-detect")
    whole = run(*words, "--json").out
    kept = whole.splitlines(keepends=True)
    log.write_text(kept[0] + kept[3] + kept[1][:cut] + "\0" * zeros)
    picture("late.png", 50)
    answer = run(*words, "--resume", log)
    assert answer.code == 0
    rows = answers(log.read_text())
    assert [row["source"] for row in rows] == [str(path) for path in (*pictures, gone)]
    assert all(row["error"] is None for row in rows)
    assert "3 pictures, 3 faces" in answer.out
    before = log.read_bytes()
    again = run(*words, "--resume", log)
    assert again.code == 0
    assert "0 pictures" in again.out
    assert "besides 4 answered before" in again.out
    assert log.read_bytes() == before


def test_what_could_not_be_read_is_kept_unless_it_is_tried_again(run, tiny_model, picture, tmp_path):
    good, log = picture("a.png", 10), tmp_path / "log.jsonl"
    words = ("predict", "--model", tiny_model, "--no-detect", "--resume", log)
    assert run(*words, good, tmp_path / "gone.png").code == 1
    before = log.read_bytes()
    again = run(*words, good)
    assert (again.code, log.read_bytes()) == (1, before)
    assert "besides 1 answered before (1 unreadable)" in again.out
    picture("gone.png", 200)
    assert run(*words, tmp_path / "gone.png").code == 0
    assert [row["error"] for row in answers(log.read_text())] == [None, None]


def test_drawings_of_what_was_answered_before_are_told_to_be_missing(run, tiny_model, picture, tmp_path):
    words = ("predict", picture("a.png", 10), "--model", tiny_model, "--no-detect", "--resume", tmp_path / "log.jsonl")
    assert run(*words).code == 0
    again = run(*words, "--annotate", tmp_path / "drawn")
    assert (again.code, again.err) == (0, "1 picture answered before: not drawn again.\n")


def test_drawings_keep_their_names_when_pictures_are_added(run, tiny_model, picture, tmp_path):
    (tmp_path / "album").mkdir()
    for name in ("x.png", "y.png"):
        picture(f"album/{name}", 10)
    drawn = tmp_path / "drawn"
    words = ("predict", tmp_path / "album", "--model", tiny_model, "--no-detect", "--annotate", drawn)
    resumed = (*words, "--resume", tmp_path / "log.jsonl")
    assert run(*resumed).code == 0
    before = {path.name: path.read_bytes() for path in drawn.iterdir()}
    picture("album/x.bmp", 240)
    assert run(*resumed).code == 0
    after = {path.name: path.read_bytes() for path in drawn.iterdir()}
    assert len(after) == len(before) + 1
    assert after.items() > before.items()


def test_drawings_of_pictures_that_are_gone_keep_their_names(run, tiny_model, picture, tmp_path):
    (tmp_path / "album").mkdir()
    for name, shade in (("a.bmp", 10), ("a.png", 90)):
        picture(f"album/{name}", shade)
    drawn = tmp_path / "drawn"
    words = ("predict", tmp_path / "album", "--model", tiny_model, "--no-detect", "--crops", drawn)
    resumed = (*words, "--resume", tmp_path / "log.jsonl")
    assert run(*resumed).code == 0
    before = {path.name: path.read_bytes() for path in drawn.iterdir()}
    assert sorted(before) == ["a-2-face1.png", "a-face1.png"]
    (tmp_path / "album" / "a.bmp").unlink()
    picture("album/a.webp", 240)
    assert run(*resumed).code == 0
    after = {path.name: path.read_bytes() for path in drawn.iterdir()}
    assert after.keys() - before.keys() == {"a-3-face1.png"}
    assert after.items() > before.items()


def test_a_picture_that_is_mended_does_not_take_the_drawing_of_one_that_is_gone(run, tiny_model, picture, tmp_path):
    for folder in ("album", "album/deep"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.bmp").touch()
        picture(f"{folder}/a.png", 90)
        picture(f"{folder}/b.png", 90)
    drawn = tmp_path / "drawn"
    words = ("predict", tmp_path / "album", "--model", tiny_model, "--no-detect", "--crops", drawn)
    resumed = (*words, "--resume", tmp_path / "log.jsonl")
    assert run(*resumed).code == 1
    before = {path.relative_to(drawn): path.read_bytes() for path in drawn.rglob("*.png")}
    drawings = ["a-2-face1.png", "b-face1.png", "deep/a-2-face1.png", "deep/b-face1.png"]
    assert sorted(map(str, before)) == drawings
    for folder in ("album", "album/deep"):
        (tmp_path / folder / "a.png").unlink()
        (tmp_path / folder / "a.bmp").write_bytes(picture("other.bmp", 240).read_bytes())
    assert run(*resumed).code == 0
    after = {path.relative_to(drawn): path.read_bytes() for path in drawn.rglob("*.png")}
    assert sorted(map(str, after.keys() - before.keys())) == ["a-face1.png", "deep/a-face1.png"]
    assert after.items() > before.items()


def test_a_model_whose_name_is_not_unicode_answers(run, tiny_model, picture, tmp_path):
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/mod\xe8le.onnx"))
    shutil.copyfile(tiny_model, strange)
    assert run("predict", picture("a.png", 10), "--no-detect", "--model", strange).code == 0


def test_answers_are_not_written_over_the_model(run, make_model, picture, tmp_path):
    model = make_model(tmp_path / "model.onnx")
    before = model.read_bytes()
    for option in ("--out", "--resume"):
        answer = run("predict", picture("a.png", 10), "--model", model, option, model)
        assert (answer.code, "it is the model" in answer.err, model.read_bytes()) == (2, True, before)


def test_a_file_keeps_its_permissions(run, tiny_model, picture, tmp_path):
    (tmp_path / "a.csv").touch(mode=0o600)
    run("predict", picture("a.png", 9), "--model", tiny_model, "--no-detect", "--out", tmp_path / "a.csv")
    assert (tmp_path / "a.csv").stat().st_mode & 0o777 == 0o600


def test_two_runs_do_not_write_to_one_file(run, tiny_model, picture, tmp_path, monkeypatch):
    log = tmp_path / "log.jsonl"
    words = ("predict", picture("a.png", 10), "--model", tiny_model, "--no-detect", "--resume", log)
    assert run(*words).code == 0
    log.chmod(0o600)
    before = log.read_bytes()
    with open(log, "ab") as other:
        resume.hold(other, log)
        second = run(*words)
        assert (second.code, "Another run" in second.err) == (2, True)
        assert log.read_bytes() == before
    assert run(*words).code == 0
    assert log.stat().st_mode & 0o777 == 0o600
    with open(log, "ab") as replaced:
        (tmp_path / "new.jsonl").write_bytes(before)
        (tmp_path / "new.jsonl").replace(log)
        with pytest.raises(ResumeError, match="Another run"):
            resume.hold(replaced, log)


def test_a_file_is_held_until_the_new_one_has_taken_its_place(run, tiny_model, picture, tmp_path, monkeypatch):
    log = tmp_path / "log.jsonl"
    words = ("predict", picture("a.png", 10), "--model", tiny_model, "--no-detect", "--resume", log)
    assert run(*words).code == 0
    replaced, replace = [], Path.replace

    def seen(partial, target):
        with open(target, "ab") as other, pytest.raises(ResumeError, match="Another run"):
            resume.hold(other, log)
        replaced.append(target)
        return replace(partial, target)

    monkeypatch.setattr(Path, "replace", seen)
    assert run(*words).code == 0
    assert replaced == [log]


def test_answers_take_no_memory_that_grows():
    class Instant:
        def stream(self, pictures, names):
            for _, name in zip(pictures, names, strict=True):
                yield Picture(source=name, width=1, height=1, model="m", model_sha256="0")

    def found(count):
        return (sources.Found(location=f"{i}.png", relative=PurePath(f"{i}.png")) for i in range(count))

    answers = answering._answers(Instant(), found(2000), None)
    for _ in range(1999):
        next(answers)
    living = sum(type(thing) is sources.Found for thing in gc.get_objects())
    assert living < 200, "what has been answered is let go of"
    assert next(answers).source == "1999.png"


@pytest.mark.parametrize("option", ["--resume", "--out", "--annotate", "--crops"])
@pytest.mark.parametrize("where", ["long", "loop", "fifo", "proc"])
def test_places_where_nothing_can_be_written(run, tiny_model, picture, tmp_path, option, where):
    places = {"long": "x" * 300, "loop": "loop", "fifo": "fifo", "proc": "/proc/x/y"}
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    target = tmp_path / places[where]
    answer = run("predict", picture("a.png", 9), "--model", tiny_model, "--no-detect", option, target)
    if (option, where) == ("--out", "loop"):
        assert target.read_text(), "a file takes the place of a link that leads nowhere"
        return
    assert (answer.code, answer.err.startswith("Error: ")) == (2, True), answer.err


def test_a_run_that_goes_on_draws_over_nothing(run, tiny_model, picture, tmp_path):
    """Two pictures of one stem: the second is drawn as a-2 in the run that goes on, too."""
    folder = tmp_path / "album"
    folder.mkdir()
    for name, shade in (("a.jpg", 10), ("a.png", 200)):
        (folder / name).write_bytes(picture(f"{shade}{Path(name).suffix}", shade).read_bytes())
    words = ("--model", tiny_model, "--no-detect", "--resume", tmp_path / "log.jsonl", "--annotate", tmp_path / "drawn")
    assert run("predict", folder / "a.jpg", *words).code == 0
    first = (tmp_path / "drawn" / "a.jpg").read_bytes()
    assert run("predict", folder / "a.jpg", folder / "a.png", *words).code == 0
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["a-2.jpg", "a.jpg"]
    assert (tmp_path / "drawn" / "a.jpg").read_bytes() == first


@pytest.mark.parametrize("name", ["....jpg", "..jpg"])
def test_names_of_dots_are_drawn(run, tiny_model, picture, tmp_path, name):
    (tmp_path / name).write_bytes(picture("a.png", 9).read_bytes())
    words = ("--annotate", tmp_path / "drawn", "--crops", tmp_path / "faces")
    assert run("predict", tmp_path / name, "--model", tiny_model, "--no-detect", *words).code == 0
    assert len(list((tmp_path / "drawn").iterdir())) == len(list((tmp_path / "faces").iterdir())) == 1


def test_resume_tries_again_what_no_model_was_asked_about(run, tiny_model, picture, tmp_path):
    """As the client writes rows of pictures that it could not read itself."""
    log, path = tmp_path / "log.jsonl", picture("a.png", 9)
    words = ("predict", path, "--model", tiny_model, "--no-detect", "--resume", log)
    assert run(*words).code == 0
    gone = str(picture("gone.png", 9))
    unread = answers(log.read_text())[0] | {"source": gone, "error": "gone", "model": "", "model_sha256": ""}
    log.write_text(log.read_text() + json.dumps(unread | {"faces": []}) + "\n")
    assert run(*words, gone).code == 0
    assert [(row["source"], row["error"]) for row in answers(log.read_text())] == [(str(path), None), (gone, None)]


def put_another_there(log: Path) -> None:
    """As editors and ``sed -i`` do."""
    other = log.with_suffix(".new")
    other.write_bytes(log.read_bytes())
    other.replace(log)


@pytest.mark.parametrize("change", [Path.unlink, put_another_there])
def test_a_list_that_is_removed_or_replaced_meanwhile_is_told(run, tiny_model, picture, tmp_path, monkeypatch, change):
    log, tell = tmp_path / "log.jsonl", answering.Tally.add

    def add(tally, picture):
        tell(tally, picture)
        change(log)

    words = ("predict", picture("a.png", 9), "--model", tiny_model, "--no-detect", "--resume", log)
    with monkeypatch.context() as patched:
        patched.setattr(answering.Tally, "add", add)
        answer = run(*words)
    assert (answer.code, "was removed or replaced while" in answer.err) == (2, True)
    assert run(*words).code == 0
    assert len(log.read_text().splitlines()) == 1


def test_resume_makes_the_folder_of_its_file(run, tiny_model, picture, tmp_path):
    log = tmp_path / "new" / "log.jsonl"
    assert run("predict", picture("a.png", 9), "--model", tiny_model, "--no-detect", "--resume", log).code == 0
    assert len(answers(log.read_text())) == 1


def test_a_file_that_cannot_be_read_is_not_resumed(run, tiny_model, picture, tmp_path, monkeypatch):
    log = tmp_path / "log.jsonl"
    log.write_text("")

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("perceived.resume.open", refuse, raising=False)  # root may read everything
    answer = run("predict", picture("a.png", 9), "--model", tiny_model, "--no-detect", "--resume", log)
    assert answer.code == 2
    assert f"{log} cannot be" in answer.err
    assert "Permission denied" in answer.err


def test_resume_refuses_other_models_and_other_files(run, tiny_model, make_model, picture, tmp_path):
    path, log = picture("a.png", 9), tmp_path / "log.jsonl"
    words = ("predict", path, "--no-detect", "--resume", log)
    assert run(*words, "--model", tiny_model).code == 0
    before = log.read_bytes()
    other = run(*words, "--model", make_model(tmp_path / "other.onnx", name="other"))
    assert other.code == 2
    assert "one file holds one model's answers" in other.err
    assert log.read_bytes() == before
    faces = json.dumps({**answers(before.decode())[0], "faces": [{}]}) + "\n"
    for text in ("hello\n", "[1]\n", "{}\n", faces):
        log.write_text(text)
        strange = run(*words, "--model", tiny_model)
        assert (strange.code, log.read_text()) == (2, text)
        assert "line 1" in strange.err
    assert run(*words, "--model", tiny_model, "--csv").code == 2
    assert run(*words, "--model", tiny_model, "--out", tmp_path / "x").code == 2


@pytest.mark.parametrize(
    ("begun", "continued", "says"),
    [
        (
            ["--no-detect", "--threshold", "0.5"],
            ["--no-detect", "--threshold", "0.9"],
            "with another threshold than 0.9",
        ),
        (["--no-detect", "--threshold", "0.9"], ["--no-detect", "--always-answer"], "another threshold than 0"),
        (["--no-detect"], [], "with --no-detect"),
        ([], ["--no-detect"], "without --no-detect"),
        ([], ["--max-faces", "1"], "for more faces"),
        ([], ["--main-face"], "for more faces"),
        ([], ["--min-face", "300"], "for more faces"),
    ],
)
def test_resume_refuses_answers_that_other_options_gave(
    run, tiny_model, picture, group, tmp_path, begun, continued, says
):
    log = tmp_path / "log.jsonl"
    path = picture("grey.png", 140) if "--no-detect" in begun else group("two.png", (40, 60), (380, 200))
    words = ("predict", path, "--model", tiny_model, "--resume", log)
    assert run(*words, *begun).code == 0
    before = log.read_bytes()
    answer = run(*words, *continued)
    assert (answer.code, log.read_bytes()) == (2, before)
    assert says in answer.err
    assert run(*words, *begun).code == 0


def test_annotated_pictures_and_crops_keep_their_folders(run, tiny_model, group, tmp_path):
    group("album/two.png", (40, 60), (380, 200))
    group("album/deep/one.png", (40, 60))
    group("album/deep/none.png")
    answer = run(
        *("predict", tmp_path / "album", "--model", tiny_model),
        *("--annotate", tmp_path / "drawn", "--crops", tmp_path / "faces"),
    )
    assert (answer.code, answer.err) == (0, "")
    drawn, faces = (
        sorted(path.relative_to(tmp_path / folder).as_posix() for path in (tmp_path / folder).rglob("*.*"))
        for folder in ("drawn", "faces")
    )
    assert drawn == ["deep/none.jpg", "deep/one.jpg", "two.jpg"]
    assert faces == ["deep/one-face1.png", "two-face1.png", "two-face2.png"]
    before, after = images.load(tmp_path / "album" / "two.png"), images.load(tmp_path / "drawn" / "two.jpg")
    assert before.shape == after.shape
    assert (np.abs(before.astype(int) - after).max(axis=2) > 60).mean() > 0.005
    assert images.load(tmp_path / "faces" / "two-face1.png").shape[0] > 100


def test_explain_needs_a_folder_and_a_model_that_can(run, tiny_model, group, tmp_path):
    words = ("predict", group("one.png", (40, 60)), "--model", tiny_model, "--explain")
    assert "--annotate" in run(*words).err
    answer = run(*words, "--annotate", tmp_path / "drawn")
    assert answer.code == 2
    assert answer.out == ""
    assert "cannot show what its answers rest on" in answer.err


def test_explained_faces_are_drawn_beside_the_annotated_picture(run, group, tmp_path):
    answer = run("predict", group("one.png", (40, 60)), "--annotate", tmp_path / "drawn", "--explain")
    assert (answer.code, answer.err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["one-face1-activation.png", "one.jpg"]
    seen = images.load(tmp_path / "drawn" / "one-face1-activation.png").astype(int)
    assert np.ptp(seen[..., 0] - seen[..., 2]) > 60, "colours of heat, and not the crop alone"


def test_no_picture_at_all_is_a_mistake(run, tiny_model, tmp_path):
    answer = run("predict", tmp_path, "--model", tiny_model)
    assert (answer.code, answer.out) == (2, "")
    assert str(tmp_path) in answer.err


def test_a_pattern_that_matches_nothing_is_a_row_that_says_so(run, tiny_model, picture, tmp_path):
    pattern = tmp_path / "no*.jpg"
    answer = run("predict", pattern, picture("a.png", 255), "--model", tiny_model, "--no-detect")
    assert answer.code == 1
    assert [row[0] for row in table(answer.out)] == ["(unreadable)", "male"]
    assert answer.err.startswith(f"There is no file {pattern}.")
    assert "a pattern has to match something" in answer.err


def test_formats_that_contradict(run, tiny_model, picture):
    answer = run("predict", picture("a.png", 9), "--model", tiny_model, "--json", "--csv")
    assert answer.code == 2


def test_predict_opens_no_socket(run, tiny_model, group, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    assert run("predict", group("one.png", (40, 60)), "--model", tiny_model).code == 0


def test_predict_opens_no_socket_in_a_process_of_its_own(tiny_model, group):
    code = (
        "import sys\n"
        "def hook(event, arguments):\n"
        "    if event.startswith('socket.'): raise SystemExit(f'{event} {arguments}')\n"
        "sys.addaudithook(hook)\n"
        "from perceived.cli import main\n"
        f"sys.argv = ['perceived', 'predict', {str(group('one.png', (40, 60)))!r}, '--model', {str(tiny_model)!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "one.png" in done.stdout


def test_predict_leaves_no_trace_at_home(tiny_model, group, tmp_path):
    """ONNX Runtime keeps notes of its use there, and sends them, unless it is told not to."""
    home = tmp_path / "home"
    home.mkdir()
    ours = {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in ours} | {"HOME": str(home)}
    command = [sys.executable, "-m", "perceived", "predict", group("one.png", (40, 60)), "--model", tiny_model]
    subprocess.run(command, env=environment, capture_output=True, check=True)
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--annotate", "."], "drawings of the same names"),
        (["--crops", "album", "--annotate", "drawn"], "drawings of the same names"),
        (["--json", "--out", "holiday.png"], "the name of a picture"),
        (["--resume", "holiday.png"], "the name of a picture"),
        (["--json", "--out", "album"], "a folder"),
        (["--annotate", "holiday.png"], "in the way"),
    ],
)
def test_what_is_read_is_never_written_over(run, tiny_model, picture, tmp_path, monkeypatch, options, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "album").mkdir()
    originals = [picture("holiday.png", 255), picture("album/other.png", 0)]
    before = [path.read_bytes() for path in originals]
    answer = run("predict", "holiday.png", "album", "--model", tiny_model, "--no-detect", *options)
    assert answer.code == 2
    assert what in answer.err
    assert [path.read_bytes() for path in originals] == before


@pytest.mark.parametrize(
    ("word", "more"),
    [
        ("album", ["--annotate", "album/inner"]),
        ("album/**/*.png", ["--annotate", "album"]),
        ("album/*.png", ["--json", "--out", "album/a.png"]),
        ("album", ["--json", "--out", "album/a.png"]),
    ],
)
def test_nothing_is_written_over_pictures_of_folders_and_patterns(
    run, tiny_model, picture, tmp_path, monkeypatch, word, more
):
    inner = tmp_path / "album" / "inner"
    inner.mkdir(parents=True)
    files = [tmp_path / "album" / "a.png", inner / "a.png"]
    for file, shade in zip(files, (20, 200), strict=True):
        file.write_bytes(picture("one.png", shade).read_bytes())
    before = [file.read_bytes() for file in files]
    monkeypatch.chdir(tmp_path)
    answer = run("predict", word, "--no-detect", "--model", tiny_model, *more)
    assert (answer.code, answer.err.startswith("Error: ")) == (2, True), answer.err
    assert [file.read_bytes() for file in files] == before


def test_drawings_among_the_pictures_are_made_once(run, tiny_model, picture, tmp_path, monkeypatch):
    folder = tmp_path / "album"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture("one.png", 20).read_bytes())
    monkeypatch.chdir(folder)
    for where in (".", "**/*g"):
        words = ("predict", where, "--no-detect", "--model", tiny_model, "--annotate", "drawn", "--crops", "x/faces")
        for _ in range(2):
            assert "1 picture, 1 face" in run(*words, "--out", "rows.csv").out
    assert sorted(str(path) for path in Path().rglob("*g")) == ["a.png", "drawn/a.jpg", "x/faces/a-face1.png"]
    (folder / "x" / "b.png").write_bytes(picture("two.png", 200).read_bytes())
    own = run("predict", ".", "--no-detect", "--model", tiny_model, "--annotate", "x")
    assert (own.code, "holds some" in own.err) == (2, True), "pictures of one's own are not left out in silence"


def test_somebodys_own_pictures_are_not_drawn_over(run, tiny_model, picture, tmp_path):
    words = ("predict", picture("holiday.png", 255), "--no-detect", "--model", tiny_model)
    own = picture("own.png", 20).read_bytes()
    vast = own.replace(struct.pack(">II", *Image.open(io.BytesIO(own)).size), struct.pack(">II", 50_000, 50_000))
    for option, name, before in (
        ("--annotate", "holiday.jpg", own),
        ("--crops", "holiday-face1.png", own),
        ("--crops", "holiday-face1.png", vast),
    ):
        folder = tmp_path / option[2:]
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(before)
        answer = run(*words, option, folder)
        assert (answer.code, "no drawing of ours" in answer.err) == (2, True)
        assert (folder / name).read_bytes() == before
        (folder / name).unlink()
        assert run(*words, option, folder).code == run(*words, option, folder).code == 0


def test_an_empty_folder_among_others_is_told(run, tiny_model, picture, tmp_path):
    (tmp_path / "empty").mkdir()
    answer = run("predict", tmp_path / "empty", picture("a.png", 9), "--no-detect", "--model", tiny_model, "--json")
    assert (answer.code, answer.err) == (0, f"There is no picture in {tmp_path / 'empty'}.\n")
    assert len(answer.out.splitlines()) == 1


@pytest.mark.parametrize(("flag", "name"), [("--csv", "a.jsonl"), ("--json", "a.csv"), ("--resume", "a.csv")])
def test_a_name_and_a_flag_that_contradict(run, tiny_model, picture, tmp_path, flag, name):
    words = [flag, tmp_path / name] if flag == "--resume" else [flag, "--out", tmp_path / name]
    answer = run("predict", picture("a.png", 9), "--model", tiny_model, *words)
    assert (answer.code, "contradict" in answer.err) == (2, True)
    assert not (tmp_path / name).exists()


def test_a_name_stays_on_its_line(run, tiny_model, picture, tmp_path):
    odd = tmp_path / "new\nline\x1b[2J.png"
    odd.write_bytes(picture("a.png", 9).read_bytes())
    answer = run("predict", odd, "--no-detect", "--model", tiny_model)
    assert answer.out.splitlines()[-1].endswith(r"new\nline\x1b[2J.png")


def test_names_as_long_as_they_get(run, tiny_model, picture, tmp_path):
    """One that is too long for any disk is a row; the longest one is drawn under a shorter name."""
    longest = tmp_path / f"{'ü' * 125}.png"
    longest.write_bytes(picture("a.png", 9).read_bytes())
    words = ("--no-detect", "--model", tiny_model, "--json", "--crops", tmp_path / "crops")
    answer = run("predict", tmp_path / f"{'x' * 300}.jpg", longest, *words)
    first, second = map(json.loads, answer.out.splitlines())
    assert (answer.code, "too long" in first["error"], second["error"]) == (1, True, None)
    assert [path.name for path in (tmp_path / "crops").iterdir()] == [f"{'ü' * 100}-face1.png"]
    for option in ("--model", "--out"):
        answer = run("predict", longest, option, "x" * 300)
        assert (answer.code, answer.err.startswith("Error: ")) == (2, True)


def test_a_folder_that_cannot_be_listed_is_a_row(run, tiny_model, picture, tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir()
    listed = os.listdir, os.scandir

    def refuse(which, path, *rest):
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(path))
        return listed[which](path, *rest)

    monkeypatch.setattr(os, "listdir", lambda path=".": refuse(0, path))
    monkeypatch.setattr(os, "scandir", lambda path=".": refuse(1, path))
    answer = run("predict", closed, picture("a.png", 9), "--no-detect", "--model", tiny_model, "--json")
    first, second = map(json.loads, answer.out.splitlines())
    assert (answer.code, second["error"]) == (1, None)
    assert f"{closed} cannot be read: Permission denied" in first["error"]


@pytest.mark.parametrize(
    ("closed", "words", "code"), [(">&-", "--json --out {out}", 0), ("2>&-", "--json --out {out}", 0), ("<&-", "-", 1)]
)
def test_a_process_without_a_stream(tiny_model, picture, tmp_path, closed, words, code):
    out = tmp_path / "a.json"
    words = f"{picture('a.png', 9)} --no-detect --model {tiny_model} {words.format(out=out)}"
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m perceived predict {words} {closed}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert out.is_file() == ("--out" in words)


@pytest.mark.parametrize("text", ["my precious notes", '{"mine": 1}', "[1, 2]"])
def test_resume_leaves_one_line_of_somebody_else_alone(run, tiny_model, picture, tmp_path, text):
    notes = tmp_path / "notes.txt"
    notes.write_text(text)
    answer = run("predict", picture("a.png", 20), "--no-detect", "--model", tiny_model, "--resume", notes)
    assert (answer.code, "no answer of ours" in answer.err) == (2, True)
    assert notes.read_text() == text


@pytest.mark.parametrize(
    "change",
    [
        {"faces": [{"box": [1, 2, 3]}]},
        {"faces": [{"probability": None}]},
        {"source": [1]},
    ],
)
def test_resume_explains_rows_with_impossible_values(run, tiny_model, picture, tmp_path, change):
    log = tmp_path / "log.jsonl"
    words = ("predict", picture("a.png", 20), "--no-detect", "--model", tiny_model)
    row = json.loads(run(*words, "--json").out)
    faces = [{**row["faces"][0], **face} for face in change.pop("faces", row["faces"])]
    log.write_text(json.dumps({**row, "faces": faces, **change}) + "\n")
    answer = run(*words, "--resume", log)
    assert (answer.code, "line 1 is no answer of ours" in answer.err) == (2, True), answer.err


def test_a_table_is_not_written_under_the_name_of_another_format(run, tiny_model, picture, tmp_path):
    done = run("predict", picture("a.png", 20), "--model", tiny_model, "--out", tmp_path / "answers.parquet")
    assert (done.code, "a format that is not written here" in done.err) == (2, True)
    assert not (tmp_path / "answers.parquet").exists()


def test_resume_refuses_answers_of_another_schema(run, tiny_model, picture, tmp_path):
    log = tmp_path / "log.jsonl"
    words = ("predict", picture("a.png", 20), "--no-detect", "--model", tiny_model, "--resume", log)
    assert run(*words).code == 0
    (row,) = answers(log.read_text())
    log.write_text(json.dumps({**row, "schema": row["schema"] + 1}) + "\n")
    before = log.read_bytes()
    answer = run(*words)
    assert (answer.code, log.read_bytes()) == (2, before)
    assert f"schema {row['schema'] + 1}" in answer.err


@pytest.mark.parametrize(
    ("name", "begins"), [("a.ndjson", '{"schema": 1'), ("a.NDJSON", '{"schema": 1'), ("a.CSV", "source,width,height,")]
)
def test_the_ending_of_a_name_says_the_form_however_it_is_written(run, tiny_model, picture, tmp_path, name, begins):
    done = run("predict", picture("a.png", 20), "--no-detect", "--model", tiny_model, "--out", tmp_path / name)
    assert done.code == 0
    assert (tmp_path / name).read_text().startswith(begins)


def test_a_drawing_that_does_not_fit_is_told(run, tiny_model, group, tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(path, data):
        if path.suffix != ".jpg":
            return write(path, data)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    words = ("predict", group("two.png", (40, 60), (380, 200)), "--model", tiny_model, "--annotate", tmp_path / "drawn")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Path, "write_bytes", full)
        answer = run(*words)
    assert (answer.code, "The disk is full" in answer.err) == (2, True)
    assert list((tmp_path / "drawn").iterdir()) == []


@pytest.mark.parametrize("out", ["both", "both/..", "drawn.jsonl"])
def test_answers_are_not_written_where_drawings_go(run, tiny_model, picture, tmp_path, out):
    bright = picture("a.png", 200)
    drawn = tmp_path / "new" / ("drawn.jsonl/sub" if out == "drawn.jsonl" else "both")
    answer = run("predict", bright, "--model", tiny_model, "--out", tmp_path / "new" / out, "--annotate", drawn)
    assert (answer.code, "a folder of what is drawn" in answer.err) == (2, True), answer.err
    assert not (tmp_path / "new").exists()


def test_a_dash_is_no_file_of_answers(run, tiny_model, picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for option in ("--out", "--resume"):
        answer = run("predict", picture("a.png", 200), "--model", tiny_model, option, "-")
        assert (answer.code, f"{option} - names no file" in answer.err) == (2, True)
    assert not Path("-").exists()


def test_answers_go_on_where_complaints_cannot_be_written(tiny_model, picture, tmp_path):
    words = (sys.executable, "-m", "perceived", "predict", "gone.jpg", str(picture("a.png", 200)), "--no-detect")
    with open("/dev/full", "w") as full:
        done = subprocess.run([*words, "--model", str(tiny_model)], stdout=subprocess.PIPE, stderr=full, check=False)
    assert len(done.stdout.splitlines()) == 3
    assert done.returncode == 1


def test_resume_explains_a_face_of_impossible_size(run, tiny_model, group, tmp_path):
    log = tmp_path / "log.jsonl"
    words = ("predict", group("two.png", (40, 60), (380, 200)), "--model", tiny_model)
    row = json.loads(run(*words, "--json").out)
    row["faces"][0]["box"] = [0.5, 1, 10**400, 10**400]
    log.write_text(json.dumps(row) + "\n")
    answer = run(*words, "--min-face", "20", "--resume", log)
    assert (answer.code, "line 1 is no answer of ours" in answer.err) == (2, True), answer.err


@pytest.mark.parametrize("line", ['{"schema": ' + "[" * 200_000, '{"schema": 1, "faces": 1e400}'])
def test_resume_explains_lines_that_are_beyond_reading(run, tiny_model, picture, tmp_path, line):
    log = tmp_path / "log.jsonl"
    log.write_text(line + "\n")
    answer = run("predict", picture("a.png", 20), "--no-detect", "--model", tiny_model, "--resume", log)
    assert (answer.code, "line 1 is no answer of ours" in answer.err) == (2, True), answer.err
