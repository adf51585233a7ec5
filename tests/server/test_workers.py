"""Several processes behind one address: they answer alike, count together, and one that dies is replaced."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

httpx2 = pytest.importorskip("httpx2", reason="needs the extra perceived[serve]")
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads /proc")


def workers(parent: int) -> set[int]:
    """Return the processes of a server that answer."""
    return {int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split() if serves(int(pid))}


def serves(process: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return False


def resident(process: int) -> int:
    """Return a process' resident memory in MiB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def test_two_workers_count_together_and_one_that_is_killed_is_replaced(start, tiny_model, encoded, metric, wait_until):
    process, url = start(tiny_model, "--workers", "2")

    def ask(shade: int) -> httpx2.Response:
        return httpx2.post(f"{url}/v1/predict", files={"files": ("a.png", encoded(shade))}, timeout=60)

    answers = [ask(shade) for shade in range(0, 250, 10)]
    assert {answer.json()["pictures"][0]["model"] for answer in answers} == {"tiny"}
    counted = 'perceived_requests_total{route="/v1/predict",status="200"}'
    wait_until(lambda: metric(url, counted) == len(answers))
    before = workers(process.pid)
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: len(workers(process.pid)) == 2 and workers(process.pid) != before)
    assert all(ask(shade).is_success for shade in range(0, 250, 25))
    wait_until(lambda: metric(url, counted) == len(answers) + 10)
    wait_until(lambda: metric(url, "perceived_connections") == 1)


def test_a_worker_that_is_told_to_stop_leaves_the_address_to_the_others(start, tiny_model, tmp_path, wait_until):
    process, url = start(tiny_model, "--workers", "2")
    wait_until(lambda: (tmp_path / "log").read_text().count("Application startup complete") == 2)
    before = workers(process.pid)
    os.kill(min(before), signal.SIGTERM)
    while min(before) in workers(process.pid):
        assert httpx2.get(f"{url}/healthz", timeout=60).is_success
    wait_until(lambda: len(workers(process.pid)) == 2)
    assert all(httpx2.get(f"{url}/healthz", timeout=60).is_success for _ in range(20))


def test_a_worker_that_is_slow_to_start_or_dies_then_keeps_nobody_waiting(start, tiny_model, tmp_path, wait_until):
    process, _ = start(tiny_model, "--workers", "2")
    wait_until(lambda: (tmp_path / "log").read_text().count("Application startup complete") == 2)
    known = workers(process.pid)

    def soon(holds: Callable[[], object]) -> float:
        """Wait for less than half as long as for a worker that does not answer, and return how long."""
        started = time.monotonic()
        wait_until(holds)
        waited = time.monotonic() - started
        assert waited < 15
        return waited

    waited: list[float] = []

    def killed_then_halted(worker: int) -> int:
        """Return the process that replaces a worker, halted while its parent awaits an answer."""
        os.kill(worker, signal.SIGKILL)
        waited.append(soon(lambda: workers(process.pid) - known))
        (starting,) = workers(process.pid) - known
        os.kill(starting, signal.SIGSTOP)
        known.add(starting)
        time.sleep(1)
        return starting

    starting = killed_then_halted(killed_then_halted(min(known)))
    assert waited[1] > 2, "what cannot start is not started again and again"
    try:
        process.send_signal(signal.SIGTERM)
        soon(lambda: "Received SIGTERM" in (tmp_path / "log").read_text())
    finally:
        os.kill(starting, signal.SIGCONT)
    process.wait(timeout=60)


def test_workers_whose_parent_is_killed_answer_what_they_have_and_leave_the_address(
    start, tiny_model, heavy, metric, wait_until, monkeypatch, tmp_path
):
    from perceived.server.run import bind

    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the parent leaves its folder behind
    process, url = start(tiny_model, "--workers", "2", threads=1)
    wait_until(lambda: len(workers(process.pid)) == 2)
    left = workers(process.pid)
    form = [("files", (f"{i}.png", heavy)) for i in range(20)]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: httpx2.post(f"{url}/v1/predict", files=form, timeout=60))
        wait_until(lambda: metric(url, "perceived_held_bytes") > 0)
        try:
            process.kill()
            wait_until(lambda: not any(map(serves, left)))
        finally:
            for pid in filter(serves, left):
                os.kill(pid, signal.SIGKILL)
    assert len(answer.result().json()["pictures"]) == 20
    bind("127.0.0.1", int(url.rpartition(":")[2])).close()


def test_memory_is_bounded_under_more_load_than_can_be_answered(start, tiny_model, heavy, metric):
    """Forty callers with 2 MB each, who do not wait when they are told to: 200 or 503, and nothing is piled up."""
    limits = {"queue": 4, "max_files": 1, "threads": 1, "max_memory": 8 * 2**20, "max_body": 4 * 2**20}
    process, url = start(tiny_model, **limits)
    files = {"files": ("a.png", heavy)}
    httpx2.post(f"{url}/v1/predict", files=files, timeout=60)
    before, highest = resident(process.pid), 0

    def ask(_: int) -> httpx2.Response:
        return httpx2.post(f"{url}/v1/predict", files=files, timeout=60)

    with ThreadPoolExecutor(40) as pool:
        answers = []
        for answer in pool.map(ask, range(200)):
            answers.append(answer)
            highest = max(highest, resident(process.pid))
    assert {answer.status_code for answer in answers} == {200, 503}
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)
    assert highest < before + 150
    assert metric(url, "perceived_held_bytes") == 0
