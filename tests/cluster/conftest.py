"""A cluster of two nodes on this machine, and pictures to answer on it."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

STORE_BYTES = 80 * 2**20
"""Memory for objects on each node: little more than Ray's own minimum."""

ATTEMPTS = 2
PATIENT = {
    "RAY_worker_niceness": "0",  # Ray's workers give way to all else, 15 by default
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_gcs_server_request_timeout_seconds": "300",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
}
"""Ray's settings for machines that are busy with other things."""

NOISY = (
    "ignore::ResourceWarning",  # Ray leaves pipes and files of its processes to the garbage collector
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let Ray warn of what is its own."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            for rule in NOISY:
                item.add_marker(pytest.mark.filterwarnings(rule))


PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
"""What a node waits to be told by its agents, unless it is chosen for them."""


OURS = range(21_000, 32_000)
"""Ports that neither Ray's workers (10,002 to 19,999) nor connections that take any port (from 32,768) come to hold."""


def free_port() -> int:
    """Return a port that is free, and stays so until what it is for has started."""
    for port in random.sample(OURS, len(OURS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("every port is taken")


@pytest.fixture(scope="session")
def new_port() -> Callable[[], int]:
    """A function that returns a free port."""
    return free_port


class Nodes:
    """A cluster on this machine, with a head node and those that come and go."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        self._add(include_dashboard=False)
        self.address: str = self._cluster.address
        self._others: list[Any] = []

    def _add(self, **more: Any) -> Any:
        """Add a node; Ray gives its parts seconds to tell their ports and start, which a busy machine may exceed."""
        arguments = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": STORE_BYTES, **more}
        arguments |= {name: free_port() for name in PORTS}
        for _ in range(ATTEMPTS):
            try:
                return self._cluster.add_node(**arguments)
            except Exception as error:  # Ray raises a bare one
                if "timed out during startup" not in str(error):
                    raise
        pytest.skip(f"this machine is too busy to start a node of Ray: it timed out {ATTEMPTS} times")

    def grow(self, count: int = 2) -> str:
        """See to it that there are ``count`` nodes of one processor each; return the head's address."""
        while 1 + len(self._others) < count:
            self._others.append(self._add())
        self._cluster.wait_for_nodes(90)  # until one that was killed is known to be dead
        return self.address

    def kill(self) -> None:
        """Kill a node and everything on it, at once, as a loss of power would."""
        self._cluster.remove_node(self._others.pop(), allow_graceful=False)

    def stop(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """One cluster for all tests, because each takes seconds to start."""
    pytest.importorskip("ray", reason="needs the extra perceived[cluster]")
    import perceived.cluster  # noqa: F401 -- sets Ray's environment

    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
    cluster = Nodes()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes a folder of ``count`` small pictures, each of another brightness."""

    def write(count: int) -> Path:
        folder = tmp_path_factory.mktemp("album")
        for index in range(count):
            pixels = np.full((12, 10, 3), index % 256, np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:05d}.png")
        return folder

    return write


@pytest.fixture
def when() -> Callable[[Callable[[], bool], Callable[[], object]], threading.Thread]:
    """A function that starts a thread which does something as soon as something is true."""

    def start(ready: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
        def watch() -> None:
            ends = time.monotonic() + 300
            while not ready() and time.monotonic() < ends:
                time.sleep(0.02)
            act()

        thread = threading.Thread(target=watch)
        thread.start()
        return thread

    return start
