"""What ``import perceived`` promises: these names, no more, at once, without anything heavy."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

import perceived
from perceived import extras
from perceived.errors import MissingExtraError

LIGHT = {
    "Box",
    "Classifier",
    "Detector",
    "Face",
    "ImageError",
    "InputError",
    "ModelSpec",
    "PerceivedError",
    "Picture",
    "Prediction",
    "Predictor",
    "Preprocessing",
    "__version__",
}
"""What ``from perceived import *`` brings, whatever extras are installed."""
PUBLIC = LIGHT | {
    "audit",
    "average",
    "backbones",
    "calibrate",
    "card",
    "client",
    "compare",
    "data",
    "demo_faces",
    "detector",
    "errors",
    "evaluate",
    "explore",
    "export",
    "label_errors",
    "push",
    "quantize",
    "recipes",
    "robustness",
    "study",
    "train",
    "tune",
    "video",
}


def python(code: str) -> str:
    """Run code in an interpreter of its own and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_public_names_are_these():
    assert set(perceived.__all__) == LIGHT
    assert list(perceived.__all__) == sorted(perceived.__all__)
    assert dir(perceived) == sorted(PUBLIC)


def test_every_public_name_resolves():
    for name in PUBLIC:
        assert getattr(perceived, name) is not None


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'predikt'"):
        _ = perceived.predikt
    assert not hasattr(perceived, "numpy")


def test_every_module_of_the_reference_is_loaded_when_it_is_asked_for():
    assert perceived.tracking.Tracker
    assert perceived.data.split.make
    assert perceived.data.degrade.Degradation
    with pytest.raises(AttributeError, match=r"'perceived\.data' has no attribute 'splitt'"):
        _ = perceived.data.splitt


def test_type_checkers_know_every_module_of_the_reference(root):
    """As ``module as module``, without which some of them take a name for one that is not exported."""
    reference = (root / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    used = set(re.findall(r"^### perceived\.(\w+)\.", reference, re.MULTILINE))
    source = (root / "src" / "perceived" / "__init__.py").read_text(encoding="utf-8")
    known = set(re.findall(r"^        (\w+) as \1,$", source, re.MULTILINE))
    assert known >= used | set(perceived._STAGES)


def test_a_misspelt_name_is_found_by_a_type_checker(tmp_path):
    pytest.importorskip("mypy", reason="needs mypy")
    (tmp_path / "consumer.py").write_text("import perceived\nperceived.Predicter()\nperceived.data.splitt\n")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "consumer.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 'has no attribute "Predicter"' in done.stdout
    assert 'has no attribute "splitt"' in done.stdout


def test_import_loads_nothing_heavy():
    code = "import sys, json, perceived; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    loaded = set(json.loads(python(code)))
    assert "perceived" in loaded
    assert loaded.isdisjoint({"torch", "cv2", "numpy", "PIL", "onnxruntime", "typer", "rich", "polars", "timm"})


def test_import_takes_at_most_a_tenth_of_a_second():
    """Of processor time, which other programs on the machine do not lengthen."""
    code = "import time; t = time.process_time(); import perceived; print(time.process_time() - t)"
    assert min(float(python(code)) for _ in range(3)) <= 0.1


def test_predicting_loads_neither_torch_nor_the_packages_of_training(tiny_model):
    code = (
        f"import sys, json, numpy, perceived; p = perceived.Predictor({str(tiny_model)!r}, threads=1);"
        "p.predict(numpy.zeros((20, 20, 3), numpy.uint8));"
        "print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    loaded = set(json.loads(python(code)))
    assert "onnxruntime" in loaded
    assert loaded.isdisjoint({"torch", "torchvision", "timm", "polars", "sklearn", "matplotlib", "onnx", "typer"})


def test_a_stage_whose_packages_are_missing_names_the_extra(monkeypatch):
    def miss(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(extras, "import_module", miss)
    with pytest.raises(MissingExtraError) as caught:
        perceived.__getattr__("train")
    assert "perceived[train]" in caught.value.mend
    assert "perceived.train" in caught.value.what
