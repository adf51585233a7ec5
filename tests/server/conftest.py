"""What the server's tests share: a server, a way to ask it, and pictures in memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

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
