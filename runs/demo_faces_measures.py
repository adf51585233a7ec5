"""Is a sample of the demo set's model a face, and nobody's? Called by fit_demo_faces.py."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from perceived import demo_faces
from perceived.demo_faces import model as demo_model

Array = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]


def distances(known: Array, unseen: Array) -> dict[str, object]:
    """Compare how near samples come to fitted faces, to unseen faces, and strangers to each other.

    ``known`` and ``unseen`` are texture coordinates, ``(n, TEXTURES)``, the second half of each mirrored.
    Distances are taken in the twenty first ones, which hold most of what is seen, and are medians over
    queries of the distance to the nearest face; each comparison is with as many faces.
    """
    model, rng = demo_model.load(), np.random.default_rng(1)
    male = rng.random(1000) < 0.5
    noise = rng.standard_normal((1000, model.size))
    samples = demo_model.sample(model, male, noise, breadth=demo_faces.BREADTH)[:, : demo_model.TEXTURES]
    same_many = rng.permutation(len(known))[: len(unseen)]
    result: dict[str, object] = {}
    for count in (20, 60, demo_model.TEXTURES):
        k, u, s = known[:, :count], unseen[:, :count], samples[:, :count]
        result[f"first_{count}_components"] = {
            "sample_to_fitted_face": nearest(s, k[same_many]),
            "sample_to_unseen_face": nearest(s, u),
            "real_face_to_another": nearest(u[: len(u) // 2], k[same_many]),
            "closest_sample_of_1000_to_any_fitted_face": nearest(s, k, closest=True),
            "closest_unseen_face_to_any_fitted_face": nearest(u[: len(u) // 2], k, closest=True),
        }
    return result


def nearest(queries: Array, faces: Array, *, closest: bool = False) -> float:
    """Return the median (or least) distance from a query to the face nearest to it."""
    squares = (queries**2).sum(1)[:, None] + (faces**2).sum(1) - 2 * queries @ faces.T
    least = np.sqrt(np.maximum(squares.min(1), 0))
    return round(float(least.min() if closest else np.median(least)), 3)


def pictures(known: Pictures, unseen: Pictures, detector_file: Path, recogniser_file: Path | None) -> dict[str, object]:
    """Look at 400 written pictures as a face detector, a linear classifier and a face recogniser do."""
    with tempfile.TemporaryDirectory() as folder:
        out = demo_faces.write(Path(folder) / "demo", count=1000, seed=1)
        files = sorted((out / "img_align_celeba").iterdir())
        portraits = np.stack([cv2.imread(str(file)) for file in files])
        male = np.array([row["Male"] == "1" for row in read_csv(out / "list_attr_celeba.csv")])
        test = np.array([row["partition"] == "2" for row in read_csv(out / "list_eval_partition.csv")])
        identity = np.array([int(line.split()[1]) for line in (out / "identity_CelebA.txt").open()])
    found = [detect(detector_file, p) for p in portraits[:400]]
    scores = [float(f[14]) for f in found if f is not None]
    result: dict[str, object] = {
        "faces_found_by_yunet": round(len(scores) / len(found), 4),
        "median_detection_score": round(float(np.median(scores)), 3),
        "linear_classifier_test_accuracy": round(linear_accuracy(portraits, male, ~test), 4),
    }
    if recogniser_file is not None:
        result["sface_cosine"] = likeness(
            known, unseen, portraits[:400], identity[:400], detector_file, recogniser_file
        )
    return result


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def linear_accuracy(portraits: Pictures, male: npt.NDArray[np.bool_], train: npt.NDArray[np.bool_]) -> float:
    """Return the accuracy on the other pictures of a ridge regression on 30×24 pixels, fitted on ``train``."""
    x = np.stack([cv2.resize(p, (24, 30), interpolation=cv2.INTER_AREA).ravel() for p in portraits]) / 64.0
    x = x - x[train].mean(0)
    kernel = x[train] @ x[train].T + 100 * np.eye(int(train.sum()))
    y = np.where(male, 1.0, -1.0)
    score = x @ x[train].T @ np.linalg.solve(kernel, y[train] - y[train].mean()) + y[train].mean()
    return float(((score > 0) == male)[~train].mean())


def detect(detector_file: Path, picture: Pictures) -> Array | None:
    """Return YuNet's row for the largest face of a BGR picture."""
    height, width = picture.shape[:2]
    detector = cv2.FaceDetectorYN.create(str(detector_file), "", (width, height), 0.6)
    found = detector.detect(picture)[1]
    return None if found is None else np.asarray(max(found, key=lambda face: face[2] * face[3]))


def embed(pictures: Pictures, detector_file: Path, recogniser_file: Path) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return SFace embeddings of unit length, and which BGR pictures had a face to embed."""
    recogniser = cv2.FaceRecognizerSF.create(str(recogniser_file), "")
    rows, kept = [], []
    for picture in pictures:
        face = detect(detector_file, picture)
        kept.append(face is not None)
        if face is not None:
            feature = recogniser.feature(recogniser.alignCrop(picture, face)).ravel()
            rows.append(feature / np.linalg.norm(feature))
    return np.stack(rows), np.array(kept)


def likeness(
    known: Pictures,
    unseen: Pictures,
    portraits: Pictures,
    identity: npt.NDArray[np.int64],
    detector_file: Path,
    recogniser_file: Path,
) -> dict[str, object]:
    """Return cosines of SFace embeddings; OpenCV takes 0.363 and above for the same person."""
    real, _ = embed(known[..., ::-1], detector_file, recogniser_file)
    strangers, _ = embed(unseen[..., ::-1], detector_file, recogniser_file)
    nobody, kept = embed(portraits, detector_file, recogniser_file)
    identity = identity[kept]
    among = nobody @ nobody.T
    alike = (identity[:, None] == identity) & ~np.eye(len(identity), dtype=bool)
    to_real, stranger_to_real = (nobody @ real.T).max(1), (strangers @ real.T).max(1)
    return {
        "nobody_to_most_alike_fitted_face": quantiles(to_real),
        "unseen_person_to_most_alike_fitted_face": quantiles(stranger_to_real),
        "two_pictures_of_one_nobody": quantiles(among[alike]),
        "pictures_of_two_nobodies": quantiles(among[identity[:, None] != identity]),
    }


def quantiles(values: Array) -> dict[str, float]:
    return {
        name: round(float(np.quantile(values, q)), 3) for name, q in (("5 %", 0.05), ("median", 0.5), ("95 %", 0.95))
    }
