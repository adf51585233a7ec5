"""The way to a cluster: one that is started here, or one that runs, is in reach and has what this process has."""

from __future__ import annotations

import contextlib
import importlib
import logging
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from perceived.errors import ClusterError, PerceivedError
from perceived.wording import first_line

Answer = TypeVar("Answer")

LOCAL = "local"
"""The address that stands for a cluster of this machine alone, started for this command and stopped after it."""
AUTO = "auto"
"""The address that stands for the cluster this machine is a node of."""
REACH_SECONDS = 5.0
"""How long an address may take to accept a connection."""
HEALTH_SECONDS = 30.0
"""How long a head node may take to say that it is one: where something else listens, Ray would wait for ever."""
ANSWER_SECONDS = 60.0
"""How long the nodes of a cluster may take to say what is installed on them."""
LOGGERS = ("ray", "ray.data", "ray.train", "ray.serve")
"""What would tell of Ray's own doings in between; errors are raised, and progress is shown, by us."""
INSTALLED = {
    "perceived": "perceived",
    "ray": "ray",
    "onnxruntime": "onnxruntime",
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
}
"""Packages whose versions must be the same everywhere, for results depend on them, and what each is imported as:
``onnxruntime`` may come from ``onnxruntime-gpu``."""


@contextlib.contextmanager
def connected(address: str, *, show: bool = False) -> Iterator[None]:
    """Connect this process to the cluster at ``address``: ``HOST:PORT``, ``"auto"`` or ``"local"``.

    With ``show``, what the processes of this job print is printed here.

    Raises:
        ClusterError: nothing answers there, or it runs other versions.
    """
    if ray.is_initialized():
        raise ClusterError(
            "This process is connected to a cluster already.",
            mend="call ray.shutdown() first: the connection is made, and ended, here",
        )
    try:
        if address == LOCAL:
            _start(show)
        else:
            _join(address, show)
            _check_nodes(_reporter()())
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
    finally:
        with contextlib.suppress(RayError):
            ray.shutdown()


def resources() -> dict[str, int]:
    """Return how many processors (``"CPU"``) and graphics cards (``"GPU"``) the cluster has, at least 1 and 0."""
    found = ray.cluster_resources()
    return {"CPU": max(1, int(found.get("CPU", 1))), "GPU": int(found.get("GPU", 0))}


def idle(kind: str) -> int:
    """Return how many processors (``"CPU"``) or graphics cards (``"GPU"``) nobody uses at the moment."""
    return int(ray.available_resources().get(kind, 0))


