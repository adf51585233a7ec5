"""Comparing and tuning on two nodes: the runs that one process would make, at the same time."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("ray", reason="needs the extra perceived[cluster]")
pytest.importorskip("optuna", reason="needs the extra perceived[tune]")

from perceived import compare, recipes, train as training, tune
from perceived.checkpoint import Run
from perceived.cluster import trials as cluster
from perceived.cluster.trials import trials
from perceived.errors import ClusterError, ConfigError


class EnoughError(Exception):
    """Raised by a judge that has seen enough."""


def test_a_search_and_a_comparison_make_the_runs_of_one_process(nodes, tiny_work, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "MOST_VALIDATING", 1e6)
    with trials(nodes.grow(), tiny_work, tmp_path, workers=2) as there:
        assert (there.at_once, there.processors) == (2, 1)
        found = tune.tune(
            tiny_work, tmp_path / "tuning", trials=2, settings=settings, learn=there.learn, at_once=there.at_once
        )
        compared = compare.compare(
            tiny_work, ["test_resnet"], tmp_path / "compared", minutes=0.01, seeds=2, settings=settings,
            run_all=there.run_all,
        )  # fmt: skip
        with pytest.raises(EnoughError):
            there.learn(tiny_work, recipes.get("fast", [*settings, "epochs=50"]), tmp_path / "ended", stop)
        with pytest.raises(ConfigError, match="no backbone named"):
            there.learn(tiny_work, recipes.get("fast", [*settings, "backbone=no_such_net"]), tmp_path / "run", stop)
    assert len({row["run"] for row in found["trials"]}) == 2
    assert all(row["validations"] for row in found["trials"])
    assert len(compared["leaderboard"][0]["seeds"]) == 2
    own = tmp_path / "tuning" / "runs" / next(row["run"] for row in found["trials"] if row["trial"] == 1)
    alone = training.train(tiny_work, recipes.get("fast", settings), tmp_path / "alone", quiet=True)
    last = json.loads(Run(own).metrics.read_text().splitlines()[-1])
    assert last["step"] == alone["step"]
    assert last["val_loss"] == pytest.approx(alone["val_loss"], rel=1e-3)
    ended = Run(tmp_path / "ended").metrics.read_text().splitlines()
    assert json.loads(ended[-1])["epoch"] < 50, "a judged run is ended, not finished"


class Here:
    """Stands in for Ray: tasks that are done when they are waited for, the last one first."""

    def __init__(self):
        self.jobs, self.running, self.most = [], [], 0

    def remote(self, **options):
        return lambda call: SimpleNamespace(remote=self.begin)

    def begin(self, function, job, shared):
        self.jobs.append((function, job))
        self.running.append(len(self.jobs) - 1)
        self.most = max(self.most, len(self.running))
        return self.running[-1]

    def wait(self, running, **options):
        self.running.remove(running[-1])
        return running[-1:], running[:-1]

    def get(self, number):
        if number in self.running:
            self.running.remove(number)
        function, job = self.jobs[number]
        return function(*job)


def test_no_more_runs_are_begun_than_may_train_at_once(monkeypatch):
    there = Here()
    monkeypatch.setattr(cluster, "ray", there)
    answers = cluster.Trials((), 1, 2).run_all(pow, [(2, n) for n in range(6)])
    assert list(answers) == [1, 2, 4, 8, 16, 32]
    assert (there.most, len(there.jobs)) == (2, 6)


def stop(line):
    raise EnoughError


def test_what_a_trial_lacks_is_said_in_our_words(nodes, tmp_path):
    with pytest.raises(ConfigError, match="0 workers"), trials(nodes.grow(1), workers=0):
        pass
    with pytest.raises(ClusterError, match="does not see"), trials(nodes.address, tmp_path / "nowhere") as there:
        next(there.run_all(len, [([],)]))
