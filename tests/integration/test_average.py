"""The mean of several networks: one network, in one run's folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from perceived import average, export, lineage, recipes, redescribe, train as training
from perceived.backbones import Input
from perceived.checkpoint import Run, TrainedModel
from perceived.classifier import Classifier
from perceived.errors import ConfigError, ModelFileError
from perceived.model import Network, build_head
from perceived.recipes import Recipe
from perceived.scoring import weights_sha256
from perceived.workspace import Workspace

NOTHING = Input(mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear")


@pytest.fixture(scope="module")
def recipe(tiny: tuple[str, ...]) -> Recipe:
    return recipes.get("fast", [*tiny, "epochs=1"])


@pytest.fixture(scope="module")
def run(tiny_work: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    training.train(tiny_work, recipe, out, quiet=True)
    return out


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(Run(run).best / "model.safetensors")


def test_the_mean_of_runs_is_a_run(run: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path) -> None:
    on = tmp_path / "on"
    training.train(tiny_work, dataclasses.replace(recipe, epochs=0.2), on, init=run, quiet=True)
    average.average([run, on, on], tmp_path / "mean")
    before, after, found = weights(run), weights(on), weights(tmp_path / "mean")
    expected = (before["head.1.weight"] + 2 * after["head.1.weight"]) / 3
    torch.testing.assert_close(found["head.1.weight"], expected)
    spec = TrainedModel.load(tmp_path / "mean").spec
    assert spec.name == "mean"
    assert spec.provenance["weights"]["mean_of_sha256"] == [weights_sha256(one) for one in (run, on, on)]
    assert export.export(tmp_path / "mean", tmp_path / "mean.onnx").is_file()
    file = Classifier(tmp_path / "mean.onnx").spec
    redescribe.write(
        tmp_path / "mean.onnx",
        dataclasses.replace(file, temperature=2.0, mirror_below=1.0, threshold=0.75),
        tmp_path / "calibrated.onnx",
    )
    average.average([tmp_path / "calibrated.onnx", run], tmp_path / "of-file")
    for key in (key for key in before if "running" in key):
        assert torch.equal(before[key], weights(tmp_path / "of-file")[key]), "a file has none, so they are the run's"
    again = TrainedModel.load(tmp_path / "of-file").spec
    assert (again.temperature, again.mirror_below, again.threshold) == (1.0, 0.0, 0.5)
    assert "export" in file.provenance
    assert "export" not in again.provenance
    with pytest.raises(ConfigError, match="exists already"):
        average.average([run, on], tmp_path / "mean")
    with pytest.raises(ConfigError, match="needs several models"):
        average.average([run], tmp_path / "one")
    with pytest.raises(ConfigError, match="None of the models is a folder that 'perceived train' wrote"):
        average.average([Path("default"), tmp_path / "mean.onnx"], tmp_path / "file")
    with pytest.raises(ModelFileError, match="default is of another network"):
        average.average([run, Path("default")], tmp_path / "other")
    once = tmp_path / "once"
    training.train(tiny_work, dataclasses.replace(recipe, epochs=0.2, average_flip=False), once, init=run, quiet=True)
    with pytest.raises(ModelFileError, match="once is of another network"):
        average.average([run, once], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_past_that_is_shared_counts_once(run: Path, tiny_work: Path, recipe: Recipe, tmp_path: Path) -> None:
    file = export.export(run, tmp_path / "model.onnx")
    taught = dataclasses.replace(recipe, epochs=0.2, teacher=str(run), teacher_share=0.5)
    table = pl.read_parquet(Workspace(tiny_work).split).with_columns(source=pl.lit("album"), licence=pl.lit("CC0"))
    table.write_parquet(Workspace(tmp_path).split)
    training.train(tmp_path, taught, tmp_path / "on", init=file, quiet=True)
    average.average([tmp_path / "on", run], tmp_path / "mean")
    earlier, on, mean = (TrainedModel.load(one).spec for one in (run, tmp_path / "on", tmp_path / "mean"))
    assert lineage.seconds(on) == lineage.seconds(earlier) + on.metrics["validation"]["seconds"]
    assert lineage.courses(mean) == lineage.courses(on)
    assert lineage.licences(mean) == {"album": "CC0"}
    with pytest.raises(ModelFileError, match="another shape"):
        training.train(tiny_work, dataclasses.replace(recipe, hidden=(4,)), tmp_path / "off", init=run, quiet=True)


def test_what_a_network_does_is_averaged_not_how_its_batch_norms_say_it() -> None:
    """Scaled weights before a batch norm that knows it, or not: the same network, so the mean is it, too."""
    networks = [Network(backbone, build_head(3, 2, (), 0.0), NOTHING).eval() for backbone in (normed(), normed())]
    networks[1].load_state_dict(networks[0].state_dict())
    norm = networks[1].backbone[1]
    with torch.no_grad():
        spread = (norm.running_var + norm.eps).sqrt()
        norm.bias -= norm.weight * norm.running_mean / spread
        norm.weight /= spread
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
    pixels = torch.rand(5, 3, 8, 8) * 255
    with torch.inference_mode():
        torch.testing.assert_close(networks[1](pixels), networks[0](pixels))
        middle = Network(normed(), build_head(3, 2, (), 0.0), NOTHING).eval()
        middle.load_state_dict(average.mean(networks))
        torch.testing.assert_close(middle(pixels), networks[0](pixels))


def normed() -> nn.Sequential:
    """A backbone of a convolution and a batch norm that has seen something."""
    norm = nn.BatchNorm2d(3)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.2, 3)
    return nn.Sequential(nn.Conv2d(3, 3, 3, bias=False), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten())
