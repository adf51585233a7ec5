"""README and docs do what they say: their code is run here, on faces of nobody."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from perceived import backbones, cli, demo_faces, images, recipes, storage
from perceived.classifier import Classifier
from perceived.detector import YuNet, largest_face
from perceived.errors import WeightsError
from perceived.models import find_model
from perceived.preprocess import ALIGNMENTS, Pixels, Preprocessing, frame

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COUNT = 120


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of one language in a page."""
    return [code for kind, code in BLOCK.findall(text) if kind == language]


def sections(page: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the ``(language, code)`` blocks of a page under each of its second headings that has any."""
    parts = re.split(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {heading: BLOCK.findall(text) for heading, text in zip(parts[1::2], parts[2::2], strict=True)}
    return {heading: code for heading, code in found.items() if code}


def commands(code: str) -> list[list[str]]:
    """Return the words of each command; a backslash at the end of a line goes on with the next."""
    whole = code.replace("\\\n", " ")
    return [words for line in whole.splitlines() if (words := shlex.split(line, comments=True))]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def readme(root: Path) -> dict[str, list[tuple[str, str]]]:
    return sections(root / "README.md")


def test_every_block_of_the_readme_is_run_or_checked_below(readme: dict[str, list[tuple[str, str]]]) -> None:
    assert list(readme) == [
        "Install",
        "Any photograph",
        "In Python",
        "See the study happen",
        "The study on CelebA",
        "Work on it",
    ]


@pytest.mark.parametrize(
    ("settings", "accuracy"),
    [("--set epochs=2 --set patience=0", 0.7), pytest.param("", 0.9, marks=pytest.mark.full)],
    ids=["short", "whole"],
)
def test_make_demo(
    root: Path, desk: Path, readme: dict[str, list[tuple[str, str]]], settings: str, accuracy: float
) -> None:
    """The readme's first command, as a newcomer types it, in a clone whose environment is this one."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    recipe = recipes.get("demo")
    try:
        backbones.create(recipe.backbone, weights=recipe.weights)
    except WeightsError as error:
        pytest.skip(f"the demo's pretrained weights are out of reach: {error.what}")
    for name in ("Makefile", "pyproject.toml", "requirements", "src", "LICENSE"):
        (desk / name).symlink_to(root / name)
    python = desk / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    for marker in ("installed-pins", "installed-editable"):
        (desk / ".venv" / marker).touch()
    ((_, code),) = readme["See the study happen"]
    ours = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PACKAGE"}  # of the make that may have started these tests
    newcomer = {name: value for name, value in os.environ.items() if name not in ours} | {"DEMO_ARGS": settings}
    done = subprocess.run(["sh", "-ec", code], cwd=desk, env=newcomer, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "report: demo/report.html"
    assert (desk / "demo" / "report.html").stat().st_size > 100_000
    scored = storage.read_json(desk / "demo" / "run" / "evaluation-test" / "report.json")
    assert scored["metrics"]["accuracy"]["value"] >= accuracy
    assert (desk / "demo" / "work" / "examples.parquet").is_file()


def test_what_the_readme_installs_exists(root: Path, readme: dict[str, list[tuple[str, str]]]) -> None:
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for _, code in readme["Install"]:
        for *installer, what in commands(code):
            assert installer == ["pip", "install"]
            match = re.fullmatch(r"\.(?:\[(\w+)\])?", what)
            assert match is not None
            assert match[1] is None or match[1] in extras


def test_any_photograph(
    desk: Path,
    readme: dict[str, list[tuple[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the model that ships; the server's own tests start it."""
    demo_faces.write(desk / "elsewhere", count=3)
    pictures = desk / "elsewhere" / "img_align_celeba"
    shutil.copy(pictures / "000001.jpg", "holiday.jpg")
    shutil.copytree(pictures, "album")
    ((_, code),) = readme["Any photograph"]
    answered = [words for words in commands(code) if words[1] == "predict"]
    assert len(answered) == 2
    for words in answered:
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, capsys.readouterr().err
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [len(row["faces"]) for row in rows] == [1, 1, 1]
    assert {row["model"] for row in rows} == {"default"}
    assert len(list(Path("drawn").iterdir())) == 3


def test_the_study_on_celeba_and_the_quick_start(
    root: Path,
    desk: Path,
    readme: dict[str, list[tuple[str, str]]],
    tiny: tuple[str, ...],
    as_flags: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each command as it stands, with a small set and network in place of the large ones."""
    demo_faces.write(desk / "elsewhere", count=2)
    shutil.copy(desk / "elsewhere" / "img_align_celeba" / "000001.jpg", "face.jpg")
    small = as_flags([*tiny, "epochs=1"])
    in_place_of = {
        "perceived download celeba --to celeba": ["perceived", "demo-data", "celeba", "--count", str(COUNT)],
        "perceived split work": ["perceived", "split", "work", "--all"],
        "perceived train work --recipe fast --out run": ["perceived", "train", "work", "--out", "run", *small],
    }
    ((_, code),) = readme["The study on CelebA"]
    for words in commands(code):
        monkeypatch.setattr(sys, "argv", in_place_of.pop(shlex.join(words), words))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, shlex.join(words) + capsys.readouterr().err
    assert in_place_of == {}
    assert capsys.readouterr().out.splitlines()[-1].endswith("face.jpg")
    ((_, snippet),) = readme["In Python"]
    exec(compile(snippet, "README.md", "exec"), {})
    gender, confidence = capsys.readouterr().out.split()
    assert gender in ("female", "male", "uncertain")
    assert confidence.endswith("%")


def test_the_developers_commands_are_targets(root: Path, readme: dict[str, list[tuple[str, str]]]) -> None:
    for _, code in readme["Work on it"]:
        for words in commands(code):
            assert words[0] == "make"
            done = subprocess.run(
                ["make", "--dry-run", *words[1:]], cwd=root, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr


def test_the_tutorial(root: Path, desk: Path, tiny: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """The ten cells in turn; after the first, the choices are those of a small study of the demo set."""
    cells = blocks((root / "docs" / "tutorial.md").read_text(encoding="utf-8"), "python")
    assert len(cells) == 10
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells, 1):
        exec(compile(cell, f"tutorial.md, cell {number}", "exec"), names)
        if number == 1:
            assert names["recipe"] == recipes.get("fast")
            names["data"] = demo_faces.write(names["data"], count=COUNT)
            names["sizes"] = {"everything": True}
            names["recipe"] = recipes.get("fast", [*tiny, "epochs=1"])
    out = capsys.readouterr().out
    assert "components" in out
    assert "the study: 96.2 %, 0.9615" in out
    assert re.search(r"^labelled (fe)?male: (fe)?male, \d+\.\d%$", out, re.MULTILINE)
    assert Path("augmented.png").is_file()


def pages(root: Path) -> Iterator[Path]:
    yield from sorted(root.glob("*.md"))
    yield from sorted((root / "packages").rglob("*.md"))
    yield from sorted(path for path in (root / "docs").rglob("*.md") if path.name != "cli.md")


def test_every_command_in_the_docs_exists(root: Path) -> None:
    known = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    for page in pages(root):
        for code in blocks(page.read_text(encoding="utf-8"), "sh"):
            for words in commands(code.replace("-m perceived", "\nperceived")):
                if words[0] == "perceived":
                    options = {
                        flag for option in known[words[1]].params for flag in (*option.opts, *option.secondary_opts)
                    }
                    assert {word for word in words[2:] if word.startswith("--")} <= options, f"{page.name}: {words}"


def test_every_link_in_the_docs_leads_somewhere(root: Path) -> None:
    for page in pages(root):
        for address in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not address.startswith(("http", "#")):
                target, _, anchor = address.partition("#")
                path = Path(os.path.normpath(page.parent / target))
                assert path.exists(), f"{page.name} links {address}"
                if anchor:
                    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
                    assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def test_the_pages_on_predicting_show_commands_that_exist(
    root: Path, desk: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (root / "docs" / "how-to" / "predict.md").read_text(encoding="utf-8")
    demo_faces.write(desk / "elsewhere", count=1)
    shutil.copy(desk / "elsewhere" / "img_align_celeba" / "000001.jpg", "face.jpg")
    shutil.copy(tiny_model, "model.onnx")
    (snippet,) = blocks(page, "python")
    exec(compile(snippet, "predict.md", "exec"), {})
    assert capsys.readouterr().out.count("face.jpg ['") == 2
    known = {word for name in ("predict", "video", "info") for word in options(name)}
    used = set(re.findall(r"--[a-z-]+", page))
    assert used <= known, used - known


def framed_face(picture: Pixels, framing: Preprocessing, detector: YuNet) -> Pixels:
    return frame(picture, framing, largest_face(detector.detect(picture)))


def test_a_model_file_is_used_as_its_page_says(root: Path, desk: Path, shared_data: Path) -> None:
    page = (root / "docs" / "how-to" / "onnx.md").read_text(encoding="utf-8")
    model = find_model("default")
    shutil.copy(model, "model.onnx")
    classifier, detector = Classifier(model), YuNet()
    paths = sorted(shared_data.rglob("fairface-mini/**/*.jpg"))[:40]
    pictures = [images.load(path) for path in paths]
    framed = np.stack([framed_face(picture, classifier.spec.preprocessing, detector) for picture in pictures])
    said: dict[str, Any] = {}
    for snippet in blocks(page, "python"):
        exec(compile(snippet, "onnx.md", "exec"), said)
    far = []
    for picture, ours in zip(pictures, framed, strict=True):
        face = largest_face(detector.detect(picture))
        assert face is not None
        far.append(np.abs(said["framed"](picture, np.array(face.landmarks)).astype(int) - ours).mean())
    assert max(far) < 1.5
    assert np.median(far) == 0, "the same to the last bit, unless it is averaged down"
    expected = classifier.predict(framed)
    assert [label for label, _ in said["answers"](framed)] == [one.perceived_gender for one in expected]
    assert [p for _, p in said["answers"](framed)] == pytest.approx([one.confidence for one in expected], abs=1e-5)
    assert {"uncertain", "female", "male"} == {one.perceived_gender for one in expected}
    places = [[float(number) for number in cell.split(",")] for cell in re.findall(r"0\.\d+, 0\.\d+", page)]
    assert places[:5] == said["PLACES"].tolist() == [list(place) for place in ALIGNMENTS["five-point"]]
    about = json.loads(said["session"].get_modelmeta().custom_metadata_map["perceived"])
    for key in (*about.keys() - {"spec_version", "name", "backbone"}, *about["calibration"]):
        assert f"`{key}`" in page


def options(name: str) -> set[str]:
    """Return the long options of a command."""
    command: Any = typer.main.get_command(cli.app)
    return {option for parameter in command.commands[name].params for option in parameter.opts}
