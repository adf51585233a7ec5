"""The network: normalisation, a pretrained backbone and a small head, as one module."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from perceived.backbones import Input
from perceived.errors import ConfigError

Norm = nn.modules.batchnorm._BatchNorm


class Network(nn.Module):
    """Pixels in, logits out: ``(n, 3, h, w)`` float RGB on the scale 0-255 to ``(n, classes)``.

    Features computed before, ``(n, features)``, are taken in place of pixels. With ``average_flip``
    the logits of a picture and of its mirror image are averaged in evaluation mode, and so also in
    an exported model. With ``beside``, what it answers follows the label's logits, in training mode
    only: what is learnt beside the label, and left out of the model that is kept.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Sequential,
        expects: Input,
        *,
        average_flip: bool = False,
        beside: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.average_flip = average_flip
        self.beside = beside
        self.register_buffer("mean", torch.tensor(expects.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(expects.std).view(1, 3, 1, 1))

    @property
    def output(self) -> nn.Linear:
        """The last layer, whose answers are the logits."""
        layer = self.head[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    @property
    def width(self) -> int:
        """How many features a picture has."""
        return next(layer.in_features for layer in self.head if isinstance(layer, nn.Linear))

    def features(self, pixels: Tensor) -> Tensor:
        """Return the pooled features, ``(n, features)``."""
        pooled: Tensor = self.backbone((pixels - self.mean) / self.std)
        return pooled

    def activation(self, pixels: Tensor) -> Tensor:
        """Return what each place of a picture adds to each logit, ``(n, classes, h', w')``.

        Its mean over places and the head's bias make the logits: the class activation map of a
        globally averaged network (Zhou et al. 2016, arXiv:1512.04150). Needs :func:`explains`.
        """
        activation = self._activation(pixels)
        return (activation + self._activation(pixels.flip(3)).flip(3)) / 2 if self.average_flip else activation

    def _activation(self, pixels: Tensor) -> Tensor:
        return torch.einsum("nchw,kc->nkhw", self.maps(pixels), self.output.weight)

    def maps(self, pixels: Tensor) -> Tensor:
        """Return the backbone's last feature maps, ``(n, features, h', w')`` where it has any."""
        features: Callable[[Tensor], Tensor] = getattr(self.backbone, "forward_features")  # noqa: B009
        return features((pixels - self.mean) / self.std)

    def forward(self, pixels: Tensor) -> Tensor:
        features = pixels if pixels.ndim == 2 else self.features(pixels)
        logits: Tensor = self.head(features)
        if self.training:
            return logits if self.beside is None else torch.cat([logits, self.beside(features)], 1)
        if self.average_flip and pixels.ndim != 2:
            mirrored: Tensor = self.head(self.features(pixels.flip(3)))
            return (logits + mirrored) / 2
        return logits

    def kept(self) -> dict[str, Tensor]:
        """Return the state of what answers for the label: all but ``beside``."""
        return {key: value for key, value in self.state_dict().items() if not key.startswith("beside.")}


def planes(pixels: npt.NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Return RGB pictures, ``(n, h, w, 3)``, as a network takes them: ``(n, 3, h, w)`` float32, on ``device``."""
    return torch.from_numpy(np.array(pixels)).to(device).permute(0, 3, 1, 2).float()


def affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the scale and the shift that a batch norm amounts to while its statistics are fixed."""
    assert isinstance(norm, Norm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def norm_state(scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, *, eps: float) -> dict[str, Tensor]:
    """Return the state of a batch norm that has these statistics and amounts to this scale and shift."""
    return {
        "running_mean": mean,
        "running_var": variance,
        "weight": scale * (variance + eps).sqrt(),
        "bias": shift + mean * scale,
    }


def build_head(features: int, classes: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    """Return a multilayer perceptron with dropout after its first hidden layer (or before the output).

    The study's head is ``hidden=(1024, 512), dropout=0.5``.
    """
    layers: list[nn.Module] = []
    if not hidden:
        layers.append(nn.Dropout(dropout))
    for index, width in enumerate(hidden):
        layers += [nn.Linear(features, width), nn.ReLU()]
        if index == 0:
            layers.append(nn.Dropout(dropout))
        features = width
    layers.append(nn.Linear(features, classes))
    return nn.Sequential(*layers)


def explains(network: nn.Module, pixels: Tensor) -> bool:
    """Return whether a network's logits are the mean of its activation map on ``pixels``, plus the bias.

    So they are where the backbone averages its last feature map and the head is one linear layer.
    """
    if not isinstance(network, Network) or not hasattr(network.backbone, "forward_features"):
        return False
    if any(not isinstance(layer, nn.Dropout) for layer in network.head[:-1]):
        return False
    with torch.inference_mode():
        maps, features = network.maps(pixels), network.features(pixels)
        if maps.ndim != 4 or maps.shape[1] != features.shape[1]:
            return False
        return torch.allclose(maps.mean((2, 3)), features, rtol=1e-3, atol=1e-4)


def stages(backbone: nn.Module) -> list[str]:
    """Return the names of a backbone's parts that can learn, from the picture on; a sequence counts by its members."""
    names = []
    for name, part in backbone.named_children():
        inner = [f"{name}.{i}" for i, _ in part.named_children()] if isinstance(part, nn.Sequential) else [name]
        names += [one for one in inner if any(True for _ in backbone.get_submodule(one).parameters())]
    return names


def freeze(network: Network, names: Sequence[str]) -> list[nn.Module]:
    """Fix the parameters of the backbone's modules with these names and return the modules.

    Raises:
        ConfigError: the backbone has no module of such a name.
    """
    modules = dict(network.backbone.named_modules())
    unknown = [name for name in names if name not in modules]
    if unknown:
        raise ConfigError(
            f"The backbone has no module named {unknown[0]!r}.",
            expected=f"names such as {', '.join(name for name, _ in network.backbone.named_children())}",
            mend="--set 'frozen=[]' freezes none",
        )
    frozen = [modules[name] for name in names]
    for module in frozen:
        module.requires_grad_(False)
    return frozen


def training_mode(network: Network, frozen: Sequence[nn.Module], *, freeze_batch_norm: bool) -> None:
    """Switch to training mode, leaving frozen modules (and frozen batch norms) in evaluation mode."""
    network.train()
    for module in frozen:
        module.eval()
    if freeze_batch_norm:
        for module in network.modules():
            if isinstance(module, Norm):
                module.eval()
