"""Pictures that are mixed: what is known of them is mixed by as much."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from perceived.data import mix

SHADES = torch.linspace(0, 1, 5)


def mixed(seed: int, *, mixup: float = 0.0, cutmix: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Mix pictures of one shade each, with their shade, and with what is known of all but the first."""
    torch.manual_seed(seed)
    pictures = SHADES[:, None, None, None].expand(-1, 3, 40, 30).clone()
    known = torch.ones(5, 2).masked_fill(torch.arange(5)[:, None] == 0, float("nan"))
    pictures, (shades, known) = mix.batch(pictures, (SHADES[:, None], known), mixup=mixup, cutmix=cutmix)
    return pictures, shades[:, 0], known


def is_blended(pictures: Tensor) -> bool:
    """Return whether every picture is of one shade still."""
    return bool((pictures.amin((1, 2, 3)) == pictures.amax((1, 2, 3))).all())


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_an_answer_is_mixed_by_as_much_as_its_picture(way: str) -> None:
    kept = []
    for seed in range(40):
        pictures, shades, known = mixed(seed, **{way: 1.0})
        torch.testing.assert_close(pictures.mean((1, 2, 3)), shades)
        assert known.isnan().any(1).tolist() == [True, True, False, False, False], "unknown with what it is mixed with"
        kept.append(float(1 - shades[0]))
        assert is_blended(pictures) == (way == "mixup" or kept[-1] in (0, 1))
    assert min(kept) < 0.3, "little of some"
    assert max(kept) > 0.8, "nearly all of others"
    assert len(set(kept)) > 30, "each by another share"


def test_both_ways_take_turns_by_chance() -> None:
    blended = [is_blended(mixed(seed, mixup=1.0, cutmix=1.0)[0]) for seed in range(60)]
    assert 15 <= sum(blended) <= 45


def test_a_small_alpha_mixes_little() -> None:
    """Beta(0.2, 0.2) keeps more than nine tenths of one of two pictures in 67 % of draws, Beta(1, 1) in 20 %."""
    for alpha, share in ((0.2, 0.67), (1.0, 0.2)):
        kept = np.array([float(1 - mixed(seed, mixup=alpha)[1][0]) for seed in range(400)])
        assert np.mean(np.maximum(kept, 1 - kept) > 0.9) == pytest.approx(share, abs=0.08)


def test_the_same_is_drawn_again_for_the_same_seed() -> None:
    first, second, again = (mixed(seed, mixup=1.0, cutmix=1.0)[0] for seed in (3, 4, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
