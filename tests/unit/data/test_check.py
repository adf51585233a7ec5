"""Many pictures tried at once: the answers keep the pictures' order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perceived.data import check


def test_order_and_sizes(tmp_path: Path, make_jpeg: Any) -> None:
    paths = []
    for i in range(11):
        paths.append(str(tmp_path / f"{i}.jpg"))
        Path(paths[-1]).write_bytes(make_jpeg(i, (20 + i, 40)) if i != 7 else b"")
    calls: list[tuple[int, int]] = []
    found = check.pictures(paths, progress=lambda done, total: calls.append((done, total)))
    assert found["width"].to_list() == [20, 21, 22, 23, 24, 25, 26, None, 28, 29, 30]
    assert found["_failure"].is_null().to_list() == [i != 7 for i in range(11)]
    assert calls == [(11, 11)]
    assert check.pictures(paths, "decode")["height"].to_list() == [None if i == 7 else 40 for i in range(11)]


def test_no_pictures() -> None:
    assert check.pictures([]).columns == ["width", "height", "_failure"]
