"""The record of a comparison, docs/results/peers.json, from its rows of figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peers import PEERS, Peer
from record_result import provenance

OWN = "perceived"
TITLES = {
    "fairface": "FairFace, val files",
    "celeba": "CelebA, official test partition",
    "speed": "A folder of generated 640×480 pictures with one or two faces, from the start of the program to its end",
}
COMPARED = ("accuracy", "worst race accuracy", "worst race and gender accuracy")
ENOUGH = 500
"""Answers to fewer pictures stand in the tables alone: their worst groups are too small to be known."""
TARGETS = {"times_fastest_peer": ">= 5", "fairface_worst_race_and_gender_accuracy": ">= 0.87"}
COMMANDS = """\
python benchmarks/peers/run.py install
python benchmarks/peers/run.py answer --fairface FAIRFACE_WORK --celeba CELEBA_WORK{also}
python benchmarks/peers/run.py speed
python benchmarks/peers/run.py record --fairface FAIRFACE_WORK --celeba CELEBA_WORK{also}"""
NOTES = """\
A face that is missed counts as an error, and every model answers for every face that it finds; the largest face of \
a picture counts. Brackets are Wilson's 95 % intervals.
A crop is the square in the middle of the picture, of that share of its shorter side; validation pictures have \
chosen the share for each peer. 'Own detector, else crop' gives a peer the crop where its detector is silent.
Where n is smaller than the set, the first n pictures of one random order have been answered; answers to \
fewer than 500 take no part in the figures above.
Perceived uses all processors with threads of one process, a peer with as many processes as the table says. Pictures \
per second of a processor are counted by processor time, which other programs hardly change.""".splitlines()


def result(
    sets: Mapping[str, Sequence[dict[str, Any]]],
    speeds: Sequence[dict[str, Any]],
    left_out: Mapping[str, str],
    *,
    own: Peer,
    groups: Mapping[str, Sequence[dict[str, Any]]] | None = None,
    also: str | None = None,
) -> dict[str, Any]:
    """Return the record: the figures beside those of the best peer, and tables of all for each set and its groups.

    ``also`` is another model of ours that was answered beside ``own``.
    """
    figures = {key: value for name, rows in sets.items() for key, value in beside(name, rows).items()}
    figures |= _speeds(speeds)
    missing = [{"model": name, "faces": why} for name, why in left_out.items()]
    tables = [{"title": TITLES[name], "rows": [*rows, *missing]} for name, rows in sets.items()]
    tables += [{"title": title, "rows": list(rows)} for title, rows in (groups or {}).items()]
    tables += [{"title": TITLES["speed"], "rows": list(speeds)}] if speeds else []
    return {
        "what": "perceived beside other open models: accuracy for whom, missed faces counted as errors, and speed",
        "config": {"model_sha256": own.version, "peers": {peer.name: peer.version for peer in PEERS}},
        "metrics": figures,
        "targets": {name: target for name, target in TARGETS.items() if name in figures},
        **provenance(COMMANDS.format(also=f" --also {also}" if also else "")),
        "notes": list(NOTES),
        "tables": tables,
    }


def beside(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return our figures of a set, and for each the best of any peer in any way of being measured."""
    found: dict[str, Any] = {}
    rows = [row for row in rows if row["n"] >= ENOUGH]
    for what in COMPARED:
        key = f"{name}_{what.replace(' ', '_')}"
        ours = [row[what] for row in rows if row["model"] == OWN and what in row]
        theirs = [row[what] for row in rows if not row["model"].startswith(OWN) and what in row]
        found |= {key: max(ours, key=_value)} if ours else {}
        found |= {f"{key}_of_best_peer": max(theirs, key=_value)} if theirs else {}
    return found


def write(path: Path, record: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _speeds(speeds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    per_second = {row["model"]: row["pictures per second of a processor"] for row in speeds}
    peers = {name: figure for name, figure in per_second.items() if not name.startswith(OWN)}
    if OWN not in per_second or not peers:
        return {}
    fastest = max(peers.values())
    return {
        "pictures_per_second_of_a_processor": per_second[OWN],
        "pictures_per_second_of_a_processor_of_fastest_peer": fastest,
        "times_fastest_peer": round(per_second[OWN] / fastest, 2),
    }


def _value(figure: Mapping[str, float]) -> float:
    return figure["value"]
