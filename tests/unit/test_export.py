"""From a network to a file: what the file says, and that a wrong one is never written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from perceived import export
from perceived.backbones import Input
from perceived.checkpoint import Run
from perceived.classifier import Classifier
from perceived.errors import ConfigError, ModelFileError
from perceived.model import Network, build_head
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
        self.limit = nn.ReLU6()
        self.output = nn.Linear(4, 2)

    def look(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.limit(self.norm(self.convolution((pixels - 127.5) / 127.5)))
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
    assert 0 <= made["largest_difference"] <= export.TOLERANCES["float32"]
    assert made["weights"] == "float32"


def test_the_file_is_alone_and_names_nothing_of_this_machine(exported):
    assert [path.name for path in exported.parent.iterdir()] == ["model.onnx"]
    content = exported.read_bytes()
    for trace in (str(Path(__file__).parent), str(Path.home()), "site-packages", "stack_trace"):
        assert trace.encode() not in content
    model = onnx.load(exported)
    assert [entry.key for entry in model.metadata_props] == [METADATA_KEY]
    assert model.producer_name == "perceived"


def test_relu6_is_one_clip_in_the_file_and_stays_what_it_is_in_the_network(exported, tmp_path):
    nodes = onnx.load(exported).graph.node
    assert [node.op_type for node in nodes].count("Clip") == 2, "one for each of the mirror images"
    network = Tiny()
    export.write(network, SPEC, CHECK, tmp_path / "model.onnx")
    assert isinstance(network.limit, nn.ReLU6)


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


def test_a_difference_that_is_no_number_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "largest_difference", lambda *_: float("nan"))
    with pytest.raises(ModelFileError, match="differ by nan"):
        export.write(Tiny(), SPEC, CHECK, tmp_path / "model.onnx")
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
    [None, b"", b"text", np.zeros((2, 12, 10, 3)), CHECK[:0], CHECK[..., :2], np.array([{}])],
    ids=["missing", "empty", "text", "float", "none", "two colours", "pickle"],
)
def test_check_pictures_that_are_wrong(tmp_path, check):
    path = tmp_path / "check.npy"
    if isinstance(check, bytes):
        path.write_bytes(check)
    elif check is not None:
        np.save(path, check)
    with pytest.raises(ModelFileError, match="check pictures"):
        export.read_check_pictures(path, SPEC)


Pooling = Callable[[torch.Tensor], torch.Tensor]


def averaged(maps: torch.Tensor) -> torch.Tensor:
    return maps.mean((2, 3))


def greatest(maps: torch.Tensor) -> torch.Tensor:
    return maps.amax((2, 3))


def widened(maps: torch.Tensor) -> torch.Tensor:
    """As a network has more features than maps whose pooled features go through another layer."""
    return averaged(maps).repeat(1, 2)


class Blobs(nn.Module):
    """A backbone of one convolution, pooled."""

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.convolution = nn.Conv2d(3, 40, 3, stride=2)
        self.pooling = pooling

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.convolution(pixels))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.pooling(self.forward_features(pixels))


def network(*, hidden: tuple[int, ...] = (), average_flip: bool = True, pooling: Pooling = averaged) -> Network:
    torch.manual_seed(3)
    expects = Input(mean=(127.5,) * 3, std=(127.5,) * 3, interpolation="bilinear")
    head = build_head(80 if pooling is widened else 40, 2, hidden, 0.2)
    return Network(Blobs(pooling), head, expects, average_flip=average_flip).eval()


@pytest.mark.parametrize("average_flip", [False, True])
def test_activation_maps_are_what_each_place_adds_to_the_logits(average_flip, tmp_path):
    written = export.write(network(average_flip=average_flip), SPEC, CHECK, tmp_path / "model.onnx")
    classifier = Classifier(written)
    assert classifier.explains
    maps = classifier.activations(CHECK)
    assert maps.shape == (5, 2, 5, 4)
    bias = network().head[-1].bias.detach().numpy()
    np.testing.assert_allclose(maps.mean((2, 3)) + bias, classifier.logits(CHECK), atol=1e-4)
    assert np.ptp(maps[0, 0]) > 0.01
    assert classifier.activations(CHECK[:0]).shape == (0, 2, 5, 4)
    if average_flip:
        np.testing.assert_allclose(classifier.activations(CHECK[:, :, ::-1].copy()), maps[..., ::-1], atol=1e-4)


def test_an_answer_is_the_same_to_the_bit_whatever_faces_are_beside_it(tmp_path):
    """Maps of 7 by 7, whose rows begin at every alignment."""
    framing = dataclasses.replace(FRAMING, height=15, width=15)
    pixels = np.random.default_rng(1).integers(0, 256, (24, 15, 15, 3), dtype=np.uint8)
    spec = dataclasses.replace(SPEC, preprocessing=framing)
    classifier = Classifier(export.write(network(), spec, pixels[:5], tmp_path / "model.onnx"), threads=1)
    together = classifier.logits(pixels)
    alone = np.concatenate([classifier.logits(pixels[[place]]) for place in range(len(pixels))])
    assert classifier.activations(pixels[:1]).shape == (1, 2, 7, 7)
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("opaque", [{"hidden": (4,)}, {"pooling": greatest}, {"pooling": widened}])
def test_a_network_whose_answer_is_no_mean_of_places_has_no_activation_maps(opaque, tmp_path):
    classifier = Classifier(export.write(network(**opaque), SPEC, CHECK, tmp_path / "model.onnx"))
    assert not classifier.explains
    with pytest.raises(ModelFileError, match="cannot show what its answers rest on"):
        classifier.activations(CHECK)


@pytest.mark.parametrize(
    ("store", "kept", "difference"),
    [("float16", onnx.TensorProto.FLOAT16, 1e-3), ("int8", onnx.TensorProto.INT8, 1e-2)],
)
def test_fewer_bytes_answer_nearly_alike(store, kept, difference, tmp_path):
    whole = export.write(network(), SPEC, CHECK, tmp_path / "whole.onnx")
    small = export.write(network(), SPEC, CHECK, tmp_path / "small.onnx", store=store)
    stored = {t.name: t.data_type for t in onnx.load(small).graph.initializer}
    assert kept in stored.values()
    one, other = (Classifier(path).probabilities(CHECK) for path in (whole, small))
    assert 0 < np.abs(one - other).max() < difference
    assert Classifier(small).spec.provenance["export"]["weights"] == store


def test_weights_of_an_unknown_type_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'int4'"):
        export.write(network(), SPEC, CHECK, tmp_path / "model.onnx", store="int4")
