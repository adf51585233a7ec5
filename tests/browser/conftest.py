"""A real browser before a real server whose model sees what the tests tell it to."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")

from perceived.predictor import Prepared  # noqa: E402 -- after the skip
from perceived.preprocess import Preprocessing  # noqa: E402
from perceived.spec import ModelSpec  # noqa: E402
from perceived.types import Box, Face, Picture, Prediction  # noqa: E402

PATIENCE = 120_000
"""Milliseconds; more than a busy machine needs."""


class Seer:
    """Stands where the predictor stands: a face in each quarter of a picture that is wide enough, else none.

    Its confidences are 0.6, 0.75, 0.9 and 0.999, by turns female and male.
    """

    spec = ModelSpec(
        name="seer",
        backbone="none",
        labels=("female", "male"),
        preprocessing=Preprocessing(height=6, width=4, mean=(0, 0, 0), std=(1, 1, 1)),
        threshold=0.7,
    )
    model_sha256 = "0" * 64

    def __init__(self, threshold: float = spec.threshold) -> None:
        self.threshold = threshold

    def prepare_one(self, pixels: np.ndarray[Any, Any], *, name: str, keep: bool) -> Prepared:
        height, width = pixels.shape[:2]
        faces = tuple(map(self._face, range(4), [width] * 4, [height] * 4)) if width >= 200 else ()
        picture = Picture(source=name, width=width, height=height, faces=faces, model="seer", model_sha256="0" * 64)
        return Prepared(picture, image=pixels if keep else None)

    def classify(self, batch: Sequence[Prepared]) -> Sequence[Prepared]:
        return batch

    def _face(self, index: int, width: int, height: int) -> Prediction:
        x, y = (index % 2) * width / 2 + width / 8, (index // 2) * height / 2 + height / 8
        sure = (0.6, 0.75, 0.9, 0.999)[index]
        labels = ("female", "male")[:: 1 if index % 2 == 0 else -1]
        return Prediction(
            face=Face(box=Box(x0=x, y0=y, x1=x + width / 4, y1=y + height / 4), detection_score=0.9),
            perceived_gender="uncertain" if sure < 0.7 else labels[0],
            confidence=sure,
            probability=dict(zip(labels, (sure, 1 - sure), strict=True)),
        )

    def explain(self, pixels: np.ndarray[Any, Any], prediction: Prediction) -> tuple[Any, np.ndarray[Any, Any]]:
        return pixels, np.array([[0.0, 1.0], [0.5, 0.0]])

    def corners(self, pixels: np.ndarray[Any, Any], prediction: Prediction) -> np.ndarray[Any, Any]:
        box = prediction.face.box
        return np.array([[box.x0, box.y0], [box.x1, box.y0], [box.x0, box.y1]])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium: the one ``PERCEIVED_CHROMIUM`` names, or Debian's, or a skip that says so.

    It ends with the module: while Playwright runs, so does an event loop, and other tests start their own.
    """
    chromium = os.environ.get("PERCEIVED_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium, or set PERCEIVED_CHROMIUM")
    arguments = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=arguments, timeout=PATIENCE)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def seer(start_server) -> Iterator[str]:
    """The address of a server with :class:`Seer`."""
    with start_server(Seer(), max_file=3_000_000) as url:
        yield url


@pytest.fixture(scope="session")
def new_seer() -> type[Seer]:
    """Makes a :class:`Seer` with a threshold of its own."""
    return Seer


@pytest.fixture
def open_page(browser, seer) -> Iterator[Any]:
    """A function that opens the page; what the page complains of, or asks of other servers, fails the test."""
    contexts, complaints = [], []

    def open_one(url: str = seer, *, ready: bool = True, **options: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": 1100, "height": 800}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if "Content Security Policy" in m.text else None)
        page.on("request", lambda r: complaints.append(r.url) if not r.url.startswith((url, "blob:")) else None)
        page.goto(url)
        if ready:
            page.locator("#about-server:not(:empty)").wait_for()
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def upload() -> SimpleNamespace:
    """Pictures in memory as Playwright takes them: with four faces, with none, and no picture at all."""
    from PIL import Image

    def picture(name: str, width: int, height: int) -> dict[str, Any]:
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(90, 160, (height, width, 3), np.uint8)).save(file, "JPEG")
        return {"name": name, "mimeType": "image/jpeg", "buffer": file.getvalue()}

    return SimpleNamespace(
        four=picture("four faces.jpg", 480, 360),
        none=picture("nobody.jpg", 100, 80),
        text={"name": "<img src=x onerror=alert(1)>.txt", "mimeType": "text/plain", "buffer": b"milk, eggs"},
        large={"name": "large.jpg", "mimeType": "image/jpeg", "buffer": b"x" * 3_000_001},
    )
