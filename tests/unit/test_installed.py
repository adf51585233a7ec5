"""What ``perceived info`` prints."""

from __future__ import annotations

import hashlib
import platform
import shutil
from importlib.metadata import version

import pytest

import perceived
from perceived import yunet
from perceived.devices import missing, providers
from perceived.errors import ConfigError, ModelFileError
from perceived.extras import EXTRAS
from perceived.installed import CORE, describe, devices, model, weights
from perceived.models import SHIPPED


def test_versions_are_those_installed():
    shown = describe()
    assert shown["perceived"] == perceived.__version__
    assert shown["python"] == platform.python_version()
    assert shown["numpy"] == version("numpy")
    assert {*CORE, *(package for packages in EXTRAS.values() for package in packages)} < set(shown)


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("perceived.installed.EXTRAS", {"train": ("no-such-package",)})
    assert "perceived[train]" in describe()["no-such-package"]


def test_weights_are_named_with_their_hashes():
    found = {name: rest for name, *rest in weights()}
    assert found["face_detection_yunet_2023mar"] == ["232,589", "yes", yunet.SHA256]


def test_weights_that_are_not_what_was_packed_are_marked(monkeypatch, tmp_path):
    for file in ("default.onnx", "face_detection_yunet_2023mar.onnx", "SHA256SUMS"):
        shutil.copy(SHIPPED / file, tmp_path)
    with open(tmp_path / "default.onnx", "r+b") as file:
        file.write(b"?")
    monkeypatch.setattr("perceived.installed.SHIPPED", tmp_path)
    monkeypatch.setattr("perceived.installed.installed", dict)
    assert {name: whole.partition(":")[0] for name, _, whole, _ in weights()} == {
        "default": "no",
        "face_detection_yunet_2023mar": "yes",
    }


def test_weights_of_other_packages_are_told_too(monkeypatch, tmp_path):
    folders = [tmp_path / name for name in ("whole", "silent", "gone")]
    for folder in folders:
        folder.mkdir()
    for folder in folders[:2]:
        (folder / "other.onnx").write_bytes(b"?")
    digest = hashlib.sha256(b"?").hexdigest()
    (folders[0] / "SHA256SUMS").write_text(f"{digest}  other.onnx\n")
    monkeypatch.setattr("perceived.installed.SHIPPED", tmp_path)
    monkeypatch.setattr(
        "perceived.installed.installed", lambda: {folder.name: folder / "other.onnx" for folder in folders}
    )
    assert list(weights()) == [
        ("other", "1", "yes", digest),
        ("other", "1", "its package names no hash", digest),
        ("other", "", "no: it is missing; install its package again", ""),
    ]


def test_the_cpu_is_always_there_and_what_is_missing_says_what_brings_it():
    found = dict(devices())
    assert found["cpu"] == "yes"
    assert set(found) == {"cpu", "cuda", "coreml", "openvino"}
    assert all(here in ("yes", "no: macOS only") or "onnxruntime" in here for here in found.values())


@pytest.mark.parametrize(("system", "says"), [("Linux", "macOS only"), ("Darwin", "the package onnxruntime")])
def test_coreml_is_only_said_to_come_with_the_package_where_it_does(monkeypatch, system, says):
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("perceived.devices.available", lambda: {"cpu": True, "coreml": False})
    assert says in missing("coreml")
    with pytest.raises(ConfigError, match=says):
        providers("coreml")


def test_a_model_is_described_with_its_hash(tiny_model):
    found = model(str(tiny_model))
    assert (found["file"], found["name"]) == (str(tiny_model), "tiny")
    assert found["sha256"] == hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    with pytest.raises(ModelFileError, match="is a folder"):
        model(str(tiny_model.parent))
