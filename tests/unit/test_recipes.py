from __future__ import annotations

import json

import pytest

from perceived import backbones, recipes
from perceived.errors import ConfigError


@pytest.mark.parametrize("name", recipes.NAMES)
def test_every_recipe_survives_its_json_form(name: str) -> None:
    recipe = recipes.get(name)
    assert recipe.name == name
    assert recipes.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize("name", recipes.NAMES)
def test_every_recipe_freezes_modules_its_backbone_has(name: str) -> None:
    recipe = recipes.get(name)
    modules = dict(backbones.create(recipe.backbone, weights="none").network.named_modules())
    assert set(recipe.frozen) <= set(modules)


def test_recipes_of_many_epochs_stop_when_validation_no_longer_improves() -> None:
    assert all(recipes.get(name).patience for name in ("study", "last-layer", "large", "demo"))


def test_overrides_take_the_type_of_what_they_replace() -> None:
    recipe = recipes.get(
        "fast",
        ["epochs=2", "batch_size=8", "augmentation.rotate=5", "average_flip=false", "frozen=[]", "backbone=resnet18"],
    )
    assert recipe.epochs == 2.0
    assert isinstance(recipe.epochs, float)
    assert recipe.batch_size == 8
    assert recipe.augmentation.rotate == 5.0
    assert recipe.average_flip is False
    assert recipe.frozen == ()
    assert recipe.backbone == "resnet18"
    assert recipes.get("fast", ["sizes=[[0, 20, 10]]"]).input_size == (20, 10)
    assert all(recipes.get(name, ["epochs=0.5"]).epochs == 0.5 for name in recipes.NAMES)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs", "has no value"),
        ("epoch=3", "no setting 'epoch'"),
        ("augmentation.turn=3", "no setting 'augmentation.turn'"),
        ("epochs=many", r"cannot be read\.\nExpected: a number"),
        ("batch_size=1.5", r"cannot be read\.\nExpected: a whole number"),
        ("batch_size=true", "cannot be read"),
        ("average_flip=1", "Expected: true or false"),
        ("augmentation=none", r"a group of settings.*\nExpected: one of augmentation\.mirror, "),
        ("hidden=256", r"Expected: JSON such as \[256\]"),
        ("hidden=[true]", "hidden cannot be"),
        ("sizes=[[0, true, true]]", "sizes cannot be"),
        ("sizes=160", r"Expected: JSON such as \[\[0, 160, 160\]\]"),
        ("batch_size=0", "batch_size cannot be 0"),
        ("optimizer=sgd", r"optimizer cannot be 'sgd'\.\nExpected: one of adam, adamw"),
        ("sizes=[[0.5, 20, 10]]", "sizes cannot be"),
        ("sizes=[[0, 10, 8], [0, 20, 16]]", "sizes cannot be"),
        ("sizes=[[0, 10, 10], [0.5, 20, 16]]", "sizes cannot be"),
        ("teacher_share=1.5", "teacher_share cannot be 1.5"),
        ("margin=NaN", "margin cannot be nan"),
        ("margin=-0.5", "margin cannot be -0.5"),
        ("alignment=six-point", "alignment cannot be 'six-point'"),
        ("teacher_share=-0.1", "teacher_share cannot be -0.1"),
        ("feature_weight=-1", "feature_weight cannot be -1.0"),
        ("mixup=-1", "mixup cannot be -1.0.\nExpected: 0, or a number from 0.01 to 1000"),
        ("mixup=0.001", "mixup cannot be 0.001"),
        ("cutmix=Infinity", "cutmix cannot be inf"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipes.get("fast", [override])


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="study, last-layer, large, fast, best, teacher, small, demo"):
        recipes.get("fastest")


def test_the_size_grows_with_the_share_of_the_run() -> None:
    recipe = recipes.get("fast", ["sizes=[[0, 10, 8], [0.5, 20, 16]]"])
    assert [recipe.size_at(share) for share in (0, 0.49, 0.5, 1)] == [(10, 8), (10, 8), (20, 16), (20, 16)]


@pytest.mark.parametrize(
    "override",
    [
        *("sizes=[[0, 10, 8], [0.5, 20, 16]]", "average_flip=true", "augmentation.rotate=5", "degradation.blur=0.1"),
        *("mixup=0.2", "cutmix=1"),
    ],
)
def test_what_means_nothing_to_cached_features_is_refused(override: str) -> None:
    key = override.partition("=")[0].partition(".")[0]
    with pytest.raises(ConfigError, match=f"{key} has no effect with cached_features"):
        recipes.get("last-layer", [override])
    assert recipes.get("last-layer", ["cached_features=false", override])
