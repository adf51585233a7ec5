"""Optional dependencies: the list is complete, and a missing one is named with its extra."""

from __future__ import annotations

import pickle
import re
import tomllib

import pytest

from perceived.errors import MissingExtraError
from perceived.extras import EXTRAS, modules, needed_for


def miss(module: str | None) -> None:
    raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def test_the_extras_are_those_of_the_package(root):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra, packages in EXTRAS.items():
        names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in project["optional-dependencies"][extra]]
        assert list(packages) == names


@pytest.mark.parametrize("module", ["torch", "torch.nn", "sklearn.linear_model"])
def test_a_missing_package_is_told_by_the_extra_that_brings_it(module):
    with pytest.raises(MissingExtraError) as caught, needed_for("Training"):
        miss(module)
    assert caught.value.what == "Training needs the extra 'train', which is not installed."
    assert caught.value.mend == "pip install 'perceived[train]'"


def test_of_several_extras_the_features_own_is_named():
    assert "polars" in modules("train") & modules("audit")
    for extra, named in (("audit", "audit"), ("train", "train"), ("serve", "train")):
        with pytest.raises(MissingExtraError, match=rf"perceived\[{named}\]"), needed_for("It", extra=extra):
            miss("polars")


@pytest.mark.parametrize("module", ["perceived.oops", "numpy", None, "torchx"])
def test_other_missing_modules_are_not_explained_away(module):
    with pytest.raises(ModuleNotFoundError), needed_for("Training"):
        miss(module)


def test_every_extra_is_in_the_readme_with_what_it_is_for(root):
    readme = (root / "README.md").read_text(encoding="utf-8")
    for extra in EXTRAS:
        assert re.search(rf"^pip install '\.\[{extra}\]' +# .{{10,}}", readme, re.MULTILINE), extra


def test_what_is_missing_is_told_from_one_process_to_another() -> None:
    error = MissingExtraError("Reading Lance", "lance")
    assert isinstance(error, ImportError), "for those who try an import"
    told = pickle.loads(pickle.dumps(error))
    assert (told.feature, told.extra, str(told)) == ("Reading Lance", "lance", str(error))
