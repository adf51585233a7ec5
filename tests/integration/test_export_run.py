"""A saved run, exported and read again: the file answers as the run does, on pictures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from perceived import backbones, checkpoint
from perceived.classifier import Classifier
from perceived.errors import ModelFileError
from perceived.export import TOLERANCES, export
from perceived.model import Network, build_head
from perceived.preprocess import Preprocessing
from perceived.spec import ModelSpec

BACKBONE = "test_resnet"
CHECK = np.random.default_rng(0).integers(0, 256, (4, 40, 32, 3), dtype=np.uint8)


@pytest.fixture
def run(tmp_path):
    import torch

    torch.manual_seed(0)
    backbone = backbones.create(BACKBONE, weights="none")
    head = {"hidden": [8], "dropout": 0.2, "average_flip": True}
    network = Network(backbone.network, build_head(backbone.features, 2, [8], 0.2), backbone.input, average_flip=True)
    framing = Preprocessing(height=40, width=32, mean=backbone.input.mean, std=backbone.input.std)
    spec = ModelSpec(
        name="tiny",
        backbone=BACKBONE,
        labels=("female", "male"),
        preprocessing=framing,
        temperature=0.8,
        provenance={"recipe": head},
    )
    folder = tmp_path / "run"
    checkpoint.save_model(checkpoint.Run(folder).best, network.eval(), spec)
    np.save(checkpoint.Run(folder).check_pictures, CHECK)
    return folder


def test_the_file_answers_as_the_run_does(run, tmp_path):
    trained = checkpoint.TrainedModel.load(run)
    served = Classifier(export(run, tmp_path / "model.onnx"), threads=1)
    assert np.abs(served.probabilities(CHECK) - trained.probabilities(CHECK)).max() <= TOLERANCES["float32"]
    assert dataclasses.replace(served.spec, provenance=trained.spec.provenance) == trained.spec


def test_a_run_without_check_pictures_is_not_exported(run, tmp_path):
    checkpoint.Run(run).check_pictures.unlink()
    with pytest.raises(ModelFileError, match="check pictures"):
        export(run, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_damaged_run_is_not_exported(run, tmp_path):
    file = checkpoint.Run(run).best / checkpoint.MODEL_FILE
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="damaged"):
        export(run, tmp_path / "model.onnx")
