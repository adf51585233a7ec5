"""Training on two workers, one of which is killed: the samples, and the weights, of one process."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("ray", reason="needs the extra perceived[cluster]")

from perceived import recipes, train as training
from perceived.checkpoint import Run
from perceived.cluster import connection, train as cluster
from perceived.cluster.folder import Folder
from perceived.errors import ClusterError, ConfigError, DataError, MissingExtraError, ResumeError
from perceived.schedule import Schedule

BATCH, PICTURES = 7, 48
"""An odd batch, so that two shares differ in size."""


def watched(seen: Path, killed: Path) -> Callable[[cluster.Training], None]:
    """Return a worker's loop that notes every share of a batch, and kills worker 1 once, in its second epoch."""

    def learn(told: cluster.Training) -> None:  # travels by value, because workers do not import tests
        import json
        import os
        import signal

        import ray.train
        import torch

        from perceived.cluster import train
        from perceived.data.feed import Feed

        torch.set_num_threads(1)
        context = ray.train.get_context()
        rank, size, batch = context.get_world_rank(), context.get_world_size(), Feed.batch

        def noted(self, rows, recipe, epoch, *rest):
            with open(seen / f"{os.getpid()}.jsonl", "a") as file:
                file.write(json.dumps([rank, size, rows.tolist()]) + "\n")
            if rank == 1 and epoch == 1 and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return batch(self, rows, recipe, epoch, *rest)

        Feed.batch = noted
        train.learn(told)

    return learn


@pytest.mark.full  # two nodes of Ray on two busy processors start too late, now and then
def test_a_worker_is_killed_and_the_run_ends_as_if_it_never_was(
    nodes, tiny_work, tiny, tmp_path, monkeypatch, wait_until
):
    exact = ("precision=fp32", "dropout=0", "freeze_batch_norm=true", f"batch_size={BATCH}", "epochs=2")
    recipe = dataclasses.replace(recipes.get("fast", [*tiny, *exact]), optimizer="adamw")
    seen, killed, out = tmp_path / "seen", tmp_path / "killed", tmp_path / "two"
    seen.mkdir()
    monkeypatch.setattr(cluster, "learn", watched(seen, killed))
    address = nodes.grow()
    with connection.connected(address):  # what an earlier job leaves takes a while to go, and one worker would begin
        wait_until(lambda: connection.idle("CPU") == 2)
    cluster.train(tiny_work, recipe, str(out), address=address, workers=2)
    assert killed.exists(), "no worker was killed"

    plan = Schedule(recipe, PICTURES)
    covered: dict[int, set[int]] = {step: set() for step in range(plan.steps)}
    shares = {tuple(plan.rows(s, r, n).tolist()): s for s in covered for r, n in ((0, 1), (0, 2), (1, 2))}
    for rank, size, rows in (json.loads(line) for file in seen.iterdir() for line in file.read_text().splitlines()):
        step = shares[tuple(rows)]
        assert rows == plan.rows(step, rank, size).tolist()
        covered[step] |= set(rows)
    assert covered == {step: set(plan.rows(step).tolist()) for step in covered}

    one = training.train(tiny_work, recipe, tmp_path / "one", quiet=True)
    last = json.loads(Run(out).metrics.read_text().splitlines()[-1])
    assert last["step"] == plan.steps
    assert abs(one["val_accuracy"] - last["val_accuracy"]) <= 0.01
    assert one["val_loss"] == pytest.approx(last["val_loss"], abs=1e-4)
    assert one["train_loss"] == pytest.approx(last["train_loss"], abs=1e-4)
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == [], "Ray's notes are left"

    monkeypatch.undo()
    with pytest.raises(ResumeError, match="holds another run"):
        cluster.train(tiny_work, dataclasses.replace(recipe, seed=1), str(out), address=nodes.address, workers=1)


