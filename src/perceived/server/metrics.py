"""What ``/metrics`` tells Prometheus. Nothing in it names a caller or a picture."""

from __future__ import annotations

import os
import re
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Variable that names the folder through which several workers share their counts."""

REQUESTS = Counter("perceived_requests", "Requests answered.", ["route", "status"])
SECONDS = Histogram(
    "perceived_request_seconds",
    "Time from a request's headers to the end of its answer.",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
PICTURES = Counter("perceived_pictures", "Pictures answered, or with an error.", ["outcome"])
FACES = Counter("perceived_faces", "Faces answered, by answer.", ["perceived_gender"])
REJECTED = Counter("perceived_rejected", "Requests refused, by kind of problem.", ["problem"])
QUEUE = Gauge("perceived_queue_pictures", "Pictures waiting.", multiprocess_mode="livesum")
HELD = Gauge("perceived_held_bytes", "Request bodies held in memory.", multiprocess_mode="livesum")
CONNECTIONS = Gauge("perceived_connections", "Open connections.", multiprocess_mode="livesum")


def render() -> bytes:
    """Return all metrics in Prometheus' text format, of every worker where there are several."""
    if FOLDER not in os.environ:
        return generate_latest()
    forget_the_dead(Path(os.environ[FOLDER]))
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def forget_the_dead(folder: Path) -> None:
    """Take back what workers that were killed have waiting, held and open; what they counted stays."""
    for file in folder.glob("gauge_live*.db"):
        found = re.search(r"_(\d+)\.db$", file.name)
        if found is not None and not _lives(int(found[1])):
            multiprocess.mark_process_dead(int(found[1]), str(folder))  # type: ignore[no-untyped-call]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):  # nobody, or somebody else's process under an old number
        return False
    return True
