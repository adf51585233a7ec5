"""Reading answers and labels: every form, every word, and nothing dropped unseen."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from perceived import answers, audit
from perceived.answers import Reading
from perceived.commands.options import meanings
from perceived.errors import DataError, InputError


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_file(name: str, *lines: str) -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write_file


def face(side: float, gender: str, male: float) -> dict[str, object]:
    return {"box": [0, 0, side, side], "perceived_gender": gender, "probability": {"female": 1 - male, "male": male}}


def test_csv_becomes_answers(write: Callable[..., Path]) -> None:
    path = write("p.csv", "id,perceived_gender,probability_male", "a,Male,0.9", "b,uncertain,0.55", "c,,")
    table = answers.read_predictions(path, reading=Reading())
    assert table["answer"].to_list() == ["male", "uncertain", "missed"]
    assert table["probability_male"].to_list() == [0.9, 0.55, None]


def test_probabilities_need_not_be_there(write: Callable[..., Path]) -> None:
    table = answers.read_predictions(write("p.csv", "id,perceived_gender", "a,male"), reading=Reading())
    assert table["probability_male"].to_list() == [None]


def test_json_lines_give_the_largest_face_of_each_picture(write: Callable[..., Path]) -> None:
    pictures = [
        {"source": "one.jpg", "faces": [face(10, "female", 0.2), face(30, "male", 0.8)], "error": None, "schema": 1},
        {"source": "none.jpg", "faces": [], "error": None},
        {"source": "broken.jpg", "faces": [], "error": "not a picture"},
        {"source": "two.jpg", "faces": [face(5, "uncertain", 0.5)], "error": None},
    ]
    reading = Reading()
    path = write("p.jsonl", *[json.dumps(picture) for picture in pictures])
    table = answers.read_predictions(path, reading=reading)
    assert table["id"].to_list() == ["one.jpg", "none.jpg", "broken.jpg", "two.jpg"]
    assert table["answer"].to_list() == ["male", "missed", "missed", "uncertain"]
    assert table["probability_male"].to_list() == [0.8, None, None, 0.5]
    assert "Several faces are in 1 picture;" in reading.notes[0]


def test_answers_say_whose_they_are_and_mixed_ones_are_told(write: Callable[..., Path]) -> None:
    face = {"box": [0, 0, 9, 9], "perceived_gender": "male", "probability": {"female": 0.2, "male": 0.8}}
    first = {"source": "a.jpg", "faces": [face], "error": None, "model": "default", "model_sha256": "a" * 64}
    reading = Reading()
    answers.read_predictions(write("one.jsonl", json.dumps(first)), reading=reading)
    assert (reading.model, reading.notes) == ({"name": "default", "sha256": "a" * 64}, [])
    second = {**first, "source": "b.jpg", "model_sha256": "b" * 64}
    answers.read_predictions(write("two.jsonl", json.dumps(first), json.dumps(second)), reading=(mixed := Reading()))
    assert mixed.model is None
    assert "answers of 2 models: default (aaaaaaaaaaaa), default (bbbbbbbbbbbb)" in mixed.notes[0]


FACE = pl.Struct(
    {
        "box": pl.List(pl.Float64),
        "perceived_gender": pl.String,
        "probability": pl.Struct({"female": pl.Float64, "male": pl.Float64}),
    }
)
FIELDS = {"source": pl.String, "faces": pl.List(FACE), "error": pl.String, "schema": pl.Int64}
FIELDS |= {"model": pl.String, "model_sha256": pl.String}
"""Some of the columns that a cluster writes."""


def test_the_folder_of_a_cluster_says_what_the_json_lines_say(tmp_path: Path) -> None:
    faces = [face(10, "female", 0.2), face(30, "male", 0.8)]
    (tmp_path / "answers").mkdir()
    for number, (source, found) in enumerate([("one.jpg", faces), ("none.jpg", [])]):
        row = pl.DataFrame([{"source": source, "faces": found, "schema": 1, "model": "m"}], schema=FIELDS)
        row.write_parquet(tmp_path / "answers" / f"part-{number:08d}-0000-end.parquet")
    reading = Reading()
    for folder in (tmp_path, tmp_path / "answers"):
        table = answers.read_predictions(folder, reading=reading)
        assert table["id"].to_list() == ["one.jpg", "none.jpg"]
        assert table["answer"].to_list() == ["male", "missed"]
        assert table["probability_male"].to_list() == [0.8, None]
    assert "Several faces are in 1 picture;" in reading.notes[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no answers"):
        answers.read_predictions(tmp_path / "empty", reading=reading)


def test_the_folder_of_a_cluster_is_audited_beside_a_workspace_too(tiny_work: Path, tmp_path: Path) -> None:
    rows = answers.read_workspace(tiny_work, "test")
    said = [{"source": path, "faces": [face(10, "male", 0.8)], "schema": 1, "model": "m"} for path in rows["path"]]
    (tmp_path / "answers").mkdir()
    pl.DataFrame(said, schema=FIELDS).write_parquet(tmp_path / "answers" / "part-00000000-0000-end.parquet")
    table, _ = audit.audit_workspace(tmp_path, tiny_work)
    assert table.height == rows.height
    assert set(table["answer"]) == {"male"}


def test_the_csv_of_predict_gives_the_largest_face_of_each_picture(write: Callable[..., Path]) -> None:
    path = write(
        "p.csv",
        "source,face,x0,y0,x1,y1,perceived_gender,probability_male",
        "one.jpg,1,0,0,10,10,female,0.2",
        "one.jpg,2,5,5,40,40,male,0.8",
        "none.jpg,,,,,,,",
        "two.jpg,1,0,0,9,9,uncertain,0.5",
    )
    reading = Reading()
    table = answers.read_predictions(path, reading=reading).sort("id")
    assert table["id"].to_list() == ["none.jpg", "one.jpg", "two.jpg"]
    assert table["answer"].to_list() == ["missed", "male", "uncertain"]
    assert "Several faces are in 1 picture;" in reading.notes[0]


def test_a_picture_that_was_answered_twice_is_refused(write: Callable[..., Path]) -> None:
    head = "source,face,x0,y0,x1,y1,perceived_gender,probability_male"
    path = write("p.csv", head, "one.jpg,1,0,0,10,10,female,0.2", "one.jpg,1,0,0,10,10,male,0.8")
    with pytest.raises(DataError, match=r"1 picture, such as 'one\.jpg', is answered twice"):
        answers.read_predictions(path, reading=Reading())


def test_an_answer_that_is_there_twice_counts_once(write: Callable[..., Path]) -> None:
    row = "one.jpg,1,0,0,10,10,female,0.2"
    path = write("p.csv", "source,face,x0,y0,x1,y1,perceived_gender,probability_male", row, row)
    assert answers.read_predictions(path, reading=Reading())["answer"].to_list() == ["female"]


def test_lines_that_hold_no_faces_are_not_taken_for_missed_ones(write: Callable[..., Path]) -> None:
    path = write("p.jsonl", json.dumps({"source": "a.jpg", "perceived_gender": "male"}))
    with pytest.raises(DataError, match=r"1 line with neither faces nor an error, such as that of 'a\.jpg'"):
        answers.read_predictions(path, reading=Reading())


def test_one_column_is_not_id_and_label(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="'label' cannot hold both"):
        answers.read_labels(write("l.csv", "id,label", "a,male"), reading=Reading(), id_column="label")


def test_answers_in_words_for_nothing_are_left_out_and_empty_ones_are_missed(write: Callable[..., Path]) -> None:
    reading = Reading()
    path = write("p.csv", "id,perceived_gender", "a,male", "b,?", "c,")
    table = answers.read_predictions(path, reading=reading, words={"?": "none"})
    assert table["answer"].to_list() == ["male", "missed"]
    assert reading.excluded == {"predictions in words that stand for nothing": 1}


def test_the_labels_own_columns_never_stand_for_the_models_answers(write: Callable[..., Path]) -> None:
    reading = Reading()
    said = answers.read_predictions(
        write("p.csv", "id,perceived_gender,probability_male", "a,female,0.1", "b,male,0.9"), reading=reading
    )
    labels = write("l.csv", "id,label,answer,probability_male", "a,male,male,1", "b,male,male,1")
    joined = answers.match(said, answers.read_labels(labels, reading=reading), reading)
    assert joined["answer"].to_list() == ["female", "male"]
    assert joined["probability_male"].to_list() == [0.1, 0.9]
    assert reading.notes == ["The labels' own 2 columns answer, probability_male are not used."]


def test_two_columns_of_one_name_are_refused(write: Callable[..., Path]) -> None:
    path = write("l.csv", "id,label,race,race", "a,male,Black,White")
    with pytest.raises(DataError, match="several columns named 'race'"):
        answers.read_labels(path, reading=Reading())


def test_columns_that_others_stand_for_are_dropped_and_named(write: Callable[..., Path]) -> None:
    reading = Reading()
    path = write("l.csv", "id,file,label,gender", "1,a.jpg,x,male")
    table = answers.read_labels(path, reading=reading, id_column="file", label_column="gender")
    assert table.to_dicts() == [{"id": "a.jpg", "label": "male"}]
    assert "'id', 'label' of" in reading.notes[0]


def test_labels_keep_their_groups_and_count_what_has_no_label(write: Callable[..., Path]) -> None:
    reading = Reading()
    path = write("l.csv", "file,gender,race", "a,Female,Black", "b,,White", "c,?,White")
    table = answers.read_labels(path, reading=reading, words={"?": "none"}, id_column="file", label_column="gender")
    assert table.to_dicts() == [{"id": "a", "label": "female", "race": "Black"}]
    assert reading.excluded == {"rows of labels without a label": 2}


def test_lists_and_bytes_in_a_table_are_not_used_and_named(tmp_path: Path) -> None:
    rows = {"id": ["a"], "label": ["male"], "embedding": [[0.1, 0.2]], "thumbnail": [b"\xff"], "age": [timedelta(1)]}
    pl.DataFrame(rows).write_parquet(tmp_path / "l.parquet")
    reading = Reading()
    assert answers.read_labels(tmp_path / "l.parquet", reading=reading).to_dicts() == [{"id": "a", "label": "male"}]
    (note,) = reading.notes
    assert note.startswith(f"'embedding', 'thumbnail', 'age' of {tmp_path}/l.parquet are not used: their cells are")
    pl.DataFrame({"id": ["a"], "label": [["male"]]}).write_parquet(tmp_path / "l.parquet")
    with pytest.raises(DataError, match="label"):
        answers.read_labels(tmp_path / "l.parquet", reading=Reading())


def test_the_ending_of_a_table_may_be_in_capitals(tmp_path: Path) -> None:
    pl.DataFrame({"id": ["a"], "label": ["male"]}).write_parquet(tmp_path / "L.PARQUET")
    assert answers.read_labels(tmp_path / "L.PARQUET", reading=Reading()).to_dicts() == [{"id": "a", "label": "male"}]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_columns_as_spreadsheets_separate_them(write: Callable[..., Path], mark: str) -> None:
    lines = (
        mark.join(cells) for cells in (("id", "label", "race"), ("a", "female", "Black, or not"), ("b", "male", ""))
    )
    table = answers.read_labels(write("l.csv", *lines), reading=Reading())
    assert table.rows() == [("a", "female", "Black, or not"), ("b", "male", None)]


@pytest.mark.parametrize("word", ["M", "0", "woman", "femael", "weiß", "İ"])
def test_other_words_are_refused_until_they_are_mapped(write: Callable[..., Path], word: str) -> None:
    path = write("l.csv", "id,label", f"a,{word}", "b,male")
    with pytest.raises(DataError, match=f"'{word.lower()}'") as caught:
        answers.read_labels(path, reading=Reading())
    assert f"--map '{word.lower()}=…'" in caught.value.mend
    table = answers.read_labels(path, reading=Reading(), words=meanings("--map", [f"{word}=female"], answers.MEANINGS))
    assert table["label"].to_list() == ["female", "male"]


def test_a_comma_may_be_the_decimal_sign(write: Callable[..., Path]) -> None:
    path = write("p.csv", "id;perceived_gender;probability_male", "a;male;0,75", "b;female;0.25")
    assert answers.read_predictions(path, reading=Reading())["probability_male"].to_list() == [0.75, 0.25]


@pytest.mark.parametrize("value", ["1.2", "-0.1", "nan", "inf", "90%", "x", '"1,2"'])
def test_a_probability_outside_0_to_1_is_refused(write: Callable[..., Path], value: str) -> None:
    path = write("p.csv", "id,perceived_gender,probability_male", f"a,male,{value}", "b,male,0.7")
    with pytest.raises(DataError, match="1 value of probability_male"):
        answers.read_predictions(path, reading=Reading())


def test_repeated_rows_are_counted_and_contradictions_refused(write: Callable[..., Path]) -> None:
    reading = Reading()
    same = write("same.csv", "id,perceived_gender", "a,male", "a,male", "b,female")
    assert answers.read_predictions(same, reading=reading).height == 2
    assert reading.excluded == {"repeated rows of predictions": 1}
    torn = write("torn.csv", "id,perceived_gender", "a,male", "a,female")
    with pytest.raises(DataError, match="conflicting rows for 1 id"):
        answers.read_predictions(torn, reading=Reading())


def test_what_stays_alone_is_counted(write: Callable[..., Path]) -> None:
    reading = Reading()
    said = answers.read_predictions(write("p.csv", "id,perceived_gender", "a,male", "x,male"), reading=reading)
    truth = answers.read_labels(write("l.csv", "id,label", "a,male", "b,female", "c,male"), reading=reading)
    assert answers.match(said, truth, reading)["id"].to_list() == ["a"]
    assert reading.excluded == {"predictions without a label": 1, "labels without a prediction": 2}


def test_file_names_match_where_no_id_does(write: Callable[..., Path]) -> None:
    reading = Reading()
    said = answers.read_predictions(write("p.csv", "id,perceived_gender", "/data/val/1.jpg,male"), reading=reading)
    truth = answers.read_labels(write("l.csv", "id,label", "val/1.jpg,male"), reading=reading)
    assert answers.match(said, truth, reading).height == 1
    assert reading.notes[0].endswith("share no id, only the ends of file names. Matched by these: 1 row.")


def test_a_file_of_another_folder_is_another_one(write: Callable[..., Path]) -> None:
    """Folders that both have tell pictures apart; names alone are taken only where most of them are found again."""
    lines = [f"train/{i}.jpg,male" for i in range(5)]
    said = answers.read_predictions(write("p.csv", "id,perceived_gender", *lines), reading=Reading())

    def matched(*ids: str) -> list[str]:
        return answers.match(said, pl.DataFrame({"id": ids, "label": ["male"] * len(ids)}), Reading())["id"].to_list()

    assert matched("all/train/1.jpg", "all/val/2.jpg", "all/val/8.jpg") == ["train/1.jpg"]
    assert matched("elsewhere/1.jpg", "elsewhere/2.jpg") == ["1.jpg", "2.jpg"]
    with pytest.raises(DataError, match="No id of the predictions"):
        matched("val/4.jpg", "val/5.jpg", "val/6.jpg", "val/7.jpg")
    with pytest.raises(DataError, match="Only 1 file name would match without folders"):
        matched("val/4.jpg", "val/5.jpg", "val/6.jpg", "val/7.jpg")


@pytest.mark.parametrize("ids", [("/a/1.jpg", "/b/1.jpg"), ("./a/1.jpg", "./b/1.jpg"), ("a/1.jpg", "b/1.jpg")])
def test_a_slash_or_a_dot_before_a_name_is_no_folder(ids: tuple[str, ...], write: Callable[..., Path]) -> None:
    said = pl.DataFrame({"id": ids, "answer": ["male", "female"]})
    truth = pl.DataFrame({"id": ["x/a/1.jpg", "x/b/1.jpg"], "label": ["male", "female"]})
    assert answers.match(said, truth, Reading())["id"].to_list() == ["a/1.jpg", "b/1.jpg"]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_a_name_with_brackets_is_no_pattern(ending: str, tmp_path: Path) -> None:
    """A browser's second download is called so, and the first of the numbers lies beside it."""
    for name, said in (("p[1]", "female"), ("p1", "male")):
        path = (tmp_path / name).with_suffix(ending)
        if ending == ".jsonl":
            path.write_text(json.dumps({"source": "a", "faces": [face(9, said, 0.5)], "error": None}) + "\n")
        else:
            table = pl.DataFrame({"id": ["a"], "perceived_gender": [said]})
            table.write_csv(path) if ending == ".csv" else table.write_parquet(path)
    for name, said in (("p[1]", "female"), ("p1", "male")):
        read = answers.read_predictions((tmp_path / name).with_suffix(ending), reading=Reading())
        assert read["answer"].to_list() == [said]


