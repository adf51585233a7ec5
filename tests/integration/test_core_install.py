"""The built wheel with the core's pins only, in an environment of its own: prediction without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


def call(*command: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def succeed(*command: str | Path, cwd: Path | None = None) -> str:
    done = call(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    """The wheel, built by the pinned back end from a copy of the tracked source."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(root / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md", "MODEL_CARD.md"):
        if (root / name).exists():
            shutil.copy(root / name, source)
    succeed(sys.executable, "-m", "hatchling", "build", "-t", "wheel", cwd=source)
    return next((source / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def core(root, wheel, tmp_path_factory) -> Path:
    """The Python of a fresh environment with the wheel and the core's pins."""
    folder = tmp_path_factory.mktemp("core")
    uv = [sys.executable, "-m", "uv"]
    python = folder / "venv" / "bin" / "python"
    succeed(*uv, "venv", "--quiet", "--no-config", "--python", sys.executable, folder / "venv")
    install = [*uv, "pip", "install", "--quiet", "--no-config", "--python", python]
    succeed(*install, "--require-hashes", "-r", root / "requirements" / "core.txt")
    succeed(*install, "--no-deps", wheel)
    return python


def test_the_wheel_holds_the_package_and_nothing_else(wheel, root):
    names = zipfile.ZipFile(wheel).namelist()
    assert {"perceived/py.typed", "perceived/weights/default.md"} <= set(names)
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    assert all(name.startswith(("perceived/", "perceived-")) for name in names)
    for kind in ("pages/templates", "weights", "server/static"):
        packaged = [path for path in (root / "src" / "perceived" / kind).rglob("*") if path.is_file()]
        assert {path.relative_to(root / "src").as_posix() for path in packaged} <= set(names), kind


def test_predict_answers_without_torch(core, tiny_model, picture):
    assert call(core, "-c", "import torch").returncode != 0
    bright = picture("bright.png", 255)
    command = core.parent / "perceived"
    answer = json.loads(succeed(command, "predict", bright, "--model", tiny_model, "--no-detect", "--json"))
    assert answer["faces"][0]["perceived_gender"] == "male"
    assert answer["error"] is None


def test_what_needs_training_says_which_extra_to_install(core, tmp_path):
    for arguments in (
        ["prepare", tmp_path, "--out", tmp_path / "work"],
        ["train", tmp_path, "--out", tmp_path / "run"],
        ["backbones"],
    ):
        answer = call(core, "-m", "perceived", *arguments)
        assert answer.returncode == 2, answer.stderr
        assert "pip install 'perceived[train]'" in answer.stderr
        assert "Traceback" not in answer.stderr


def test_the_library_says_so_too(core):
    code = "import perceived\ntry: perceived.train\nexcept perceived.InputError as error: print(error)"
    assert "pip install 'perceived[train]'" in succeed(core, "-c", code)


def test_help_and_whoever_goes_through_all_names_find_what_is_there(core):
    code = "import inspect, perceived; print(*(name for name, _ in inspect.getmembers(perceived)))"
    names = succeed(core, "-c", code).split()
    assert {"Predictor", "detector", "errors"} <= set(names)
    assert {"train", "audit", "client", "video"}.isdisjoint(names)


def test_info_tells_what_is_missing(core):
    assert "not installed: pip install 'perceived[train]'" in succeed(core, "-m", "perceived", "info")


def test_an_audit_asks_for_its_own_extra(core, tmp_path):
    answer = call(core, "-m", "perceived", "audit", tmp_path / "p.csv", "--labels", tmp_path / "l.csv")
    assert answer.returncode == 2, answer.stderr
    assert "pip install 'perceived[audit]'" in answer.stderr
