"""What training keeps in memory (the moving average, moments as the fused optimizer needs them), and its losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from perceived import recipes
from perceived.acceleration import accelerator_for
from perceived.backbones import Input
from perceived.checkpoint import load_state, save_state
from perceived.data.augment import Augmentation
from perceived.data.degrade import Degradation
from perceived.data.feed import Feed
from perceived.model import Network, build_head
from perceived.recipes import Recipe
from perceived.schedule import Schedule
from perceived.train import Learner, Progress, _learn, _moving_average, attribute_loss

INPUT = Input(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), interpolation="bilinear")


def learner() -> Learner:
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    network = Network(body, nn.Linear(4, 2), INPUT)
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, fused=True)
    average = AveragedModel(network, multi_avg_fn=_moving_average(0.9), use_buffers=True)
    return Learner(network, network, optimizer, average, [], torch.zeros(3), Progress())


def learn(one: Learner, steps: range) -> None:
    for step in steps:
        torch.manual_seed(step)
        one.model(torch.randn(4, 3, 8, 8)).square().sum().backward()
        one.optimizer.step()
        one.optimizer.zero_grad()
        assert one.average is not None
        one.average.update_parameters(one.network)


def test_a_restored_learner_goes_on_with_the_same_bits(tmp_path) -> None:
    whole, first, second = learner(), learner(), learner()
    learn(whole, range(6))
    learn(first, range(3))
    save_state(tmp_path, first.tensors(), {"step": 3})
    state = load_state(tmp_path)
    assert state is not None
    second.restore(*state)
    assert second.progress.step == 3
    learn(second, range(3, 6))
    expected, found = whole.tensors(), second.tensors()
    assert expected.keys() == found.keys()
    assert [key for key in expected if not torch.equal(expected[key], found[key])] == []


def test_the_moving_average_is_of_weights_and_statistics_alike() -> None:
    one = learner()
    first = {key: value.clone() for key, value in one.network.state_dict().items()}
    learn(one, range(1))
    started = {key: value.clone() for key, value in one.network.state_dict().items()}
    learn(one, range(1, 2))
    ended, answering = one.network.state_dict(), one.answering.state_dict()
    share = 1 - 2 / 11
    for key in ("backbone.0.weight", "backbone.1.running_mean", "backbone.1.running_var"):
        assert not torch.equal(first[key], ended[key])
        torch.testing.assert_close(answering[key], torch.lerp(started[key], ended[key], share))
    assert answering["backbone.1.num_batches_tracked"] == 2


def test_an_unknown_attribute_counts_for_nothing() -> None:
    logits = torch.tensor([[2.0, -1.0, 5.0], [0.5, 3.0, -4.0]], requires_grad=True)
    attributes = torch.tensor([[1.0, 0.0, float("nan")], [0.0, float("nan"), 1.0]])
    loss = attribute_loss(logits, attributes)
    known = ~attributes.isnan()
    expected = nn.functional.binary_cross_entropy_with_logits(logits[known], attributes[known])
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[~known] == 0).all()
    assert (logits.grad[known] != 0).all()
    assert attribute_loss(logits, torch.full_like(attributes, float("nan"))) == 0


class Brightness(nn.Module):
    """One feature, how bright a picture is from 0 to 1, of which the last ones seen are kept."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen = pixels.mean((1, 2, 3)) / 255
        return self.seen[:, None]


