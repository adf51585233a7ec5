"""SIGTERM in the middle of load: whoever was let in is answered, and the process ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from perceived.server.stopping import SIGNALS, gently

httpx2 = pytest.importorskip("httpx2", reason="needs the extra perceived[serve]")


class Load:
    """Callers with connections of their own, who ask again and again until the server is gone."""

    def __init__(self, url: str, picture: bytes, callers: int) -> None:
        self.answered = self.lost = 0
        self._url, self._picture = url, picture
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(callers)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with httpx2.Client(base_url=self._url, timeout=60) as http:
            while True:
                try:
                    good = http.post("/v1/predict", files={"files": ("a.png", self._picture)}).is_success
                except httpx2.ConnectError:
                    return
                except httpx2.TransportError:
                    good = False
                with self._lock:
                    self.answered += good
                    self.lost += not good

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


ignored = pytest.mark.skipif(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, reason="nohup ignores SIGHUP")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=ignored)])
@pytest.mark.parametrize("workers", [1, 2])
def test_whoever_was_let_in_is_answered(start, tiny_model, encoded, tmp_path, wait_until, workers, number):
    process, url = start(tiny_model, "--workers", str(workers))
    load = Load(url, encoded(200, size=(400, 300)), callers=8)
    wait_until(lambda: load.answered >= 30)
    process.send_signal(number)
    load.join()
    process.wait(timeout=60)
    assert load.lost == 0
    assert "traceback" not in (tmp_path / "log").read_text().lower()
    assert process.returncode == 0


def test_an_answer_under_way_is_finished_and_readiness_is_taken_back(start, tiny_model, heavy, metric, wait_until):
    process, url = start(tiny_model, threads=1, max_body=2**28, max_memory=2**28)
    answers: list[httpx2.Response] = []
    files = [("files", (f"{i}.png", heavy)) for i in range(60)]
    caller = threading.Thread(target=lambda: answers.append(httpx2.post(f"{url}/v1/predict", files=files, timeout=60)))
    with httpx2.Client(base_url=url) as kept:
        assert kept.get("/readyz").is_success
        caller.start()
        wait_until(lambda: metric(url, "perceived_held_bytes") > 0)
        process.send_signal(signal.SIGTERM)
        seen: list[httpx2.Response] = []
        wait_until(lambda: seen.append(kept.get("/readyz")) or seen[-1].status_code == 503)
        assert not answers, "the answer is still under way"
        last = seen[-1]
        assert last.headers["connection"] == "close"
    caller.join()
    process.wait(timeout=60)
    assert answers[0].is_success
    assert len(answers[0].json()["pictures"]) == 60


def test_who_cannot_be_answered_before_the_time_is_over_is_told_to_come_again(
    start, tiny_model, encoded, tmp_path, metric, wait_until
):
    process, url = start(tiny_model, threads=1, stop_timeout=1)
    answers: list[httpx2.Response] = []
    large = encoded(9, size=(5000, 5000))
    files = [("files", (f"{i}.png", large)) for i in range(64)]
    caller = threading.Thread(target=lambda: answers.append(httpx2.post(f"{url}/v1/predict", files=files, timeout=60)))
    caller.start()
    wait_until(lambda: metric(url, "perceived_held_bytes") > 0)
    process.send_signal(signal.SIGTERM)
    caller.join()
    process.wait(timeout=60)
    assert (answers[0].status_code, answers[0].headers["retry-after"]) == (503, "1")
    assert answers[0].json()["type"] == "/problems/not-ready"
    assert "traceback" not in (tmp_path / "log").read_text().lower()


def test_ctrl_c_reaches_every_process_and_what_is_under_way_is_finished(start, tiny_model, heavy, metric, wait_until):
    process, url = start(tiny_model, "--workers", "2", threads=1, max_body=2**28, max_memory=2**28)
    answers: list[httpx2.Response] = []
    files = [("files", (f"{i}.png", heavy)) for i in range(64)]
    caller = threading.Thread(target=lambda: answers.append(httpx2.post(f"{url}/v1/predict", files=files, timeout=90)))
    caller.start()
    wait_until(lambda: metric(url, "perceived_held_bytes") > 0)
    assert not answers
    for pid in (*children(process.pid), process.pid):
        os.kill(pid, signal.SIGINT)
    caller.join()
    process.wait(timeout=90)
    assert [row["error"] for row in answers[0].json()["pictures"]] == [None] * 64


def test_ctrl_c_ends_a_server_of_one_process_as_it_ends_other_commands(start, tiny_model):
    process, _ = start(tiny_model)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130


def children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def test_a_taken_port_is_a_sentence(start, tiny_model):
    _, url = start(tiny_model)
    port = url.rpartition(":")[2]
    command = [sys.executable, "-m", "perceived", "serve", "--model", str(tiny_model), "--port", port]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 2
    assert f"Cannot listen on 127.0.0.1:{port}" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_closed_terminal_ends_a_server_that_ignores_other_signals():
    heard = []
    before = {number: signal.getsignal(number) for number in SIGNALS}

    async def serve() -> None:
        with gently(lambda: heard.append("announced"), seconds=0):
            os.kill(os.getpid(), signal.SIGHUP)
            async with asyncio.timeout(10):
                while len(heard) < 2:
                    await asyncio.sleep(0.01)

    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, lambda *_: heard.append("passed on"))
        asyncio.run(serve())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert heard == ["announced", "passed on"]