def test_one_worker_learns_what_one_process_learns(nodes, tiny_work, tiny, tmp_path):
    recipe = recipes.get("fast", [*tiny, "precision=fp32", "dropout=0", "epochs=1"])
    out = tmp_path / "cluster"
    cluster.train(tiny_work, recipe, str(out), address=nodes.address, workers=1)
    one = training.train(tiny_work, recipe, tmp_path / "one", quiet=True)
    last = json.loads(Run(out).metrics.read_text().splitlines()[-1])
    assert last["step"] == one["step"]
    assert last["train_loss"] == pytest.approx(one["train_loss"], abs=1e-4)
    assert last["val_loss"] == pytest.approx(one["val_loss"], abs=1e-4)
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == [], "Ray's notes are left"


@pytest.mark.parametrize(
    "error", [MissingExtraError("HEIC", "heic"), DataError("It is gone.", expected="a file", mend="look for it")]
)
def test_a_workers_refusal_is_the_drivers(error, monkeypatch, tmp_path):
    def refuse(training, folder):
        raise error

    monkeypatch.setattr(cluster, "_learn", refuse)
    monkeypatch.setattr(cluster, "get_context", lambda: SimpleNamespace(get_world_size=lambda: 1))
    folder = Folder(str(tmp_path))
    cluster.learn(cluster.Training(work="", out=folder.root, recipe=recipes.get("demo"), init=None, gpus=0))
    noted = cluster._refusal(json.loads(folder.read(cluster.REFUSAL)))
    assert (type(noted), str(noted), vars(noted)) == (type(error), str(error), vars(error))
    assert str(pickle.loads(pickle.dumps(noted))) == str(error)


def test_what_cannot_be_had_is_refused(tmp_path):
    recipe = recipes.get("fast")
    with pytest.raises(ConfigError, match="0 workers"):
        cluster.train(tmp_path, recipe, str(tmp_path / "run"), address="local", workers=0)
    with pytest.raises(ClusterError, match="No cluster answers"):
        cluster.train(tmp_path, recipe, str(tmp_path / "run"), address="127.0.0.1:1")


def test_a_resume_state_is_recorded_when_its_tensors_are_there(tmp_path, monkeypatch):
    folder, here, order = Folder(f"memory://{tmp_path.name}/run"), Run(tmp_path / "here"), []
    write, remove = Folder.write, Folder.remove
    monkeypatch.setattr(Folder, "write", lambda self, name, data: (order.append(name), write(self, name, data)))
    monkeypatch.setattr(Folder, "remove", lambda self, name: (order.append(f"-{name}"), remove(self, name)))
    here.last.mkdir(parents=True)
    sent = {}
    for step in (1, 2):
        (here.last / f"step-{step:08d}.safetensors").write_text(f"tensors of {step}")
        (here.last / f"step-{step - 1:08d}.safetensors").unlink(missing_ok=True)
        (here.last / "state.json").write_text(f"state of {step}")
        cluster.keep(folder, here, sent)
    assert order == [
        "last/step-00000001.safetensors",
        "last/state.json",
        "last/step-00000002.safetensors",
        "last/state.json",
        "-last/step-00000001.safetensors",
    ]


def test_a_run_is_kept_at_an_address_and_fetched_from_there(tmp_path, monkeypatch):
    folder, here, sent = Folder(f"memory://{tmp_path.name}/run"), Run(tmp_path / "here"), {}
    for step in (1, 2):
        here.last.mkdir(parents=True, exist_ok=True)
        here.config.write_text("{}")
        (here.last / f"step-{step:08d}.safetensors").write_text(f"tensors of {step}")
        (here.last / "state.json").write_text(f"state of {step}")
        events = here.root / f"events.out.tfevents.{step}"
        events.write_text(f"events of {step}")
        cluster.keep(folder, here, sent)
        with monkeypatch.context() as still:
            still.setattr(Folder, "write", lambda *_: pytest.fail("nothing has changed"))
            cluster.keep(folder, here, sent)
        events.unlink()
        (here.last / f"step-{step:08d}.safetensors").unlink()
    assert folder.names("last") == ["state.json", "step-00000002.safetensors"]
    assert folder.names() == ["config.json", "events.out.tfevents.2"]
    there = Run(tmp_path / "there")
    cluster.fetch(folder, there)
    assert (there.last / "state.json").read_text() == "state of 2"
    assert (there.last / "step-00000002.safetensors").read_text() == "tensors of 2"
    assert there.config.read_text() == "{}"
    folder.remove_folder("last")
    assert folder.names("last") == []