def smallest_node() -> int:
    """Return the processors of the node that has the fewest, of those that have any."""
    each = (int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
    return min((processors for processors in each if processors), default=1)


def check_seen(*paths: str | None) -> None:
    """Raise :class:`ClusterError` if the node this runs on does not see one of the paths."""
    for path in paths:
        if path is not None and not Path(path).exists():
            raise ClusterError(
                f"Node {ray.util.get_node_ip_address()} does not see {path}.",
                expected="the same path on every node",
                mend="put it on a drive that all nodes mount",
            )


def own_error(error: BaseException | None) -> PerceivedError | None:
    """Return the error of ours that lies under what Ray raised, or ``None``."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        if isinstance(one, PerceivedError):
            return one
        seen.add(id(one))
        failures = getattr(one, "worker_failures", {})
        waiting += [*failures.values(), one.__cause__, getattr(one, "cause", None)]
    return None


@contextlib.contextmanager
def failures(what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn what Ray raises inside into the error of ours under it, or into a :class:`ClusterError`.

    ``kinds`` are errors besides Ray's own.
    """
    try:
        yield
    except (RayError, TimeoutError, *kinds) as error:
        if ours := own_error(error):
            raise ours from error
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ClusterError(
            f"{what} failed on the cluster: {lines[-1].strip() if lines else type(error).__name__}.",
            mend="run the same command again, which goes on where it stopped; the logs of the nodes say more",
        ) from error


def _start(show: bool) -> None:
    try:
        # without "local", Ray would join a cluster that runs here already
        ray.init("local", include_dashboard=False, log_to_driver=show, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises bare ones
        raise ClusterError(
            f"A cluster cannot be started on this machine: {first_line(error)}",
            expected="free memory, also in /dev/shm, where Ray keeps its objects",
            mend="free some, or leave --cluster out: one machine needs none",
        ) from error


def _join(address: str, show: bool) -> None:
    if "://" in address:
        raise ClusterError(
            f"{address} is the address of a client, not of a cluster.",
            expected="HOST:PORT of the head node, such as 10.0.0.1:6379, or 'auto' on a node of the cluster",
            mend="run the command on a node, or: ray job submit --address http://HEAD:8265 -- perceived …",
        )
    if address != AUTO:
        _reach(address)
    try:
        ray.init(address, log_to_driver=show, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises bare ones
        raise ClusterError(
            f"The cluster {address} cannot be joined: {first_line(error)}",
            expected=f"a Ray {ray.__version__} cluster, Python {platform.python_version()}, of which this is a node",
            mend="run the command on a node of the cluster (ray start --address=HOST:PORT makes this machine one)",
        ) from error


def _reach(address: str) -> None:
    """Connect once and hang up, and see that a head node listens: Ray itself would try for minutes, or for ever."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ClusterError(
            f"{address} is no address of a cluster.",
            expected="HOST:PORT of a head node, such as 10.0.0.1:6379, or auto, or local",
            mend="use --cluster local for one of this machine alone",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"No cluster answers at {address}: {error}.",
            expected="HOST:PORT of a head node, such as 10.0.0.1:6379",
            mend="start one (ray start --head --port=6379), or use --cluster local",
        ) from error
    ask = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--skip-version-check", "--address", address]
    try:
        subprocess.run(ask, check=True, capture_output=True, timeout=HEALTH_SECONDS)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        silent = isinstance(error, subprocess.TimeoutExpired)
        raise ClusterError(
            f"What listens at {address} has not said within {HEALTH_SECONDS:.0f} s that it is a head node of Ray."
            if silent
            else f"What listens at {address} is no head node of Ray.",
            expected="the port that 'ray start --head' names, 6379 unless said otherwise",
            mend="look at the port: the dashboard's is 8265, that of Ray's client 10001",
        ) from error


def on_every_node(function: Callable[..., Answer], *arguments: Any) -> list[tuple[str, Answer]]:
    """Call ``function`` on every node, and return each node's address and answer.

    Ray lists a node that has just been lost for up to a minute: as long, those that are left are asked again.

    Raises:
        ClusterError: a node does not answer, or runs no tasks.
        PerceivedError: as ``function`` raises.
    """
    ends = time.monotonic() + ANSWER_SECONDS
    while True:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        try:
            answers = _ask(nodes, function, *arguments)
        except RayError as error:
            if ours := own_error(error):
                raise ours from error
            if time.monotonic() < ends:
                time.sleep(1)
                continue
            raise ClusterError(
                f"A node of the cluster runs no tasks: {first_line(error)}", mend="see its logs"
            ) from error
        return [(node["NodeManagerAddress"], answer) for node, answer in zip(nodes, answers, strict=True)]


def _ask(nodes: Sequence[dict[str, Any]], function: Callable[..., Answer], *arguments: Any) -> list[Answer]:
    """Call ``function`` on these nodes."""
    ask = ray.remote(num_cpus=0, max_retries=0)(function)
    asked = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(*arguments)
        for node in nodes
    ]
    try:
        answers: list[Answer] = ray.get(asked, timeout=ANSWER_SECONDS)
    except GetTimeoutError as error:
        raise ClusterError(
            f"The cluster's {len(nodes)} nodes did not all answer within {ANSWER_SECONDS:.0f} s.",
            mend="see 'ray status' and the nodes' logs; remove nodes that hang",
        ) from error
    return answers


def _check_nodes(here: dict[str, str]) -> None:
    """Compare what is installed on every node with what is installed ``here``."""
    for node, there in on_every_node(_reporter()):
        for package, version in here.items():
            if there[package] != version:
                raise ClusterError(
                    f"Node {node} has {package} {there[package]}, this process {version}.",
                    expected="the same versions on every node and here",
                    mend=f"install {package} {version} there, or run this from an environment like the nodes'",
                )


def _reporter() -> Callable[[], dict[str, str]]:
    """Return a function that travels by value, because a node may lack this package."""
    packages = INSTALLED

    def report() -> dict[str, str]:
        versions = {"Python": ".".join(platform.python_version_tuple()[:2])}
        for package, module in packages.items():
            try:
                versions[package] = importlib.import_module(module).__version__
            except ImportError:
                versions[package] = "not at all"
        return versions

    return report
