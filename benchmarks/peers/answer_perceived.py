"""Answers of perceived itself, picture by picture like those of its peers; every face is answered."""

from __future__ import annotations

import argparse

from lines import MISSED, Answer, answer

from perceived import Predictor
from perceived.types import Prediction


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="default")
    predictor = Predictor(parser.parse_args().model, threshold=0, threads=1)
    answer(lambda path: detect(predictor, path))


def detect(predictor: Predictor, path: str) -> Answer:
    faces = predictor.predict(path).faces
    if not faces:
        return MISSED
    largest = max(faces, key=_area)
    return largest.perceived_gender, round(largest.probability["male"], 6)


def _area(prediction: Prediction) -> float:
    return prediction.face.box.width * prediction.face.box.height


if __name__ == "__main__":
    main()
