"""Record one measured result as docs/results/NAME.json, from the files a run and its evaluation left:

python docs/record_result.py fast --what "..." --run RUN --evaluation RUN/evaluation-test/report.json \\
    --command "perceived train WORK --recipe fast --out RUN" --target "accuracy >= 0.983" --note "..."

docs/results/README.md says what a result holds; make_results.py renders it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from perceived.installed import processor

FOLDER = Path(__file__).parent / "results"
STUDY = 0.962
"""The study's accuracy: the first validation that passes it is recorded in image-steps."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--what", required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, help="a report.json of 'perceived evaluate'")
    parser.add_argument("--command", action="append", required=True)
    parser.add_argument("--target", action="append", default=[], help='such as "accuracy >= 0.983"')
    parser.add_argument("--note", action="append", default=[])
    parser.add_argument("--commit", default="HEAD", help="the commit that was measured")
    choice = parser.parse_args()
    config = json.loads((choice.run / "config.json").read_text())
    lines = [json.loads(line) for line in (choice.run / "metrics.jsonl").read_text().splitlines()]
    before = sum(course.get("seconds", 0) for course in config.get("courses_before", {}).values())
    metrics = training_metrics(lines, seconds_before=before)
    if choice.evaluation:
        metrics = evaluation_metrics(json.loads(choice.evaluation.read_text())) | metrics
    result = {
        "what": choice.what,
        "config": config,
        "metrics": metrics,
        **provenance("\n".join(choice.command), commit=choice.commit),
        "targets": dict(target.split(" ", 1) for target in choice.target),
        "notes": choice.note,
        "curve": [{key: line[key] for key in ("image_steps", "size", *CURVE)} for line in lines],
    }
    (FOLDER / f"{choice.name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


CURVE = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


def training_metrics(lines: list[dict[str, Any]], *, seconds_before: float = 0) -> dict[str, Any]:
    """Return what the course of a run says: how long it was, and when it first passed the study's accuracy.

    ``seconds_before`` were spent on the model it goes on from.
    """
    passed = [line["image_steps"] for line in lines if line["val_accuracy"] >= STUDY]
    return {
        "val_accuracy": max(line["val_accuracy"] for line in lines),
        "image_steps": lines[-1]["image_steps"],
        **({"image_steps_to_96.2_val": passed[0]} if passed else {}),
        "hours": round((seconds_before + lines[-1]["seconds"]) / 3600, 2),
    }


def evaluation_metrics(report: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of an evaluation, each with its interval."""
    found = report["metrics"]
    named = {"accuracy": found["accuracy"], "f1": found["f1"]["macro"], "roc_auc": found["roc_auc"]}
    recalls = {f"recall_{label}": value for label, value in found["recall"].items()}
    return {
        **named,
        **recalls,
        "calibration_error": found["calibration_error"],
        "pictures": report["pictures"]["scored"],
    }


def provenance(command: str, *, commit: str = "HEAD") -> dict[str, str]:
    """Return by which command, when, at which commit and on which machine something was measured.

    Outside a clone the commit is "unknown", which no record may be (``make docs`` refuses it).
    """
    return {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "commit": _told_by("git", "-C", str(FOLDER), "rev-parse", commit) or "unknown",
        "machine": machine(),
    }


def machine() -> str:
    """Describe this machine in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cards = _told_by("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").replace("\n", " and ")
    return f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {cards or 'no GPU'}, {platform.system()}"


def _told_by(*command: str) -> str:
    """Return what a command prints, or nothing where there is no such command, or it fails."""
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
