"""One training loop for every recipe: resumable at any step, on one process or several."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from perceived import acceleration, checkpoint, storage
from perceived.acceleration import accelerator_for, precision_of
from perceived.data import mix
from perceived.data.feed import Feed
from perceived.errors import DivergedError
from perceived.model import Network, training_mode
from perceived.pages import curves
from perceived.progress import Reporter
from perceived.recipes import Recipe
from perceived.schedule import Schedule
from perceived.setup import Setup, prepare_run
from perceived.spec import LABELS

SAVE_SECONDS = 180.0
"""Longest time between two resume states; they are also saved after every validation."""
VALIDATION_BATCH = 64

AfterValidation = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True)
class Progress:
    """What a run has done so far, beyond its tensors; part of the resume state."""

    step: int = 0
    best: float | None = None
    best_step: int = 0
    stale: int = 0
    seconds: float = 0.0
    stopped: bool = False


@dataclass(slots=True)
class Learner:
    """Everything that changes while a network learns.

    ``sums`` adds up loss, correct answers and pictures since the last validation.
    """

    network: Network
    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    frozen: list[nn.Module]
    sums: Tensor
    progress: Progress

    @property
    def answering(self) -> Network:
        """The network that is validated and kept: the moving average where there is one."""
        if self.average is None:
            return self.network
        averaged = self.average.module
        assert isinstance(averaged, Network)
        return averaged

    def tensors(self) -> dict[str, Tensor]:
        """Return the complete state, flat: parameters, buffers, averages and optimizer moments."""
        state = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        if self.average is not None:
            state |= {f"average.{key}": value for key, value in self.average.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{index}.{key}": value for key, value in moments.items()}
        return state | {"sums": self.sums}

    def restore(self, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        """Go back to a state that :meth:`tensors` gave."""
        self.network.load_state_dict(_under("network.", tensors))
        if self.average is not None:
            self.average.load_state_dict(_under("average.", tensors))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _under("optimizer.", tensors).items():
            index, kind = key.split(".", 1)
            moments.setdefault(int(index), {})[kind] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._lay_out_moments()
        self.sums.copy_(tensors["sums"])
        self.progress = Progress(**progress)

    def _lay_out_moments(self) -> None:
        """Give every moment the memory layout of its parameter.

        A file keeps tensors row by row, the network has its channels last, and the fused optimizer on the
        CPU pairs parameters with moments by their place in memory.
        """
        for parameter, moments in self.optimizer.state.items():
            for kind, value in moments.items():
                if value.shape == parameter.shape:
                    moments[kind] = torch.empty_like(parameter).copy_(value)


def train(
    work: Path,
    recipe: Recipe,
    out: Path,
    *,
    init: Path | None = None,
    on_saved: Callable[[], object] | None = None,
    after_validation: AfterValidation | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train a network on a workspace's split and return the last line of its metrics.

    Running it again with the same arguments goes on where the run was stopped, however it was
    stopped, and ends with the same weights as a run that never was.

    Args:
        work: a workspace with ``examples.parquet`` and ``split.parquet``.
        recipe: the complete configuration.
        out: the run directory, made or continued.
        init: what gives the starting weights: another run, an ONNX file, or the name of a model that is installed.
        on_saved: called in the main process whenever a resume state is on disk, and at the end.
        after_validation: called with every line of the metrics when model and state have been saved;
            what it raises ends the run there, to be resumed or not.

    Raises:
        ResumeError: ``out`` holds a run of another recipe or another split, or another process trains there.
        DivergedError: the loss is NaN or infinite; the last state and the best model are those before it.
        DataError, SplitError, WeightsError, StorageError: as their stages say.
    """
    work, out = Path(work), Path(out)
    accelerator = accelerator_for(recipe.precision)
    with storage.alone_in(out) if accelerator.is_main_process else contextlib.nullcontext():
        setup = prepare_run(work, recipe, out, accelerator, init=init, quiet=quiet)
        learner = _learner(setup, accelerator)
        state = checkpoint.load_state(setup.run.last)
        if state is not None:
            learner.restore(*state)
            if not accelerator.is_main_process:
                learner.sums.zero_()  # the main process wrote its own
        return _fit(learner, setup, accelerator, on_saved, after_validation, quiet=quiet)


def _learner(setup: Setup, accelerator: Accelerator) -> Learner:
    network, recipe = setup.network, setup.recipe
    network.to(accelerator.device)
    network.to(memory_format=torch.channels_last)
    average = None
    if recipe.ema_decay:
        average = AveragedModel(network, multi_avg_fn=_moving_average(recipe.ema_decay), use_buffers=True)
    body = [p for p in network.backbone.parameters() if p.requires_grad]
    answering = [p for part in (network.head, network.beside) if part for p in part.parameters()]
    groups = [
        {"params": body, "lr": recipe.learning_rate, "peak": recipe.learning_rate},
        {"params": answering, "lr": recipe.head_learning_rate, "peak": recipe.head_learning_rate},
    ]
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    optimizer = kind([g for g in groups if g["params"]], weight_decay=recipe.weight_decay, fused=True)
    model = accelerator.prepare(network)
    sums = acceleration.sums(3, accelerator.device)
    return Learner(network, model, optimizer, average, setup.frozen, sums, Progress())


