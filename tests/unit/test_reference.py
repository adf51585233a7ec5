"""The reference in docs/ is what the commands and functions say about themselves."""

from __future__ import annotations

import itertools
import runpy
from importlib import import_module

import pytest

import perceived


@pytest.fixture(scope="module")
def reference(root):
    return runpy.run_path(str(root / "docs" / "make_reference.py"))


@pytest.fixture(scope="module")
def python_reference(root):
    return runpy.run_path(str(root / "docs" / "make_python_reference.py"))


def test_the_python_reference_is_fresh(python_reference):
    written = python_reference["TARGET"].read_text(encoding="utf-8")
    assert written == python_reference["render"](), "docs/reference/python.md is stale: make docs"


def test_everything_in_the_python_reference_is_there_and_explained(python_reference):
    page = python_reference["render"]()
    for name in itertools.chain.from_iterable(python_reference["ENTRIES"].values()):
        module, _, called = name.rpartition(".")
        heading = f"### perceived.{called if called in perceived.__all__ else name}\n"
        section = page.partition(heading)[2].partition("\n### ")[0]
        told = getattr(import_module(f"perceived.{module}"), called).__doc__.partition("\n")[0]
        assert told.replace("``", "`").partition(":")[0] in section
    for name in set(perceived.__all__) - {"__version__"}:
        assert f"### perceived.{name}\n" in page


def test_the_command_line_reference_is_fresh(reference):
    written = reference["TARGET"].read_text(encoding="utf-8")
    assert written == reference["render"](), "docs/reference/cli.md is stale: make docs"


def test_every_command_is_in_it(reference):
    page = reference["render"]()
    for command in ("demo", "prepare", "explore", "split", "train", "evaluate", "export", "predict"):
        assert f"## perceived {command}\n" in page
    assert "--always-answer" in page


def test_the_width_of_the_terminal_does_not_matter(reference, monkeypatch):
    narrow = reference["render"]()
    monkeypatch.setenv("COLUMNS", "200")
    assert reference["render"]() == narrow
