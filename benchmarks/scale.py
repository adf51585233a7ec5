"""What each stage of answering costs for one picture, and what a cluster adds: the figures under docs/scale.md.

    python benchmarks/scale.py                              # 100 generated pictures; minutes
    python benchmarks/scale.py --count 1000 --cluster 20000 --record

Stages are measured in seconds of processor time of one thread, which other programs on the machine
lengthen little. The cluster part (with the extra ``cluster``) answers the same pictures with one
process and with two, and once without a cluster; its rates are those between the first file of
answers and the last, starts left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import on_cluster
import pictures

T = TypeVar("T")
PART = 256
"""Pictures in a file of answers, as the command has it unless told otherwise."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="pictures for the stages")
    parser.add_argument("--cluster", type=int, default=1_500, help="pictures for the cluster; 0 leaves it out")
    parser.add_argument("--record", action="store_true", help="write docs/results/scale.json")
    choice = parser.parse_args()
    found = stages(choice.count)
    if importlib.util.find_spec("ray"):
        found["answer_bytes"] = written(choice.count)
        found |= cluster(choice.cluster) if choice.cluster else {}
    print(json.dumps(found, indent=1))
    if choice.record:
        record(found, choice)


def stages(count: int) -> dict[str, float]:
    """Return milliseconds of processor time of each stage for one picture, and bytes in and out."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import cv2

    from perceived import images
    from perceived.classifier import Classifier
    from perceived.detector import YuNet
    from perceived.models import find_model
    from perceived.preprocess import frame

    cv2.setNumThreads(1)
    paths = sorted(folder(count).glob("*.jpg"))
    detector, classifier = YuNet(), Classifier(find_model("default"), threads=1)
    framing = classifier.spec.preprocessing
    detector.detect(images.load(paths[0]))
    read, contents = timed(images.read_bytes, paths)
    decode, pixels = timed(images.decode, contents)
    detect, faces = timed(detector.detect, pixels)
    seen = [(image, face) for image, some in zip(pixels, faces, strict=True) for face in some]
    cut, framed = timed(lambda one: frame(one[0], framing, one[1]), seen)
    batches = [np.stack(framed[start : start + 4]) for start in range(0, len(framed), 4)]
    classify, _ = timed(classifier.predict, batches)
    return {
        "read_milliseconds": read / count,
        "decode_milliseconds": decode / count,
        "detect_milliseconds": detect / count,
        "frame_milliseconds": cut / count,
        "classify_milliseconds": classify / count,
        "faces_per_picture": len(seen) / count,
        "picture_bytes": sum(map(len, contents)) / count,
        "framed_face_bytes": float(framed[0].nbytes),
    }


def timed(work: Callable[[Any], T], items: Sequence[Any]) -> tuple[float, list[T]]:
    """Return milliseconds of processor time for all items, and what came of each."""
    started = time.process_time()
    results = [work(item) for item in items]
    return (time.process_time() - started) * 1000, results


def written(count: int) -> float:
    """Return bytes of Parquet for the answers of one picture."""
    from perceived.cluster import answers
    from perceived.cluster.folder import Folder
    from perceived.predictor import Predictor

    predictor = Predictor(threads=1)
    with tempfile.TemporaryDirectory() as scratch:
        pictures = list(predictor.stream(sorted(folder(count).glob("*.jpg"))))
        answers.write(Folder(scratch), 0, 0, pictures, predictor.labels, last=True)
        return sum(file.stat().st_size for file in Path(scratch, "answers").iterdir()) / count


def cluster(count: int) -> dict[str, float]:
    """Return pictures a second with and without a cluster, and what the driver and the answers take."""
    with tempfile.TemporaryDirectory() as scratch:
        memory, rates = {}, {}
        for workers in (1, 2):
            out = Path(scratch, str(workers))
            memory[workers] = on_cluster.predict(folder(count), out, "--workers", workers, "--part-size", PART)
            rates[workers] = on_cluster.rate(out, count, workers=workers, part=PART)
    alone = plain(count, threads=os.cpu_count())
    return {
        "plain_pictures_per_second": alone,
        "share_of_plain": rates[2] / alone,
        "one_thread_pictures_per_second": plain(count, threads=1),
        "one_worker_pictures_per_second": rates[1],
        "two_workers_pictures_per_second": rates[2],
        "driver_peak_mebibytes": memory[2],
    }


def plain(count: int, *, threads: int | None) -> float:
    """Return pictures a second of one predictor in a process of its own, as ``perceived predict`` has it."""
    program = (
        "import sys, time; from pathlib import Path; from perceived import Predictor\n"
        "paths, threads = sorted(Path(sys.argv[1]).glob('*.jpg')), int(sys.argv[2])\n"
        "p = Predictor(threads=threads); p.predict(paths[0])\n"
        "t = time.perf_counter(); n = sum(1 for _ in p.stream(paths)); print(n / (time.perf_counter() - t))"
    )
    command = [sys.executable, "-c", program, str(folder(count)), str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def folder(count: int) -> Path:
    return pictures.folder(Path(tempfile.gettempdir()) / f"perceived-benchmark-{count}", count)


def record(found: dict[str, float], choice: argparse.Namespace) -> None:
    """Write what was measured among the results, from which docs/scale.md is computed."""
    docs = Path(__file__).resolve().parents[1] / "docs"
    sys.path.insert(0, str(docs))
    from record_result import provenance

    words = f"python benchmarks/scale.py --count {choice.count} --cluster {choice.cluster} --record"
    result = {
        "what": "Processor time of each stage for a generated 640×480 picture"
        + (", and throughput on a Ray cluster" if choice.cluster else ""),
        "config": {
            "model": "default",
            "stage_pictures": choice.count,
            "cluster_pictures": choice.cluster,
            "processors": os.cpu_count(),
        },
        "metrics": {name: round(value, 4) for name, value in found.items()},
        **provenance(words),
        **({"targets": {"share_of_plain": ">= 0.85"}} if choice.cluster else {}),
        "notes": [f"The load of the machine's {os.cpu_count()} processors was {os.getloadavg()[0]:.1f}."],
    }
    (docs / "results" / "scale.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
