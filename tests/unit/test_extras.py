"""Optional dependencies: the list is complete, and a missing one is named with its extra."""

from __future__ import annotations

import re
import tomllib

import pytest

from perceived.extras import EXTRAS, missing_extra

IMPORTED_AS = {"pillow-heif": "pillow_heif", "scikit-learn": "sklearn"}


def test_the_extras_are_those_of_the_package(root):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra, packages in EXTRAS.items():
        names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in project["optional-dependencies"][extra]]
        assert packages == {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names}


@pytest.mark.parametrize("module", ["torch", "torch.nn", "sklearn.linear_model"])
def test_a_missing_package_is_named_with_its_extra(module):
    error = missing_extra(ModuleNotFoundError(f"No module named {module!r}", name=module), "Training")
    assert error is not None
    assert module.partition(".")[0] in error.what
    assert "Training" in error.what
    assert error.mend == "pip install 'perceived[train]'"


@pytest.mark.parametrize("module", ["perceived.oops", "numpy", None, "torchx"])
def test_other_missing_modules_are_not_explained_away(module):
    assert missing_extra(ModuleNotFoundError("No module", name=module), "Training") is None
