"""The mean of the weights of networks that went on from one another: a model soup.

Between the weights of networks that were trained from the same ones lie, as a rule, better ones, and
they cost what one network costs (Wortsman et al. 2022, "Model soups", arXiv:2203.05482).
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from perceived import lineage, storage
from perceived.checkpoint import Run, TrainedModel, save_model
from perceived.errors import ConfigError, ModelFileError
from perceived.model import Network, Norm, affine, norm_state
from perceived.scoring import weights_sha256

UNDONE = ("calibration", "int8", "export")
"""What a model file tells of itself that is not true of the mean any more."""


def average(models: Sequence[Path], out: Path) -> None:
    """Write ``out``, a run's folder, whose best model has the mean of the weights of ``models``.

    They are folders of runs, ONNX files or names; one that is named twice counts twice. The mean takes the first
    model's metadata, except calibration and metrics, and the courses of all; check pictures and the statistics of
    batch norms are those of the first run among them: a file has none to train from.

    Raises:
        ConfigError: there are fewer than two models, none of them is a run, or ``out`` is there already.
        ModelFileError: a model cannot be opened, or they are not of one network and preprocessing.
    """
    if len(models) < 2:
        raise ConfigError("A mean needs several models.", expected="two or more")
    pictures = [Run(Path(model)).check_pictures for model in models]
    first_run = next((place for place, file in enumerate(pictures) if file.is_file()), None)
    if first_run is None:
        raise ConfigError(
            "None of the models is a folder that 'perceived train' wrote.",
            expected="a run among them: its check pictures are needed to export the mean",
        )
    if Path(out).exists():
        raise ConfigError(f"{out} exists already.", mend="give --out another name")
    trained = [TrainedModel.load(model) for model in models]
    for path, one in zip(models, trained, strict=True):
        _require_same(path, one, trained[0])
    network, spec = trained[0].network, trained[0].spec
    network.load_state_dict(mean([one.network for one in trained], statistics_of=first_run))
    kept = {key: value for key, value in spec.provenance.items() if key not in UNDONE}
    weights = {**kept.get("weights", {}), "mean_of_sha256": [weights_sha256(Path(model)) for model in models]}
    told = dataclasses.replace(
        spec,
        name=Path(out).name,
        metrics={},
        provenance={**kept, "weights": weights, "courses": lineage.united(one.spec for one in trained)},
        temperature=1.0,
        power=1.0,
        threshold=0.5,
        mirror_below=0.0,
    )
    with storage.atomic_path(Path(out)) as partial:
        save_model(Run(partial).best, network, told)
        shutil.copyfile(pictures[first_run], Run(partial).check_pictures)


@torch.inference_mode()
def mean(networks: Sequence[Network], *, statistics_of: int = 0) -> dict[str, Tensor]:
    """Return the state whose weights are the mean of the networks', with the batch statistics of one of them.

    What a batch norm does to a value, once its statistics are fixed, is to scale and to shift it; the
    means are of scales and shifts. Weights and statistics alone may differ without a difference in either.
    """
    states = [network.state_dict() for network in networks]
    found = {
        key: torch.stack([state[key] for state in states]).mean(0) if value.is_floating_point() else value.clone()
        for key, value in states[0].items()
    }
    for name, norm in networks[0].named_modules():
        if isinstance(norm, Norm):
            amounts = [affine(one.get_submodule(name)) for one in networks]
            scale, shift = (torch.stack(part).mean(0) for part in zip(*amounts, strict=True))
            statistics = [states[statistics_of][f"{name}.{key}"] for key in ("running_mean", "running_var")]
            state = norm_state(scale, shift, *statistics, eps=norm.eps)
            found |= {f"{name}.{key}": value for key, value in state.items()}
    return found


def _require_same(path: Path, one: TrainedModel, other: TrainedModel) -> None:
    kinds = [
        (each.spec.backbone, each.spec.labels, each.spec.preprocessing, each.network.average_flip)
        for each in (one, other)
    ]
    shapes = [{key: value.shape for key, value in each.network.state_dict().items()} for each in (one, other)]
    if kinds[0] != kinds[1] or shapes[0] != shapes[1]:
        raise ModelFileError(
            f"{path} is of another network or preprocessing: {one.spec.backbone}.",
            expected=f"{other.spec.backbone}, with the same head, labels, preprocessing and average_flip as the first",
            mend="average models of one recipe that started from the same weights",
        )