def test_half_of_the_rows_matching_by_name_is_enough(write: Callable[..., Path]) -> None:
    labels = answers.read_labels(write("l.csv", "id,label", "x/1.jpg,male", "x/2.jpg,male"), reading=Reading())
    lines = ("id,perceived_gender", "1.jpg,male", "9.jpg,male")
    predictions = answers.read_predictions(write("p.csv", *lines), reading=Reading())
    assert answers.match(predictions, labels, Reading()).height == 1


def test_file_names_that_are_not_unique_do_not_match(write: Callable[..., Path]) -> None:
    said = answers.read_predictions(write("p.csv", "id,perceived_gender", "/x/1.jpg,male"), reading=Reading())
    truth = answers.read_labels(write("l.csv", "id,label", "train/1.jpg,male", "val/1.jpg,male"), reading=Reading())
    with pytest.raises(DataError, match="No id"):
        answers.match(said, truth, Reading())


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("p.csv", ["name,perceived_gender", "a,male"]),
        ("p.csv", ["id,perceived_gender"]),
        ("p.csv", ["id,perceived_gender", ",male"]),
        ("p.csv", [""]),
        ("p.jsonl", ["{"]),
        ("p.jsonl", ['{"faces": []}']),
        ("p.jsonl", ['{"source": "a", "faces": 3}']),
        ("p.parquet", ["not parquet"]),
    ],
)
def test_files_that_are_no_predictions_say_so(write: Callable[..., Path], name: str, lines: list[str]) -> None:
    with pytest.raises(InputError):
        answers.read_predictions(write(name, *lines), reading=Reading())


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes("id,perceived_gender\na,male\n".encode("utf-16"))
    with pytest.raises(DataError, match="it is UTF-16"):
        answers.read_predictions(path, reading=Reading())


