"""Build a model from the data, with one command:

    python runs/shipped_models.py default FAIRFACE
    python runs/shipped_models.py research CELEBA FAIRFACE --init build/default/default

CELEBA and FAIRFACE are folders in a layout that 'perceived prepare' reads. ImageNet weights come from
packages of the registry, or from the hub with --weights hub. Interrupted, the same command goes on.
Networks are trained, chosen and calibrated on training and validation pictures; the test pictures are
opened once, by the last stage.

``default`` learns from FairFace (CC BY 4.0) alone: no picture, model or label of CelebA touches it.
It takes the place of the one that ships. ``research`` learns from both, for non-commercial research as CelebA
asks, and may start from ``default``; it stays in build/research.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from perceived import calibrate, evaluate, export, recipes, train
from perceived.data import split, table
from perceived.workspace import Workspace

SHIPPED = Path(__file__).parents[1] / "src" / "perceived" / "weights"
SOURCES = {"default": {"fairface"}, "research": {"celeba", "fairface"}}
FINISH = (
    "sizes=[[0, 128, 128]]",
    "frozen=[]",
    "learning_rate=2.5e-4",
    "head_learning_rate=5e-4",
    "warmup=0.05",
    "degradation.shrink=0.2",
    "degradation.blur=0.08",
    "degradation.noise=0.08",
    "degradation.jpeg=0.15",
    "degradation.cover=0.1",
)
"""Settings of the last part of each training: all of the network learns, from pictures with fewer faults."""
EPOCHS = {"default": 3, "research": 1.5}
"""Length of that last part."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SOURCES)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, help="build/NAME unless said otherwise")
    parser.add_argument("--init", type=Path, help="a run whose best model is trained on: only the last part is done")
    parser.add_argument("--weights", default="auto", help="auto, hub or package; see 'perceived backbones'")
    choice = parser.parse_args()
    out = choice.out or Path("build") / choice.name
    work = out / "work"
    if not Workspace(work).examples.is_file():
        table.prepare(choice.data, work)
    require_sources(work, SOURCES[choice.name])
    split.make(work, everything=True, balance=False)
    run, model = out / choice.name, out / f"{choice.name}.onnx"
    start, weights = choice.init, f"weights={choice.weights}"
    if start is None:
        start = out / "first"
        train.train(work, recipes.get("small", [weights]), start)
    train.train(work, recipes.get("small", [weights, *FINISH, f"epochs={EPOCHS[choice.name]}"]), run, init=start)
    raw = export.export(run, out / "raw.onnx", store="int8")
    calibrate.calibrate(raw, work, on="val", out=model)
    evaluate.evaluate(model, work, on="test")
    if choice.name == "default":
        shutil.copyfile(model, SHIPPED / model.name)


def require_sources(work: Path, expected: set[str]) -> None:
    """Refuse pictures whose licence is not that of the model."""
    found = set(Workspace(work).read_examples()["source"].unique())
    if found != expected:
        raise SystemExit(f"The pictures come from {', '.join(sorted(found))}, not {', '.join(sorted(expected))}.")


if __name__ == "__main__":
    main()
