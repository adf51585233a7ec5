"""Rebuild src/perceived/weights/default.onnx from FairFace, with one command:

    python runs/default_model.py FAIRFACE --out build/default

FAIRFACE is a folder in FairFace's original layout (CC BY 4.0). ImageNet weights come from packages of
the registry, or from the hub with --weights hub. Nothing else is ever seen: no picture, model or label
of CelebA. Interrupted, the same command goes on. Validation pictures are a tenth of FairFace's training
files; the files it calls val are the test, opened once by the last stage.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from perceived import calibrate, evaluate, export, recipes, train
from perceived.data import split, table
from perceived.workspace import Workspace

SHIPPED = Path(__file__).parents[1] / "src" / "perceived" / "weights" / "default.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fairface", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/default"))
    parser.add_argument("--weights", default="auto", help="auto, hub or package; see 'perceived backbones'")
    parser.add_argument("--epochs", type=float, default=recipes.small().epochs, help="of the network that ships")
    parser.add_argument("--teacher", action="store_true", help="train a larger network first, and learn from it too")
    choice = parser.parse_args()
    work = choice.out / "work"
    if not Workspace(work).examples.is_file():
        table.prepare(choice.fairface, work)
    split.make(work, everything=True, balance=False)
    settings = [f"weights={choice.weights}", f"epochs={choice.epochs}"]
    if choice.teacher:
        teacher = choice.out / "teacher"
        train.train(work, recipes.get("teacher", settings[:1]), teacher)
        settings.append(f"teacher={teacher}")
    train.train(work, recipes.get("small", settings), choice.out / "default")
    raw = export.export(choice.out / "default", choice.out / "raw.onnx", store="int8")
    calibrate.calibrate(raw, work, on="val", out=choice.out / "default.onnx")
    evaluate.evaluate(choice.out / "default.onnx", work, on="test")
    shutil.copyfile(choice.out / "default.onnx", SHIPPED)


if __name__ == "__main__":
    main()
