"""The server under load, beside the same predictor in a single-threaded loop.

    python benchmarks/serve.py --seconds 60
    python benchmarks/serve.py --requests 50000      memory after 5,000 requests and after the last
    python benchmarks/serve.py --overload            a queue of 8 pictures, and callers who do not wait

Many connections send pictures of mixed sizes, each twentieth of which is damaged. Every answer is
compared with the offline predictor's. Callers and server share the machine's processors.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from perceived import demo_faces
from perceived.errors import ImageError
from perceived.predictor import Predictor

WIDTHS = (178, 320, 640, 1280)
BAD_EVERY = 20
BOUNDARY = b"perceived-benchmark"


@dataclass(frozen=True, slots=True)
class Case:
    """A request as bytes, and the faces that must come back: ``None`` where the picture is damaged."""

    request: bytes
    picture: bytes
    faces: list[dict[str, Any]] | None


@dataclass(slots=True)
class Tally:
    """What the callers met."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    unexplained: int = 0
    """Answers 503 that do not say when to come again."""
    highest: int = 0
    """Most memory seen, in MiB."""
    memory: dict[int, int] = field(default_factory=dict)


def pictures(count: int) -> list[bytes]:
    """Return JPEGs of generated faces at several sizes, each twentieth damaged."""
    with tempfile.TemporaryDirectory() as folder:
        written = demo_faces.write(Path(folder) / "faces", count=count)
        images = [cv2.imread(str(path)) for path in sorted((written / "img_align_celeba").iterdir())]
    made = []
    for index, image in enumerate(images):
        assert image is not None
        width = WIDTHS[index % len(WIDTHS)]
        larger = cv2.resize(image, (width, round(width * image.shape[0] / image.shape[1])))
        data = cv2.imencode(".jpg", larger)[1].tobytes()
        made.append(data[: len(data) // 2] if index % BAD_EVERY == BAD_EVERY - 1 else data)
    return made


def case_of(picture: bytes, predictor: Predictor) -> Case:
    head = b'--%s\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' % BOUNDARY
    body = head + picture + b"\r\n--%s--\r\n" % BOUNDARY
    request = (
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=%s\r\n"
        b"Content-Length: %d\r\n\r\n" % (BOUNDARY, len(body))
    )
    try:
        faces = [face.to_dict() for face in predictor.predict(picture).faces]
    except ImageError:
        return Case(request + body, picture, None)
    return Case(request + body, picture, json.loads(json.dumps(faces)))


def loop_rate(predictor: Predictor, cases: list[Case], seconds: float) -> float:
    """Return pictures a second of a single-threaded loop, damaged ones included."""
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        with contextlib.suppress(ImageError):
            predictor.predict(cases[done % len(cases)].picture)
        done += 1
    return done / (time.perf_counter() - started)


async def caller(
    port: int, cases: list[Case], tally: Tally, start: int, until: Any, pid: int, *, patient: bool
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    index = start
    while not until(tally):
        case = cases[index % len(cases)]
        index += 1
        began = time.perf_counter()
        writer.write(case.request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: (\d+)", head)
        assert length, head
        body = await reader.readexactly(int(length[1]))
        tally.seconds.append(time.perf_counter() - began)
        status = int(head.split()[1])
        tally.statuses[status] += 1
        if status == 200:
            [answer] = json.loads(body)["pictures"]
            tally.wrong += answer["error"] is None if case.faces is None else answer["faces"] != case.faces
        elif status == 503:
            wait = re.search(rb"retry-after: (\d+)", head)
            tally.unexplained += wait is None
            await asyncio.sleep(int(wait[1]) if patient and wait else 0)
        done = len(tally.seconds)
        if done % 100 == 0:
            tally.highest = max(tally.highest, resident(pid))
        if done % 5000 == 0:
            tally.memory[done] = resident(pid)
    writer.close()
    await writer.wait_closed()


def resident(pid: int) -> int:
    """Return a process' resident memory in MiB."""
    kilobytes = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(kilobytes[1]) // 1024 if kilobytes else 0


async def load(port: int, pid: int, cases: list[Case], options: argparse.Namespace) -> Tally:
    tally = Tally()
    ends = time.perf_counter() + options.seconds

    def until(tally: Tally) -> bool:
        return bool(len(tally.seconds) >= options.requests if options.requests else time.perf_counter() >= ends)

    patient = not options.overload
    await asyncio.gather(
        *(caller(port, cases, tally, start * 7, until, pid, patient=patient) for start in range(options.connections))
    )
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--requests", type=int, default=0, help="so many, however long it takes")
    parser.add_argument("--overload", action="store_true", help="a queue of 8 pictures, and callers who do not wait")
    parser.add_argument("serve", nargs="*", help="after --: more flags of 'perceived serve'")
    options = parser.parse_args()

    predictor = Predictor(options.model, threads=1)
    cases = [case_of(picture, predictor) for picture in pictures(200)]
    alone = loop_rate(predictor, cases, min(options.seconds, 20))
    command = [sys.executable, "-m", "perceived", "serve", "--model", options.model, "--port", "0", *options.serve]
    limits = {"PERCEIVED_SERVE_QUEUE": "8", "PERCEIVED_SERVE_MAX_FILES": "8"} if options.overload else {}
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, **limits}
    )
    try:
        assert server.stdout
        port = int(server.stdout.readline().rpartition(":")[2])
        time.sleep(3)
        began = time.perf_counter()
        tally = asyncio.run(load(port, server.pid, cases, options))
        rate = tally.statuses[200] / (time.perf_counter() - began)
        tally.memory[len(tally.seconds)] = resident(server.pid)
    finally:
        server.terminate()
        server.wait()

    p50, p99 = np.percentile(tally.seconds, [50, 99])
    print(f"single-threaded loop: {alone:.1f} pictures/s")
    print(f"{options.connections} connections: {rate:.1f} pictures/s ({rate / alone:.0%} of the loop)")
    print(f"answered {len(tally.seconds):,}: p50 {p50:.3f} s, p99 {p99:.3f} s; statuses {dict(tally.statuses)}")
    print(f"wrong answers: {tally.wrong}; 503 without Retry-After: {tally.unexplained}")
    print(f"resident memory, MiB: {tally.highest} at most; by requests: {tally.memory}")


if __name__ == "__main__":
    main()