def test_what_is_known_of_mixed_pictures_is_mixed_as_they_are() -> None:
    """Black pictures are of women, white ones of men with an attribute and a teacher's feature.

    How bright a mixture is tells what it is of.
    """
    body = Brightness()
    head, beside = nn.Linear(1, 2), nn.Linear(1, 2)
    for layer, weight, bias in ((head, [[-3.0], [3.0]], [1.5, -1.5]), (beside, [[2.0], [0.5]], [0.0, 0.0])):
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    network = Network(body, nn.Sequential(head), INPUT, beside=beside)
    optimizer = torch.optim.SGD([{"params": list(network.parameters()), "lr": 0.0, "peak": 0.0}])
    one = Learner(network, network, optimizer, None, [], torch.zeros(3), Progress())
    labels = np.arange(8) % 2
    pictures = np.broadcast_to((labels * 255).astype(np.uint8)[:, None, None, None], (8, 20, 20, 3))
    feed = Feed(pictures, labels, pictures, labels, "", "", {}, *[labels[:, None].astype(np.float32)] * 2)
    settings = ["batch_size=8", "sizes=[[0, 20, 20]]", "mixup=1", "cutmix=1", "label_smoothing=0"]
    settings += ["attribute_weight=2", "teacher=another", "feature_weight=3"]
    recipe = recipes.get("demo", [*settings, "augmentation.light=0", "augmentation.contrast=0", "augmentation.color=0"])
    schedule, accelerator = Schedule(recipe, 8), accelerator_for("fp32")
    slopes: list[list[float]] = []
    beside.weight.register_hook(lambda slope: slopes.append(slope[:, 0].tolist()))
    shares = set()
    for step in range(6):
        one.sums.zero_()
        loss = _learn(one, schedule, feed, step, accelerator).item()
        seen = body.seen
        expected = nn.functional.cross_entropy(network.head(seen[:, None]), torch.stack([1 - seen, seen], 1))
        assert loss == pytest.approx(expected.item(), abs=1e-3)
        assert one.sums[1].item() == pytest.approx(torch.maximum(seen, 1 - seen).sum().item(), abs=0.05)
        attribute = 2 * ((torch.sigmoid(2 * seen) - seen) * seen).mean()
        feature = 3 * (2 * (0.5 * seen - seen) * seen).mean()
        assert slopes[-1] == pytest.approx([attribute.item(), feature.item()], abs=2e-3)
        shares |= {round(value, 2) for value in seen.tolist()}
    assert len(shares) > 6, "something was mixed"


def test_attributes_are_answered_in_training_alone() -> None:
    body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = Network(body, nn.Sequential(nn.Linear(3, 2)), INPUT, average_flip=True, beside=nn.Linear(3, 5))
    pixels = torch.rand(4, 3, 8, 8)
    assert network.train()(pixels).shape == (4, 7)
    assert network(pixels.mean((2, 3))).shape == (4, 7), "features computed before"
    assert network.eval()(pixels).shape == (4, 2)
    assert not any("beside" in key for key in network.kept())
    assert len(network.kept()) == len(network.state_dict()) - 2


def test_dropout_leaves_out_others_in_each_step_and_the_same_ones_when_that_is_taken_again() -> None:
    """Pictures are all alike and the rate is 0: nothing but what is left out makes a difference."""
    network = Network(nn.Identity(), build_head(64, 2, (), dropout=0.5), INPUT)
    optimizer = torch.optim.SGD([{"params": list(network.parameters()), "lr": 0.0, "peak": 0.0}])
    one = Learner(network, network, optimizer, None, [], torch.zeros(3), Progress())
    features, labels = np.ones((8, 64), np.float32), np.zeros(8, np.int64)
    feed = Feed(features, labels, features, labels, "", "", {}, *[np.empty((8, 0), np.float32)] * 2)
    schedule, accelerator = Schedule(recipes.get("last-layer", ["batch_size=8"]), 8), accelerator_for("fp32")
    first, second, again = (_learn(one, schedule, feed, step, accelerator).item() for step in (0, 1, 0))
    assert first == again != second


def test_a_picture_that_comes_again_is_varied_and_spoilt_in_another_way() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    labels = np.array([0, 1, 0])
    feed = Feed(pictures, labels, pictures, labels, "", "", {}, *[np.empty((3, 0), np.float32)] * 2)
    for settings in ({"augmentation": Augmentation(rotate=20)}, {"degradation": Degradation(noise=1.0)}):
        recipe = Recipe(name="test", **settings)
        batch = feed.batch(np.array([1, 1, 4]), recipe, 0, (24, 24), torch.device("cpu"))
        assert torch.equal(batch[0], batch[1])
        assert (batch[0] - batch[2]).abs().mean() > 1