def _moving_average(decay: float) -> Any:
    """Return an exponential moving average that starts short and lengthens to ``decay``.

    It is of the statistics of batch norms too, which belong to the weights; whole numbers are copied.
    """

    def update(averages: Any, current: Any, count: Any) -> None:
        steps = int(count)
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + steps) / (10 + steps)))
        else:
            torch._foreach_copy_(averages, current)

    return update


def _fit(
    learner: Learner,
    setup: Setup,
    accelerator: Accelerator,
    on_saved: Callable[[], object] | None,
    after_validation: AfterValidation | None,
    *,
    quiet: bool,
) -> dict[str, Any]:
    recipe, feed, run = setup.recipe, setup.feed, setup.run
    schedule = Schedule(recipe, len(feed.train), feed.weights)
    progress = learner.progress
    main = accelerator.is_main_process
    done = run.history() if main else []
    history = [line for line in done if line["step"] <= progress.step]  # later ones belong to work that is done again
    saved = started = time.monotonic()
    before = progress.seconds
    with contextlib.ExitStack() as closing:
        reporter = closing.enter_context(Reporter(schedule, progress.step, quiet=quiet or not main))
        if main:
            add_event = closing.enter_context(curves.tensorboard(run.root, history, started=time.time() - before))
        while progress.step < schedule.steps and not progress.stopped:
            step = progress.step
            loss = _learn(learner, schedule, feed, step, accelerator)
            progress.step += 1
            progress.seconds = before + time.monotonic() - started
            reporter.step(progress.step, loss)
            validates = schedule.validates_after(step)
            if not validates and time.monotonic() - saved <= SAVE_SECONDS:
                continue
            _check_numbers(learner, recipe, accelerator)
            if validates:
                line = _validate(learner, schedule, feed, accelerator)
                if not math.isfinite(line["val_loss"]):
                    raise _diverged(learner, recipe, accelerator)
                learnt, progress.seconds = progress.seconds, before + time.monotonic() - started
                line["seconds"] = round(progress.seconds, 3)
                line["validation_seconds"] = round(progress.seconds - learnt, 3)
                _judge(progress, recipe, line)
                if main:
                    history.append(line)
                    _record(setup, learner, line, history)
                    add_event(line)
                    reporter.validation(line, is_best=progress.best_step == progress.step)
            if main:
                checkpoint.save_state(run.last, learner.tensors(), asdict(progress))
                if on_saved:
                    on_saved()
            saved = time.monotonic()
            if main and validates and after_validation:
                after_validation(history[-1])
    if main and on_saved:
        on_saved()
    return history[-1] if history else {}


def _learn(learner: Learner, schedule: Schedule, feed: Feed, step: int, accelerator: Accelerator) -> Tensor:
    """Take one optimizer step and return its loss, a scalar on the device."""
    recipe, rank = schedule.recipe, accelerator.process_index
    showings = schedule.showings(step, rank, accelerator.num_processes)
    rows, epoch = showings % schedule.pictures, schedule.epoch(step)
    torch.manual_seed((recipe.seed * 1_000_003 + step) * 1_009 + rank)
    batch = feed.batch(showings, recipe, epoch, schedule.size(step), accelerator.device)
    labels = feed.labels(rows, accelerator.device)
    targets = feed.targets(rows, recipe.teacher_share, accelerator.device)
    attributes, features = (
        torch.from_numpy(known[rows]).to(accelerator.device) for known in (feed.attributes, feed.features)
    )
    if recipe.mixes:
        batch, (labels, targets, attributes, features) = mix.batch(
            batch, (labels, targets, attributes, features), mixup=recipe.mixup, cutmix=recipe.cutmix
        )
    rate = schedule.rate(step)
    for group in learner.optimizer.param_groups:
        group["lr"] = rate * group["peak"]
    training_mode(learner.network, learner.frozen, freeze_batch_norm=recipe.freeze_batch_norm)
    answers = learner.model(batch).float()
    logits, traits, found = answers.split([len(LABELS), attributes.shape[1], features.shape[1]], 1)
    loss = functional.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)
    total = loss
    if attributes.shape[1]:
        total = total + recipe.attribute_weight * attribute_loss(traits, attributes)
    if features.shape[1]:
        total = total + recipe.feature_weight * functional.mse_loss(found, features)
    # Gradients are averaged over processes, whose shares differ by a row where they do not divide the batch.
    accelerator.backward(total * (len(rows) * accelerator.num_processes / schedule.batch_size))
    learner.optimizer.step()
    learner.optimizer.zero_grad()
    if learner.average is not None:
        learner.average.update_parameters(learner.network)
    correct = labels.gather(1, logits.detach().argmax(1, keepdim=True)).sum()
    counts = torch.stack([loss.detach() * len(rows), correct, torch.tensor(len(rows), device=loss.device)])
    learner.sums += counts.to(learner.sums.dtype)
    return loss.detach()


