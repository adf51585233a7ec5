"""The study's 52 frozen layers: Keras' order, rebuilt from the network's graph, gives the recipe's modules.

Keras sorts layers by depth, which is the longest way to the output, and those of the same depth in
the order in which a depth-first walk back from the output finishes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from perceived import recipes

FROZEN_LAYERS = 52


@dataclass(eq=False)
class Layer:
    """A layer of Keras; ``module`` is timm's name of what it belongs to."""

    kind: str
    module: str
    inputs: list[Layer] = field(default_factory=list)


def convolution(before: Layer, *modules: str) -> Layer:
    """Append convolution, normalisation and activation for each module, one after the other."""
    for module in modules:
        for kind in ("conv", "bn", "act"):
            before = Layer(kind, module, [before])
    return before


def mixed(before: Layer, block: str) -> Layer:
    """Append a block of InceptionV3's first kind: 1×1, 5×5, double 3×3 and pooled branches, joined in this order."""
    names = (
        ("branch1x1",),
        ("branch5x5_1", "branch5x5_2"),
        ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
    )
    branches = [convolution(before, *(f"{block}.{name}" for name in branch)) for branch in names]
    pooled = convolution(Layer("pool", block, [before]), f"{block}.branch_pool")
    return Layer("join", block, [*branches, pooled])


def keras_order(output: Layer) -> list[Layer]:
    met: list[Layer] = []

    def walk(layer: Layer) -> None:
        if layer not in met:
            for before in layer.inputs:
                walk(before)
            met.append(layer)

    walk(output)
    depth = dict.fromkeys(met, 0)
    for layer in reversed(met):
        for before in layer.inputs:
            depth[before] = max(depth[before], depth[layer] + 1)
    return sorted(met, key=lambda layer: (-depth[layer], met.index(layer)))


@pytest.fixture(scope="module")
def layers() -> list[Layer]:
    """InceptionV3 up to its second block, in Keras' order; what follows the block moves nothing inside it."""
    stem = convolution(Layer("input", ""), "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3")
    stem = convolution(Layer("pool", "Pool1", [stem]), "Conv2d_3b_1x1", "Conv2d_4a_3x3")
    return keras_order(mixed(mixed(Layer("pool", "Pool2", [stem]), "Mixed_5b"), "Mixed_5c"))


def test_keras_starts_with_the_longest_branch(layers: list[Layer]) -> None:
    assert [layers[i].kind for i in (0, 10, 17, 27, 40, 50)] == ["input", "pool", "pool", "pool", "join", "pool"]
    assert layers[18].module == "Mixed_5b.branch3x3dbl_1"
    assert layers[28].module == "Mixed_5b.branch1x1"
    assert (layers[51].kind, layers[51].module) == ("conv", "Mixed_5c.branch1x1")


def test_the_recipe_freezes_the_convolutions_of_the_first_52_layers(layers: list[Layer]) -> None:
    def is_frozen(layer: Layer) -> bool:
        names = (layer.module, f"{layer.module}.{layer.kind}")
        return any(name == part or name.startswith(f"{part}.") for part in recipes.STUDY_FROZEN for name in names)

    learnt = [layer for layer in layers if layer.kind in ("conv", "bn")]
    assert [is_frozen(layer) for layer in learnt] == [layers.index(layer) < FROZEN_LAYERS for layer in learnt]
