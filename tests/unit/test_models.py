"""Models by name: shipped, brought by a package, or in neither place."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import pytest

from perceived import models
from perceived.errors import ConfigError, ModelFileError
from perceived.models import find_model


@pytest.fixture
def package(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path that holds an installed package with a model named research."""
    (tmp_path / "some_weights").mkdir()
    (tmp_path / "some_weights" / "__init__.py").touch()
    shutil.copyfile(tiny_model, tmp_path / "some_weights" / "brought.onnx")
    record = tmp_path / "some_weights-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text(f"[{models.ENTRY_POINTS}]\nbrought = some_weights\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "some_weights", raising=False)
    return tmp_path


def test_a_path_is_taken_as_it_is(tiny_model: Path) -> None:
    assert find_model(tiny_model) == tiny_model


def test_a_shipped_model_is_found_by_its_name(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "SHIPPED", tiny_model.parent)
    assert find_model("tiny") == tiny_model
    with pytest.raises(ModelFileError, match="no model 'other'") as caught:
        find_model("other")
    assert caught.value.expected is not None
    assert "tiny" in caught.value.expected


def test_a_model_that_a_package_brings_is_found_by_its_name(package: Path) -> None:
    assert find_model("brought") == package / "some_weights" / "brought.onnx"


@pytest.mark.parametrize("name", ["default", "brought"])
def test_a_folder_hides_no_model(package: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (package / name).mkdir()
    monkeypatch.chdir(package)
    assert find_model(name).name == f"{name}.onnx"
    assert find_model(name).is_file()
    assert models.beside(name, "int8") == Path(f"{name}-int8.onnx")


@pytest.mark.parametrize("name", ["default", "brought"])
def test_a_run_under_the_name_of_a_model_is_not_taken_for_it(
    package: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (package / name).mkdir()
    monkeypatch.chdir(package)
    assert models.find_trained(name).name == f"{name}.onnx"
    assert models.report_folder(name, "audit", "work", "audit.json") == Path(f"{name}-audit")
    (package / name / "best").mkdir()
    with pytest.raises(ConfigError, match="also the name of a model") as caught:
        models.find_trained(name)
    assert str(package / name) in caught.value.mend
    assert models.find_trained(package / name) == package / name
    assert models.report_folder(package / name, "audit", "work", "audit.json") == package / name / "audit"


def test_a_model_that_is_not_as_it_was_packed_is_refused(package: Path) -> None:
    model = package / "some_weights" / "brought.onnx"
    (model.parent / models.SUMS).write_text(f"{hashlib.sha256(model.read_bytes()).hexdigest()}  {model.name}\n")
    assert find_model("brought") == model
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(ModelFileError, match="damaged, or was changed") as caught:
        find_model("brought")
    assert "install" in caught.value.mend


def test_what_ships_is_what_its_sums_say(root: Path) -> None:
    for folder in (models.SHIPPED, root / "packages" / "research-weights" / "src" / "perceived_research_weights"):
        assert {*models.sums(folder)} == {file.name for kind in ("*.onnx", "*.npz") for file in folder.glob(kind)}
        for name, sha256 in models.sums(folder).items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256, name


def test_sums_are_read_as_other_programs_write_them(tmp_path: Path) -> None:
    lines = f"{'0' * 64}  a model.onnx\n{'1' * 64} *größe.onnx\n"
    (tmp_path / "SHA256SUMS").write_bytes(lines.encode())
    assert models.sums(tmp_path) == {"a model.onnx": "0" * 64, "größe.onnx": "1" * 64}
    (tmp_path / "SHA256SUMS").write_bytes(lines.encode("latin-1"))
    assert models.sums(tmp_path)["a model.onnx"] == "0" * 64


def test_a_new_file_of_weights_is_put_among_the_sums(tmp_path: Path) -> None:
    for name, content in (("a.onnx", b"1"), ("b.onnx", b"2"), ("a.onnx", b"3")):
        (tmp_path / name).write_bytes(content)
        models.write_sum(tmp_path / name)
    one, other = (hashlib.sha256(content).hexdigest() for content in (b"3", b"2"))
    assert (tmp_path / models.SUMS).read_text() == f"{one}  a.onnx\n{other}  b.onnx\n"


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "installed", dict)
    with pytest.raises(ModelFileError) as caught:
        find_model("research")
    assert "pip install packages/research-weights" in caught.value.mend


def test_a_package_without_its_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "SHIPPED", tmp_path)
    with pytest.raises(ModelFileError, match="own weights are missing") as caught:
        find_model("default")
    assert "--collect-all" in caught.value.mend
