"""From a network to a file: what the file says, and that a wrong one is never written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from perceived import export
from perceived.checkpoint import Run
from perceived.classifier import Classifier
from perceived.errors import ConfigError, ModelFileError
from perceived.preprocess import Preprocessing
from perceived.spec import METADATA_KEY, ModelSpec

FRAMING = Preprocessing(height=12, width=10, mean=(127.5,) * 3, std=(127.5,) * 3)
SPEC = ModelSpec(
    name="tiny",
    backbone="none",
    labels=("female", "male"),
    preprocessing=FRAMING,
    temperature=1.7,
    threshold=0.6,
    provenance={"dataset": "demo"},
    metrics={"accuracy": 0.5},
)
CHECK = np.random.default_rng(0).integers(0, 256, (5, 12, 10, 3), dtype=np.uint8)


class Tiny(nn.Module):
    """A network of the shape real ones have: normalisation, batch norm, pooling, the mean of two mirror images."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.output = nn.Linear(4, 2)

    def look(self, pixels: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.norm(self.convolution((pixels - 127.5) / 127.5)))
        return self.output(8 * features.amax((2, 3)))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (self.look(pixels) + self.look(pixels.flip(3))) / 2


class Turncoat(Tiny):
    """A network that answers otherwise when exported: what the check is there to catch."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().forward(pixels) + (torch.tensor([0.1, 0.0]) if torch.compiler.is_exporting() else 0.0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    return export.write(Tiny(), SPEC, CHECK, tmp_path_factory.mktemp("export") / "model.onnx")


def test_the_file_answers_as_the_network_does_at_any_batch_size(exported):
    network = Tiny().eval()
    classifier = Classifier(exported, threads=1)
    for count in (1, 2, 5):
        pixels = torch.from_numpy(CHECK[:count]).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            expected = (network(pixels) / SPEC.temperature).softmax(1).numpy()
        np.testing.assert_allclose(classifier.probabilities(CHECK[:count]), expected, atol=1e-5)


def test_the_answers_depend_on_the_picture(exported):
    assert np.ptp(Classifier(exported).probabilities(CHECK)[:, 0]) > 0.01


def test_the_file_says_everything_about_itself(exported):
    spec = Classifier(exported).spec
    made = spec.provenance["export"]
    assert dataclasses.replace(spec, provenance={"dataset": "demo"}) == SPEC
    assert spec.provenance["dataset"] == "demo"
    assert made["check_pictures"] == 5
    assert made["opset"] == export.OPSET
    assert 0 <= made["largest_difference"] <= export.TOLERANCE


def test_the_file_is_alone_and_names_nothing_of_this_machine(exported):
    assert [path.name for path in exported.parent.iterdir()] == ["model.onnx"]
    content = exported.read_bytes()
    for trace in (str(Path(__file__).parent), str(Path.home()), "site-packages", "stack_trace"):
        assert trace.encode() not in content
    model = onnx.load(exported)
    assert [entry.key for entry in model.metadata_props] == [METADATA_KEY]
    assert model.producer_name == "perceived"


def test_a_network_that_disagrees_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(ModelFileError, match="differ by"):
        export.write(Turncoat(), SPEC, CHECK, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_answers_nan_is_refused(tmp_path):
    network = Tiny()
    with torch.no_grad():
        network.output.bias.fill_(float("nan"))
    with pytest.raises(ModelFileError, match="NaN"):
        export.write(network, SPEC, CHECK, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_refused_export_keeps_the_file_that_was_there(tmp_path, exported):
    out = tmp_path / "model.onnx"
    out.write_bytes(exported.read_bytes())
    with pytest.raises(ModelFileError):
        export.write(Turncoat(), SPEC, CHECK, out)
    assert out.read_bytes() == exported.read_bytes()


def test_a_folder_cannot_take_the_file(tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        export.write(Tiny(), SPEC, CHECK, tmp_path)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(ModelFileError, match="no trained model"):
        export.export(tmp_path, tmp_path / "model.onnx")


def test_export_reads_the_run(tmp_path, monkeypatch):
    class Trained:
        network, spec = Tiny(), SPEC

    monkeypatch.setattr("perceived.checkpoint.TrainedModel.load", lambda run: Trained if run == tmp_path else None)
    np.save(Run(tmp_path).check_pictures, CHECK)
    out = export.export(tmp_path, tmp_path / "out" / "model.onnx")
    assert out == tmp_path / "out" / "model.onnx"
    assert Classifier(out).spec.name == "tiny"


@pytest.mark.parametrize(
    "check",
    [None, b"", b"text", np.zeros((2, 12, 10, 3)), CHECK[:0], CHECK[:, :11], np.array([{}])],
    ids=["missing", "empty", "text", "float", "none", "smaller", "pickle"],
)
def test_check_pictures_that_are_wrong(tmp_path, check):
    path = tmp_path / "check.npy"
    if isinstance(check, bytes):
        path.write_bytes(check)
    elif check is not None:
        np.save(path, check)
    with pytest.raises(ModelFileError, match="check pictures"):
        export.read_check_pictures(path, SPEC)
