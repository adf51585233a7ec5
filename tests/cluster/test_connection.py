"""Asking every node: one that has just been lost is not waited for once Ray knows, one that fails is told."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys

import pytest

pytest.importorskip("ray", reason="needs the extra perceived[cluster]")

from ray.exceptions import RaySystemError

from perceived.cluster import connection
from perceived.errors import ClusterError, DataError


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes, the second of which is lost and listed as alive ``listed`` times more."""

    def build(listed):
        left = iter(range(listed))

        def nodes():
            lost = {"NodeID": "b", "NodeManagerAddress": "10.0.0.2", "Alive": next(left, None) is not None}
            return [{"NodeID": "a", "NodeManagerAddress": "10.0.0.1", "Alive": True}, lost]

        def ask(asked, function):
            if len(asked) > 1:
                raise RaySystemError("node b is dead")
            return [function() for _ in asked]

        monkeypatch.setattr(connection.ray, "nodes", nodes)
        monkeypatch.setattr(connection, "_ask", ask)
        monkeypatch.setattr(connection.time, "sleep", lambda seconds: None)

    return build


LOCAL = """
import ray
from perceived.cluster import connection
with connection.connected("local"):
    print(ray.get_runtime_context().gcs_address, len(ray.nodes()))
"""


def test_a_local_cluster_is_one_of_its_own_beside_another_on_this_machine(nodes):
    """In a process of its own: Ray forgets a cluster that it has started less well than one that it has joined."""
    nodes.grow()
    told = subprocess.run([sys.executable, "-c", LOCAL], check=True, capture_output=True, text=True).stdout
    address, count = told.split()[-2:]
    assert (address != nodes.address, count) == (True, "1")


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (subprocess.CalledProcessError(1, "ray"), "is no head node of Ray"),
        (subprocess.TimeoutExpired("ray", 30), "has not said within 30 s that it is a head node"),
        (None, None),
    ],
)
def test_something_else_that_listens_is_no_head_node(failure, says, monkeypatch):
    asked = []

    def ask(command, **_):
        asked.append(command)
        if failure:
            raise failure

    monkeypatch.setattr(connection.subprocess, "run", ask)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ClusterError, match=says) if says else contextlib.nullcontext():
            connection._reach(address)
    assert [command[-2:] for command in asked] == [["--address", address]]


def test_a_head_node_says_that_it_is_one(nodes):
    connection._reach(nodes.address)


def test_a_node_that_was_lost_is_left_out_once_the_cluster_knows(cluster):
    cluster(listed=3)
    assert connection.on_every_node(lambda: "here") == [("10.0.0.1", "here")]


def test_a_node_that_runs_no_tasks_is_told_in_the_end(cluster, monkeypatch):
    cluster(listed=10**6)
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.05)
    with pytest.raises(ClusterError, match=r"runs no tasks: .*node b is dead"):
        connection.on_every_node(lambda: "here")


def test_an_error_of_ours_is_not_asked_for_again(cluster, monkeypatch):
    calls = []

    def ask(asked, function):
        calls.append(asked)
        raise RaySystemError("task failed") from DataError("no such folder")

    cluster(listed=0)
    monkeypatch.setattr(connection, "_ask", ask)
    with pytest.raises(DataError, match="no such folder"):
        connection.on_every_node(len)
    assert len(calls) == 1
