"""What the server's tests share: a server, a way to ask it, and pictures in memory."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image

httpx2 = pytest.importorskip("httpx2", reason="needs the extra perceived[serve]")


@pytest.fixture(scope="module")
def http(start_server) -> Iterator[httpx2.Client]:
    """Asks a server that has its settings as they come."""
    with start_server() as url, httpx2.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """A function that returns a picture of one brightness as a file's bytes; see ``write_model`` for its answer."""

    def encode(brightness: int, kind: str = "PNG", size: tuple[int, int] = (30, 40)) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", size, (brightness,) * 3).save(file, kind)
        return file.getvalue()

    return encode


@pytest.fixture(scope="session")
def heavy() -> bytes:
    """A picture of noise that takes a while to decode: 2 MB of PNG."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 1000, 3), np.uint8)).save(
        file, "PNG", compress_level=1
    )
    return file.getvalue()


@pytest.fixture
def start(tmp_path, wait_until):
    """A function that starts ``perceived serve`` on a free port and returns the process and its address.

    Words are its flags, named arguments its other settings.
    """
    processes: list[subprocess.Popen[str]] = []

    def start_one(model: Path, *arguments: str, **settings: object) -> tuple[subprocess.Popen[str], str]:
        with (tmp_path / "log").open("w") as log:
            processes.append(begin(model, log, *arguments, **settings))
        url = address_of(processes[-1])
        wait_until(lambda: is_ready(url))
        return processes[-1], url

    yield start_one
    for process in processes:
        process.terminate()  # not killed, which would leave its workers behind
        process.communicate()


def begin(model: Path, log: IO[str], *arguments: str, **settings: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "perceived", "serve", "--model", str(model), "--port", "0", *arguments]
    chosen = {f"PERCEIVED_SERVE_{name.upper()}": str(value) for name, value in settings.items()}
    environment = {**os.environ, "PERCEIVED_SERVE_DETECT": "false", "PERCEIVED_SERVE_DRAIN": "0.5", **chosen}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)


def address_of(process: subprocess.Popen[str]) -> str:
    """Return the address that a server prints as it starts."""
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found is not None
    return found[0]


def is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz").is_success
    except httpx2.TransportError:
        return False
