"""Measure the face detector: what it finds, what it takes for a face, and what that costs.

    python benchmarks/detection.py --out docs/results/detection.json

Photographs and face pictures are read from ``../shared`` (``--shared`` names another folder): its
``photos`` are annotated by hand, its face pictures show one face each. Scenes of 12 megapixels are
made here, from generated faces of nobody on noise and gradients. Times are the processor's, in one
thread, medians of single calls; repeat them on a quiet machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from perceived import demo_faces, images, yunet
from perceived.detector import YuNet
from perceived.types import Face

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
from record_result import provenance

ROOT = Path(__file__).resolve().parents[1]
Pixels = npt.NDArray[np.uint8]
BACKGROUNDS = ("gradient", "fine noise", "coarse noise", "noise on a gradient")


class Scene(NamedTuple):
    """A picture and the rectangles ``x, y, width, height`` that hold its faces."""

    pixels: Pixels
    faces: list[tuple[int, int, int, int]]


def background(kind: str, width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Return a faceless picture."""
    corners = cv2.resize(rng.uniform(0, 255, (2, 2, 3)), (width, height), interpolation=cv2.INTER_LINEAR)
    if kind == "gradient":
        return np.asarray(corners).astype(np.uint8)
    if kind == "fine noise":
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "coarse noise":
        small = rng.integers(0, 256, (height // 25, width // 25, 3), dtype=np.uint8)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    return (np.asarray(corners) + rng.normal(0, 20, (height, width, 1))).clip(0, 255).astype(np.uint8)


def scene(
    portraits: Sequence[Pixels],
    kind: str,
    rng: np.random.Generator,
    *,
    sizes: tuple[int, int],
    width: int = 4000,
    height: int = 3000,
) -> Scene:
    """Paste portraits, ``sizes`` pixels high from least to most, at random places of a grid."""
    pixels, faces = background(kind, width, height, rng), []
    cell = 2 * sizes[1]
    places = rng.choice((width // cell) * (height // cell), len(portraits), replace=False)
    for portrait, place in zip(portraits, places.tolist(), strict=True):
        high = int(rng.integers(sizes[0], sizes[1] + 1))
        wide = round(high * portrait.shape[1] / portrait.shape[0])
        row, column = divmod(place, width // cell)
        x, y = column * cell + int(rng.integers(0, sizes[1])), row * cell + int(rng.integers(0, sizes[1]))
        pixels[y : y + high, x : x + wide] = cv2.resize(portrait, (wide, high), interpolation=cv2.INTER_AREA)
        faces.append((x, y, wide, high))
    return Scene(pixels, faces)


def match(found: Sequence[Face], faces: Sequence[tuple[int, int, int, int]]) -> tuple[int, int]:
    """Return how many rectangles have a face's centre in them, and how many found faces are in none."""
    centres = [((face.box.x0 + face.box.x1) / 2, (face.box.y0 + face.box.y1) / 2) for face in found]
    inside = np.array([[x <= u <= x + w and y <= v <= y + h for x, y, w, h in faces] for u, v in centres], bool)
    inside = inside.reshape(len(centres), len(faces))
    return int(inside.any(0).sum()), int((~inside.any(1)).sum())


def portraits(count: int, seed: int = 0) -> list[Pixels]:
    """Return generated faces of nobody, 178 × 218 pixels; the face is about half as high."""
    with tempfile.TemporaryDirectory() as folder:
        demo_faces.write(Path(folder), count=count, seed=seed)
        return [images.load(path) for path in sorted(Path(folder).rglob("*.jpg"))]


def measure_scenes(detector: YuNet, count: int, sizes: tuple[int, int]) -> dict[str, Any]:
    """Search made scenes of 12 megapixels with 25 faces each."""
    people, rng = portraits(100), np.random.default_rng(0)
    pasted = found = false = 0
    seconds = []
    for number in range(count):
        chosen = [people[i] for i in rng.choice(len(people), 25, replace=False)]
        made = scene(chosen, BACKGROUNDS[number % len(BACKGROUNDS)], rng, sizes=sizes)
        faces, spent = timed(partial(detector.detect, made.pixels))
        seconds.append(spent)
        hits, misses = match(faces, made.faces)
        pasted, found, false = pasted + len(made.faces), found + hits, false + misses
    return {
        "scenes": count,
        "pasted": pasted,
        "found": found,
        "share": round(found / pasted, 4),
        "false_boxes": false,
        "milliseconds": round(1e3 * float(np.median(seconds)), 1),
    }


def measure_photos(detector: YuNet, folder: Path, quarters: int = 0) -> dict[str, Any]:
    """Search the annotated photographs, turned by ``quarters``."""
    with open(folder / "labels.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    single, found, extra, group = 0, 0, 0, {}
    for row in rows:
        faces = detector.detect(np.ascontiguousarray(np.rot90(images.load(folder / row["file"]), quarters)))
        if row["people"] == "1":
            single, found, extra = single + 1, found + bool(faces), extra + max(len(faces) - 1, 0)
        else:
            group[row["file"]] = {"people": int(row["people"]), "boxes": len(faces)}
    return {"single": single, "found": found, "share": round(found / single, 4), "more_boxes": extra, "groups": group}


def measure_crops(detector: YuNet, paths: Sequence[Path], side: int | None = None) -> dict[str, Any]:
    """Search pictures of one face each, reduced to ``side`` pixels on their longer side if that is given."""
    found = 0
    for path in paths:
        pixels = images.load(path)
        if side is not None:
            scale = side / max(pixels.shape)
            pixels = np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        found += bool(detector.detect(pixels))
    return {"pictures": len(paths), "found": found, "share": round(found / len(paths), 4)}


def measure_time(detector: YuNet, folder: Path, repeats: int) -> dict[str, Any]:
    """Time one photograph of one person at common sizes, and a faceless picture of each size."""
    photo = images.load(folder / "1836335410_de8313a64e.jpg")
    times = {}
    for width, height in ((224, 224), (640, 480), (1280, 960), (4000, 3000)):
        face = np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
        faceless = background("coarse noise", width, height, np.random.default_rng(0))
        for name, pixels in (("one face", face), ("no face", faceless)):
            spent = [timed(partial(detector.detect, pixels))[1] for _ in range(repeats)]
            times[f"{width}x{height}, {name}"] = round(1e3 * float(np.median(spent)), 1)
    return times


def timed(call: Callable[[], list[Face]]) -> tuple[list[Face], float]:
    """Return a call's answer and the processor's seconds it took."""
    start = time.process_time()
    return call(), time.process_time() - start


def sample(paths: Iterator[Path], count: int) -> list[Path]:
    listed = sorted(paths)
    return [listed[i] for i in np.random.default_rng(0).permutation(len(listed))[:count]]


def measure(shared: Path, *, crops: int, scenes: int, repeats: int) -> dict[str, Any]:
    """Return all that is measured, by kind of picture."""
    detector, photos = YuNet(), shared / "photos"
    sets = {
        "celeba": sample((shared / "data/celeba-mini").rglob("*.jpg"), crops),
        "fairface": sample((shared / "data/fairface-mini").rglob("*.jpg"), crops),
    }
    return {
        "photographs": {
            f"turned by {90 * quarters}": measure_photos(detector, photos, quarters) for quarters in range(4)
        },
        "scenes": {
            "pictures pasted 20-40 px high": measure_scenes(detector, scenes, (20, 40)),
            "faces 20-40 px high": measure_scenes(detector, scenes, (40, 80)),
        },
        "crops": {name: measure_crops(detector, paths) for name, paths in sets.items()},
        "thumbnails": {
            f"{name}, {side} px": measure_crops(detector, paths[: len(paths) // 4], side)
            for name, paths in sets.items()
            for side in (48, 64, 100)
        },
        "milliseconds": measure_time(detector, photos, repeats),
    }


def report(measured: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return the results file: what was asked for, and what was found."""
    upright, scenes, crops = measured["photographs"]["turned by 0"], measured["scenes"], measured["crops"]
    return {
        "what": "Faces found: photographs with one person, a group of 29, scenes of 12 megapixels, tight crops",
        "config": {
            "versions": {name: metadata.version(name) for name in ("onnxruntime", "opencv-python-headless", "numpy")},
            "weights_sha256": yunet.SHA256,
            **config,
        },
        "metrics": {
            "single_person_found_share": upright["share"],
            "more_boxes": upright["more_boxes"],
            "solvay_1927_boxes": upright["groups"]["solvay-1927.jpg"]["boxes"],
            "scene_pictures_20_to_40_px_found_share": scenes["pictures pasted 20-40 px high"]["share"],
            "scene_faces_20_to_40_px_found_share": scenes["faces 20-40 px high"]["share"],
            **{f"{name}_crops_found_share": crop["share"] for name, crop in crops.items()},
        },
        "targets": {
            "single_person_found_share": ">= 0.95",
            "more_boxes": "<= 2",
            "solvay_1927_boxes": ">= 29",
            "scene_pictures_20_to_40_px_found_share": ">= 0.9",
            **{f"{name}_crops_found_share": ">= 0.99" for name in crops},
        },
        **provenance(shlex.join(["python", *sys.argv])),
        "measured": measured,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder of photos/ and data/")
    parser.add_argument("--crops", type=int, default=1000, help="face pictures of each data set")
    parser.add_argument("--scenes", type=int, default=8, help="made scenes of each kind")
    parser.add_argument("--repeats", type=int, default=15, help="calls that are timed")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if not (args.shared / "photos" / "labels.csv").is_file():
        print(f"Not measured: there is no {args.shared}/photos/labels.csv. Name the folder with --shared.")
        return
    counts = {"crops": args.crops, "scenes": args.scenes}
    result = report(measure(args.shared, **counts, repeats=args.repeats), counts)
    text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
