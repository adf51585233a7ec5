"""Start the server: bind the socket, then one process, or several that share it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from perceived.errors import ConfigError, StorageError
from perceived.predictor import Predictor
from perceived.server import logs, metrics
from perceived.server.app import create_app
from perceived.server.connections import PatientProtocol
from perceived.server.service import Service, open_predictor
from perceived.server.settings import Settings

KEEP_ALIVE = 15
"""Seconds for which an idle connection is kept."""
BACKLOG = 1024
OTHER_FILES = 64
"""Files that a process has open beside its connections."""
HEALTH = 30
"""Seconds after which a worker that does not answer its parent is replaced; more than a busy machine needs."""
REST = 5
"""Seconds between two replacements, so that workers that cannot start leave the processors to the others."""
SLICE = 0.1
"""Seconds between two looks at what else has happened while a worker's answer is awaited."""


def run(settings: Settings, *, announce: Callable[[str], None] = print) -> None:
    """Serve until a signal says to stop; ``announce`` is told the server's address.

    Raises:
        InputError: the model cannot be opened, or the address cannot be listened on.
    """
    allow_files(settings.max_connections + OTHER_FILES)
    predictor = open_predictor(settings)
    with bind(settings.host, settings.port) as listener:
        announce(url(*listener.getsockname()[:2]))
        if settings.workers == 1:
            serve(settings, listener, predictor)
            return
        del predictor
        logs.configure()
        with shared_counts():
            app = partial(worker_app, settings, listener)
            config = configuration(settings, app, factory=True, workers=settings.workers)
            Workers(config, sockets=[listener]).run()


def allow_files(count: int) -> None:
    """Let this process and those it starts have ``count`` files open at the same time; a connection is one.

    Raises:
        ConfigError: the system allows fewer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise ConfigError(
            f"The system allows {hard} open files, and connections take up to {count}.",
            mend=f"ulimit -n {count}, or set PERCEIVED_SERVE_MAX_CONNECTIONS lower",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Workers(Multiprocess):
    """Processes that share a socket, which stops listening before they are told to stop."""

    _rests_until = 0.0

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        super().__init__(config, sockets)
        if ignored:  # nohup
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def handle_hup(self) -> None:
        """End, as a closed terminal ends whatever runs there; uvicorn would start the workers anew."""
        self.handle_term()

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have ended or hang, after a rest where others just were; signals are heard first."""
        if any(map(self._is_lost, self.processes)) and time.monotonic() > self._rests_until:
            super().keep_subprocess_alive()
            self._rests_until = time.monotonic() + REST

    def _is_lost(self, worker: Process) -> bool:
        """Return whether a worker has ended, by force where it does not answer; ``False`` where a signal comes first.

        uvicorn would wait without a look at signals, and holds the worker's end of the pipe, which hides its death.
        """
        worker.child_conn.close()
        deadline = time.monotonic() + HEALTH
        try:
            worker.parent_conn.send(b"ping")
            while not worker.parent_conn.poll(SLICE):
                if self.signal_queue:
                    return False
                if time.monotonic() > deadline:
                    worker.kill()
            worker.parent_conn.recv()
        except (OSError, EOFError):  # it has ended, or is about to
            worker.process.join(1)
            return True
        return False

    def terminate_all(self) -> None:
        for listener in self.sockets:
            shut(listener)
        super().terminate_all()


def serve(settings: Settings, listener: socket.socket, predictor: Predictor) -> None:
    """Serve in this process."""
    logs.configure()
    service = Service(settings, predictor)
    server = uvicorn.Server(configuration(settings, create_app(service)))

    def stop_listening() -> None:
        ignore(listener)
        shut(listener)

    service.stop_listening = stop_listening
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn hands the signal on once it has stopped
    server.run([listener])


def ignore(listener: socket.socket) -> None:
    """Leave new connections to the other processes that share the socket."""
    asyncio.get_running_loop().remove_reader(listener)


def shut(listener: socket.socket) -> None:
    """Take no new connections, in any process that shares the socket, so that callers turn elsewhere at once."""
    with contextlib.suppress(OSError):  # the system knows no such thing
        listener.shutdown(socket.SHUT_RD)


def worker_app(settings: Settings, listener: socket.socket) -> ASGIApp:
    """Return the app of one of several processes, which ends where their parent does."""
    logs.configure()
    threading.Thread(target=stop_without_parent, args=(listener,), daemon=True).start()
    service = Service(settings, open_predictor(settings))
    service.stop_listening = partial(ignore, listener)
    return create_app(service)


def stop_without_parent(listener: socket.socket) -> None:
    """Wait until this process' parent has ended, however that was, then stop as if told to, and so do its siblings."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    shut(listener)
    signal.raise_signal(signal.SIGTERM)


def configuration(settings: Settings, app: object, **more: object) -> uvicorn.Config:
    """Return what uvicorn needs to know."""
    patient = partial(PatientProtocol, most=settings.max_connections, seconds=settings.header_timeout)
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        loop="asyncio",  # whatever else is installed: the protocol is tried with its transports
        http=patient,  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=settings.stop_timeout,
        timeout_worker_healthcheck=HEALTH,
        **more,  # type: ignore[arg-type]
    )


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address: who calls before the server answers is kept waiting.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise address_taken(host, port, error.strerror or str(error)) from error
    listener.set_inheritable(True)
    return listener


def url(host: str, port: int) -> str:
    """Return what a browser calls an address."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def address_taken(host: str, port: int, why: str = "another program has it, or no node") -> ConfigError:
    """Return the error for an address that cannot be bound."""
    return ConfigError(
        f"Cannot listen on {host}:{port}: {why}.",
        mend="stop what listens there, or choose another with --port and --host",
    )


@contextlib.contextmanager
def shared_counts() -> Iterator[None]:
    """Let several processes count together, through a folder that is deleted at the end.

    Raises:
        StorageError: there is nowhere to make it.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="perceived-metrics-")
    except OSError as error:
        raise StorageError(
            f"Several workers count together in a temporary folder, and none can be made: {error.strerror or error}.",
            mend="mount a /tmp that can be written, name one in TMPDIR, or use one worker",
        ) from error
    with made as folder:
        os.environ[metrics.FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[metrics.FOLDER]
