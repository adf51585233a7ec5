"""What ``perceived info`` prints."""

from __future__ import annotations

import platform
from importlib.metadata import version

import perceived
from perceived.installed import CORE, TRAIN, describe


def test_versions_are_those_installed():
    shown = describe()
    assert shown["perceived"] == perceived.__version__
    assert shown["python"] == platform.python_version()
    assert shown["numpy"] == version("numpy")
    assert set(CORE) | set(TRAIN) < set(shown)


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("perceived.installed.TRAIN", ("no-such-package",))
    assert "perceived[train]" in describe()["no-such-package"]
