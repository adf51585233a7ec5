"""The bookkeeping of ``benchmarks/peers``: nobody is answered twice, and a missed face is an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("polars", reason="the extra audit is not installed")

MODULES = ("peers", "report", "score", "record_result")


@pytest.fixture(scope="module")
def bench(root: Path) -> Iterator[dict[str, ModuleType]]:
    """The modules of ``benchmarks/peers``, which are scripts beside each other and no package."""
    folders = [str(root / "benchmarks" / "peers"), str(root / "docs")]
    sys.path[:0] = folders
    try:
        yield {name: __import__(name) for name in MODULES}
    finally:
        for folder in folders:
            sys.path.remove(folder)
        for name in MODULES:
            sys.modules.pop(name, None)


def write(path: Path, head: str, rows: list[tuple[Any, ...]]) -> Path:
    path.write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Forty pictures of each race and gender."""
    rows = [
        (f"train/{race}{gender}{i}.jpg", gender, gender, race, age)
        for race in ("Black", "White")
        for gender in ("female", "male")
        for i, age in enumerate(["20-29", "70+"] * 20)
    ]
    return write(tmp_path / "labels.csv", "id,label,gender,race,age", rows)


def answered(labels: Path, out: Path, change: dict[str, str]) -> Path:
    """Answer all labels rightly, but for some ids."""
    rows = []
    for line in labels.read_text().splitlines()[1:]:
        name, label, *_ = line.split(",")
        said = change.get(name, label)
        rows.append((name, said, "" if said == "missed" else 0.9 if said == "male" else 0.1, 0.01))
    return write(out, "id,perceived_gender,probability_male,seconds", rows)


def test_a_missed_face_is_an_error(bench: dict[str, ModuleType], labels: Path, tmp_path: Path) -> None:
    change = {f"train/Blackmale{i}.jpg": "missed" for i in range(6)}
    change |= {f"train/Whitefemale{i}.jpg": "male" for i in range(4)}
    said = answered(labels, tmp_path / "said.csv", change)
    found = bench["score"].figures("fairface", said, labels, tmp_path / "audit.json")
    assert found["n"] == 160
    assert found["accuracy"]["value"] == pytest.approx(150 / 160)
    assert found["accuracy"]["low"] < 150 / 160 < found["accuracy"]["high"]
    assert found["share missed"] == pytest.approx(6 / 160)
    race, both = found["worst race accuracy"], found["worst race and gender accuracy"]
    assert (race["of"], race["n"], race["value"]) == ("Black", 80, pytest.approx(74 / 80))
    assert (both["of"], both["n"], both["value"]) == ("Black · male", 40, pytest.approx(34 / 40))
    assert bench["score"].accuracy(said, labels) == pytest.approx(150 / 160)
    assert (tmp_path / "audit.json").exists()


def test_groups_of_all_models_stand_side_by_side(bench: dict[str, ModuleType], labels: Path, tmp_path: Path) -> None:
    audits = {}
    for model, wrong in (("one", 10), ("two", 20)):
        change = {f"train/Blackfemale{i}.jpg": "male" for i in range(wrong)}
        said = answered(labels, tmp_path / f"{model}.csv", change)
        bench["score"].figures("fairface", said, labels, tmp_path / f"{model}.json")
        audits[model] = json.loads((tmp_path / f"{model}.json").read_text())
    rows = bench["score"].cells(audits, ["race", "gender"])
    assert [row["race and gender"] for row in rows] == [
        f"{race} · {gender}" for race in ("Black", "White") for gender in ("female", "male")
    ]
    assert rows[0]["n"] == 40
    assert (rows[0]["accuracy, one"]["value"], rows[0]["accuracy, two"]["value"]) == (0.75, 0.5)
    assert rows[3]["accuracy, two"]["value"] == 1


def test_what_is_not_answered_yet_is_no_error(bench: dict[str, ModuleType], labels: Path, tmp_path: Path) -> None:
    said = answered(labels, tmp_path / "said.csv", {})
    kept = said.read_text().splitlines()[:61]
    said.write_text("\n".join(kept) + "\n")
    found = bench["score"].figures("fairface", said, labels, tmp_path / "audit.json")
    assert (found["n"], found["accuracy"]["value"]) == (60, 1.0)


def test_a_crop_stands_in_where_the_detector_is_silent(
    bench: dict[str, ModuleType], labels: Path, tmp_path: Path
) -> None:
    silent, wrong = "train/Blackmale0.jpg", "train/Blackmale1.jpg"
    found = answered(labels, tmp_path / "detect.csv", {silent: "missed", wrong: "female"})
    given = answered(labels, tmp_path / "crop.csv", {})
    bench["score"].either(found, given, tmp_path / "either.csv")
    assert bench["score"].accuracy(found, labels) == pytest.approx(158 / 160)
    assert bench["score"].accuracy(tmp_path / "either.csv", labels) == pytest.approx(159 / 160)


