"""``--cluster`` on the command line: what it says without its extra, and what it cannot be combined with."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def no_ray(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("perceived.cluster")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "album", "--out", "answers"],
        ["train", "work", "--out", "run"],
        ["serve"],
        ["compare", "work", "--out", "comparison"],
        ["tune", "work", "--out", "tuning"],
    ],
)
def test_without_the_extra_the_flag_says_what_to_install(run, no_ray, words):
    answer = run(*words, "--cluster", "local")
    assert answer.code == 2
    assert "To fix it: pip install 'perceived[cluster]'" in answer.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "album", "--workers", "2"], "--workers cannot be used with one process"),
        (["predict", "album", "--part-size", "9"], "--part-size cannot be used with one process"),
        (["predict", "album", "--workers", "0"], "--workers cannot be used with one process"),
        (["train", "work", "--out", "run", "--gpus-per-worker", "1"], "--gpus-per-worker cannot be used with one"),
        (["compare", "work", "--workers", "2"], "--workers cannot be used with one process"),
        (["compare", "work", "--set", "seed=3"], "--set seed=… has no effect here: --seeds decides"),
        (["tune", "work", "--workers", "2"], "--workers cannot be used with one process"),
        (["predict", "album", "--cluster", "local"], "give --out FOLDER"),
        (["predict", "album", "--cluster", "local", "--out", "x", "--json"], "--json cannot be used with --cluster"),
        (["predict", "album", "--cluster", "local", "--out", "x", "--resume", "y"], "--resume cannot be used"),
        (["predict", "album", "--cluster", "local", "--out", "x", "--threads", "2"], "--threads cannot be used"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(run, words, message):
    answer = run(*words)
    assert answer.code == 2
    assert message in answer.err