def attribute_loss(logits: Tensor, attributes: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of attributes, ``(n, attributes)`` of 0 and 1, or NaN: unknown, left out."""
    known = ~attributes.isnan()
    losses = functional.binary_cross_entropy_with_logits(logits, attributes.nan_to_num(), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def _check_numbers(learner: Learner, recipe: Recipe, accelerator: Accelerator) -> None:
    """Raise :class:`DivergedError`, before anything is saved, if a loss or a weight is NaN or infinite."""
    tensors = [learner.sums, *learner.network.state_dict().values()]
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise _diverged(learner, recipe, accelerator)


def _diverged(learner: Learner, recipe: Recipe, accelerator: Accelerator) -> DivergedError:
    return DivergedError(
        f"Training diverged: by step {learner.progress.step} the loss or a weight was NaN or infinite. "
        "Nothing since the last save is kept.",
        expected=f"a finite loss; the learning rate is {recipe.learning_rate:g}, in {precision_of(accelerator)}",
        mend=f"start a new run (--out) with a lower rate, such as --set learning_rate={recipe.learning_rate / 4:g}"
        + (", or --set precision=fp32" if precision_of(accelerator) == "bf16" else ""),
    )


def _validate(learner: Learner, schedule: Schedule, feed: Feed, accelerator: Accelerator) -> dict[str, Any]:
    """Score the network that would be kept on the validation pictures, at the present training size."""
    size = schedule.size(learner.progress.step - 1)
    if accelerator.num_processes > 1:  # each has seen other pictures, and so has batch norms of its own
        broadcast(list(learner.answering.buffers()))
    sums = score(
        learner.answering, feed, size, accelerator, rank=accelerator.process_index, processes=accelerator.num_processes
    )
    validation = accelerator.reduce(sums, "sum").tolist()
    training = accelerator.reduce(learner.sums, "sum").tolist()
    learner.sums.zero_()
    step = learner.progress.step
    return {
        "step": step,
        "epoch": step / schedule.steps_per_epoch,
        "image_steps": step * schedule.batch_size,
        "size": list(size),
        "rate": schedule.rate(step - 1),
        "train_loss": training[0] / training[2],
        "train_accuracy": training[1] / training[2],
        "val_loss": validation[0] / validation[2],
        "val_accuracy": validation[1] / validation[2],
    }


def score(
    network: Network, feed: Feed, size: tuple[int, int], accelerator: Accelerator, *, rank: int = 0, processes: int = 1
) -> Tensor:
    """Return summed loss, correct answers and pictures over one process's share of the validation set."""
    sums = acceleration.sums(3, accelerator.device)
    rows = np.arange(len(feed.val))[rank::processes]
    network.eval()
    with torch.inference_mode(), accelerator.autocast():
        for start in range(0, len(rows), VALIDATION_BATCH):
            part = rows[start : start + VALIDATION_BATCH]
            labels = torch.from_numpy(feed.val_labels[part]).to(accelerator.device)
            logits = network(feed.validation_batch(part, size, accelerator.device)).float()
            loss = functional.cross_entropy(logits, labels, reduction="sum")
            correct = (logits.argmax(1) == labels).sum()
            sums += torch.stack([loss, correct, torch.tensor(len(part), device=loss.device)]).to(sums.dtype)
    return sums


def _judge(progress: Progress, recipe: Recipe, line: Mapping[str, Any]) -> None:
    """Update the best score and stop the run when validation has stopped improving."""
    score = recipe.worth(line)
    if progress.best is None or score > progress.best:
        progress.best, progress.best_step, progress.stale = score, progress.step, 0
    else:
        progress.stale += 1
    progress.stopped = bool(recipe.patience) and progress.stale >= recipe.patience


def _record(setup: Setup, learner: Learner, line: Mapping[str, Any], history: list[dict[str, Any]]) -> None:
    """Write the metrics, the curves and, if it is the best so far, the model."""
    run, recipe = setup.run, setup.recipe
    storage.write_text(run.metrics, "".join(json.dumps(entry) + "\n" for entry in history), durable=True)
    curves.draw(history, run.curves, title=recipe.name)
    if learner.progress.best_step == learner.progress.step:
        checkpoint.save_model(run.best, learner.answering, setup.spec(line))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
