"""The reference in docs/ is what the commands say about themselves."""

from __future__ import annotations

import runpy

import pytest


@pytest.fixture(scope="module")
def reference(root):
    return runpy.run_path(str(root / "docs" / "make_reference.py"))


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