def test_pictures_are_answered_once(bench: dict[str, ModuleType], tmp_path: Path) -> None:
    """A runner in the place of a peer's is started twice: the second time answers what the first has not."""
    peers, rows = bench["peers"], [(f"{i} ü.jpg", f"folder/{i} ü.jpg") for i in range(40)]
    runner = tmp_path / "answer_here.py"
    loop = f"sys.path.insert(0, {str(peers.HERE)!r}); from lines import answer"
    runner.write_text(f"import sys; {loop}; answer(lambda path: ('male', 0.75))")
    peer = peers.Peer(name="@here/peer", version="1.0", detector="none", runner=str(runner), environment="python")
    (tmp_path / "python/bin").mkdir(parents=True)
    (tmp_path / "python/bin/python").symlink_to(sys.executable)
    out = tmp_path / f"{peer.stem}.csv"
    peers.answer(peer, rows[:15], out, build=tmp_path, processes=2)
    peers.answer(peer, rows, out, build=tmp_path, processes=3)
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0] == peers.COLUMNS
    assert sorted(line.split(",")[0] for line in lines[1:]) == sorted(name for name, _ in rows)
    assert all(line.split(",")[1:3] == ["male", "0.75"] for line in lines[1:])
    assert out.name == "here-peer-1.0.csv"


def test_a_runner_that_fails_is_told(bench: dict[str, ModuleType], tmp_path: Path) -> None:
    peers = bench["peers"]
    runner = tmp_path / "answer_nobody.py"
    runner.write_text("raise SystemExit(3)")
    peer = peers.Peer(name="peer", version="1", detector="none", runner=str(runner), environment="python")
    (tmp_path / "python/bin").mkdir(parents=True)
    (tmp_path / "python/bin/python").symlink_to(sys.executable)
    with pytest.raises(peers.subprocess.CalledProcessError):
        peers.answer(peer, [("1.jpg", "1.jpg")], tmp_path / "out.csv", build=tmp_path, processes=1)


def test_we_stand_beside_the_best_peer(bench: dict[str, ModuleType]) -> None:
    def row(model: str, *values: float, n: int = 5000) -> dict[str, Any]:
        names = bench["report"].COMPARED
        return {"model": model, "n": n, **{name: {"value": value} for name, value in zip(names, values, strict=True)}}

    rows = [
        row("perceived", 0.9, 0.8, 0.7),
        row("perceived research", 0.95, 0.9, 0.8),
        row("one", 0.6, 0.5, 0.45),
        row("one", 0.7, 0.4, 0.3),
    ]
    found = bench["report"].beside("fairface", [*rows, row("two", 1.0, 1.0, 1.0, n=40)])
    assert found["fairface_accuracy"] == {"value": 0.9}
    assert found["fairface_accuracy_of_best_peer"] == {"value": 0.7}
    assert found["fairface_worst_race_accuracy_of_best_peer"] == {"value": 0.5}
    assert found["fairface_worst_race_and_gender_accuracy_of_best_peer"] == {"value": 0.45}


def test_a_peer_that_cannot_be_had_stands_in_the_table(bench: dict[str, ModuleType]) -> None:
    speeds = [
        {"model": name, "pictures per second of a processor": fast} for name, fast in (("perceived", 50), ("one", 8))
    ]
    own = bench["peers"].Peer(name="perceived", version="c0ffee", detector="", runner="", environment="own")
    rows = [{"model": "perceived", "faces": "own detector", "accuracy": {"value": 0.9}, "n": 5000}]
    made = bench["report"].result({"fairface": rows}, speeds, {"two": "left out: no weights"}, own=own)
    assert made["tables"][0]["rows"][-1] == {"model": "two", "faces": "left out: no weights"}
    assert made["metrics"]["times_fastest_peer"] == 6.25
    assert set(made["targets"]) <= set(made["metrics"])


def test_environments_are_pinned(bench: dict[str, ModuleType]) -> None:
    """Each peer's version is the one that its environment installs, and every package has a hash."""
    peers = bench["peers"]
    pins = {name: (peers.HERE / name).read_text() for names in peers.PINS.values() for name in names}
    for peer in peers.PEERS:
        pinned = f"{peer.name}=={peer.version}" if peer.environment == "python" else f'"{peer.name}": "{peer.version}"'
        assert any(pinned in text for text in pins.values()), peer.name
    assert '"resolved"' not in pins["package-lock.json"], "a lock file that names a host works there alone"
    assert pins["package-lock.json"].count('"integrity"') == pins["package-lock.json"].count('"node_modules/')