def test_the_lines_of_an_old_mac_are_named(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b"id,perceived_gender\ra,male\rb,male\r")
    with pytest.raises(DataError, match="end with CR alone"):
        answers.read_predictions(path, reading=Reading())


def line(source: str) -> str:
    return json.dumps({"source": source, "faces": [face(9, "male", 0.9)], "error": None})


def test_a_name_that_is_not_unicode_is_escaped_as_in_csv(write: Callable[..., Path]) -> None:
    path = write("p.jsonl", line("a.jpg"), "", line("b\udcff.jpg"), line("c\udcfe.jpg"))
    said = answers.read_predictions(path, reading=Reading())
    assert said["id"].to_list() == ["a.jpg", "b\\udcff.jpg", "c\\udcfe.jpg"]
    assert said["probability_male"].to_list() == [0.9] * 3


@pytest.mark.parametrize("wrong", ["{", "3", '{"source": "a", "faces": 3}', '"\\ud800"'])
def test_the_line_that_is_no_answer_is_named(write: Callable[..., Path], wrong: str) -> None:
    path = write("p.jsonl", line("a.jpg"), line("b\udcff.jpg"), wrong, line("c.jpg"))
    with pytest.raises(DataError, match="Line 3 of "):
        answers.read_predictions(path, reading=Reading())


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder, a pipe or a device"):
        answers.read_labels(Path("/dev/null"), reading=Reading())
    for name in ("p.csv", "p.jsonl", "p.parquet"):
        with pytest.raises(DataError, match="does not exist"):
            answers.read_predictions(tmp_path / name, reading=Reading())
