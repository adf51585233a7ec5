"""Serve from a cluster: the server's own app in the replicas of one Ray Serve deployment.

Ray Serve takes the place of sockets and processes: it starts replicas where there is room, as many
as the requests ask for, replaces those that fail, and exchanges them one after another when the same
application is deployed again. In a replica, faces of different requests go through the network together.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus
from starlette.types import ASGIApp

from perceived.cluster.connection import LOCAL, connected, failures, resources
from perceived.errors import ClusterError, ConfigError
from perceived.predictor import BATCH
from perceived.server import logs
from perceived.server.answers import Answer, Answerer, Begun
from perceived.server.app import create_app
from perceived.server.run import address_taken, url
from perceived.server.service import Finish, Service, open_predictor
from perceived.server.settings import Settings, load
from perceived.server.stopping import SIGNALS

NAME = "perceived"
THREADS = 1
"""Processors for each replica, unless the settings say otherwise."""
PENDING = 2
"""Requests for each thread at which another replica is started."""
WAITING = BATCH
"""Requests for each thread that one replica holds, a batch of one face each at least; beyond, they wait for another."""
HEALTH_PERIOD, HEALTH_TIMEOUT = 10, 30
"""Seconds between questions to a replica, and how long it may take to answer before it is replaced."""

START_SECONDS = 600
"""How long the app may take to answer: a cluster that grows by itself takes minutes."""


class Replica:
    """One predictor and the app over it."""

    def __init__(self, settings: Settings) -> None:
        logs.configure()
        lanes = 1 if settings.device == "cuda" else settings.threads
        self._service = Service(settings, open_predictor(settings), gather=partial(Gathered, lanes=lanes))

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return create_app(self._service)

    def check_health(self) -> None:
        """Raise before the self-test has passed, and from when the replica is told to stop."""
        self._service.check_ready()


class Gathered:
    """The second half of an answer: pictures that come while the network is busy go through it together afterwards.

    None waits for a batch to fill: what comes to an idle network is classified at once. ``lanes`` is how many
    batches are classified at the same time.
    """

    def __init__(self, answerer: Answerer, *, lanes: int) -> None:
        self._answerer = answerer
        self._lanes = lanes
        self._busy = 0
        self._free = asyncio.Event()
        self._free.set()
        self._together: Finish = serve.batch(
            max_batch_size=answerer.batch_size,
            batch_wait_timeout_s=0,
            max_concurrent_batches=lanes,
            batch_size_fn=_faces,
        )(self._classify)

    async def __call__(self, begun: Begun) -> Answer:
        await self._free.wait()  # Ray Serve would make a batch of each picture that comes by itself
        return await self._together(begun)

    async def _classify(self, begun: list[Begun]) -> list[Answer]:
        self._count(1)
        try:
            return await asyncio.to_thread(self._answerer.finish, begun)
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        self._busy += more
        if self._busy < self._lanes:
            self._free.set()
        else:
            self._free.clear()


def _faces(begun: list[Begun]) -> int:
    """Return how much of a batch these are; a picture without a face is some work, too."""
    return sum(max(one.faces, 1) for one in begun)


def application(settings: Settings, *, replicas: int) -> serve.Application:
    """Return the app as Ray Serve deploys it, with one to ``replicas`` replicas."""
    threads = settings.threads if "threads" in settings.model_fields_set else THREADS
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name=NAME,
        ray_actor_options={"num_cpus": threads, "num_gpus": int(settings.device == "cuda")},
        max_ongoing_requests=WAITING * threads,
        max_queued_requests=settings.queue,
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": replicas,
            "target_ongoing_requests": PENDING * threads,
        },
        health_check_period_s=HEALTH_PERIOD,
        health_check_timeout_s=HEALTH_TIMEOUT,
        graceful_shutdown_timeout_s=settings.stop_timeout,
    )
    bound: serve.Application = deployment.bind(settings.model_copy(update={"threads": threads}))
    return bound


def build(arguments: dict[str, Any]) -> serve.Application:
    """Return the app for a Serve config file: ``import_path: perceived.cluster.serve:build``.

    ``arguments`` are the server's settings; ``workers`` is the largest number of replicas.
    """
    settings = load(**arguments)
    return application(settings, replicas=settings.workers)


def run(settings: Settings, *, address: str, announce: Callable[[str], None] = print) -> None:
    """Deploy the app on the cluster at ``address``, or put it in place of the one deployed there.

    On a cluster of this machine alone it serves until a signal says to stop; elsewhere this returns
    once the app answers, and the cluster goes on serving.

    Raises:
        ClusterError: the cluster cannot be reached, or the app does not start on it.
        InputError: the model cannot be opened, or the address cannot be listened on.
    """
    if not settings.port:
        raise ConfigError("A cluster cannot take a free port.", mend="name one with --port")
    open_predictor(settings.model_copy(update={"device": "cpu"}))  # what cannot be used is refused here and now
    with connected(address), failures("Serving", RuntimeError):
        replicas = (
            settings.workers
            if "workers" in settings.model_fields_set
            else resources()["GPU" if settings.device == "cuda" else "CPU"]
        )
        if not replicas:
            raise ClusterError(
                "The cluster has no graphics card.", expected="one for each replica", mend="leave out --device cuda"
            )
        _listen(settings.host, settings.port)
        _deploy(application(settings, replicas=replicas))
        announce(url(settings.host, settings.port))
        if address == LOCAL:
            _wait()
            stop()


def _listen(host: str, port: int) -> None:
    """Start Ray Serve, or refuse where it runs already and listens elsewhere: it would go on doing so."""
    try:
        serve.start(http_options={"host": host, "port": port})
    except RuntimeError as error:
        if "Failed to bind" not in str(error):
            raise
        serve.shutdown()
        raise address_taken(host, port) from error
    listening = _get_global_client().http_config
    if (listening.host, listening.port) != (host, port):
        raise ClusterError(
            f"The cluster serves at {listening.host}:{listening.port} already, and cannot at {host}:{port}.",
            expected="one address for all that a cluster serves",
            mend=f"--host {listening.host} --port {listening.port}, or take down what is served there: serve shutdown",
        )


def _deploy(app: serve.Application) -> None:
    """Deploy the app and return when all of it answers.

    Raises:
        RuntimeError: it cannot start; the message is Ray's.
        ClusterError: it takes too long.
    """
    serve.run_many([serve.RunTarget(app, name=NAME, route_prefix="/")], wait_for_applications_running=False)
    ends = time.monotonic() + START_SECONDS
    while (state := serve.status().applications[NAME]).status != ApplicationStatus.RUNNING:
        if state.status == ApplicationStatus.DEPLOY_FAILED:
            raise RuntimeError(state.message)
        if time.monotonic() > ends:
            raise ClusterError(
                f"The app does not answer after {START_SECONDS} s. {state.message}",
                expected="a node with free processors for a replica, PERCEIVED_SERVE_THREADS of them",
                mend="add nodes, or set PERCEIVED_SERVE_THREADS lower; it starts by itself when there is room",
            )
        time.sleep(0.2)


def stop() -> None:
    """Take the app down once it has answered what is under way, and then Ray Serve, which would not wait for it."""
    serve.delete(NAME)
    serve.shutdown()


def _wait() -> None:
    """Return when a signal says to stop."""
    stop = threading.Event()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    stop.wait()
