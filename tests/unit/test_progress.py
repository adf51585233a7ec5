"""What a long command shows where there is no terminal."""

from __future__ import annotations

import pytest

from perceived import progress, recipes
from perceived.schedule import Schedule


def test_without_a_terminal_lines_come_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.counter("Decoding [all] pictures", quiet=False) as tick:
        assert tick is not None
        for done in range(0, 50_000, 1_000):
            now = done / 1_000
            tick(done, 50_000)
    assert capsys.readouterr().err.splitlines() == [
        "Decoding [all] pictures: 20,000 of 50,000",
        "Decoding [all] pictures: 40,000 of 50,000",
    ]


def test_what_is_quiet_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.counter("Decoding", quiet=True) as tick:
        tick(1, 2)
    assert capsys.readouterr().err == ""


def test_a_validation_is_one_line_of_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    line = {
        "step": 4688,
        "epoch": 2.4687,
        "image_steps": 150_016,
        "size": [128, 96],
        "train_loss": 0.17918,
        "train_accuracy": 0.92587,
        "val_loss": 0.18538,
        "val_accuracy": 0.92,
    }
    reporter = progress.Reporter(Schedule(recipes.get("small"), 60_781), 0, quiet=False)
    reporter.validation(line, is_best=True)
    progress.say("a " * 100)
    assert capsys.readouterr().err.splitlines() == [
        "epoch 2.47  150,016 image-steps at 96×128  train 0.1792 / 92.59%  validation 0.1854 / 92.00%  (best)",
        "a " * 100,
    ]
