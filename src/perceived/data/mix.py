"""Pictures of a batch mixed with one another, and their labels with them, so that fewer are learnt by heart.

mixup blends two pictures (Zhang et al. 2018, arXiv:1710.09412), CutMix puts a rectangle of one into the other
(Yun et al. 2019, arXiv:1905.04899).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2


def batch(
    pictures: Tensor, answers: Sequence[Tensor], *, mixup: float, cutmix: float
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Mix each picture of a batch with the one before it, as much as is drawn from torch's generator.

    Args:
        pictures: ``(n, channels, height, width)``.
        answers: what is known of them, ``(n, columns)`` each, NaN where it is not: mixed as the pictures are.
        mixup: the alpha of the Beta distribution of what a picture keeps of itself; 0: no mixup.
        cutmix: the same for CutMix. Where both are wanted, each is done to half of the batches.
    """
    ways = [way(alpha=alpha) for way, alpha in ((v2.MixUp, mixup), (v2.CutMix, cutmix)) if alpha]
    way = ways[int(torch.randint(len(ways), ()))]
    pictures, columns = way(pictures, torch.cat(tuple(answers), 1))
    return pictures, columns.split([answer.shape[1] for answer in answers], 1)
