"""What a long command shows where there is no terminal."""

from __future__ import annotations

import pytest

from perceived import progress


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
        assert tick is None
    assert capsys.readouterr().err == ""
