"""What would use a server up: each is refused cleanly, and the server goes on."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from perceived.predictor import Predictor

httpx2 = pytest.importorskip("httpx2", reason="needs the extra perceived[serve]")


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def place_of(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


def connect(url: str, *, timeout: float) -> socket.socket:
    return socket.create_connection(place_of(url), timeout=timeout)


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read(start_server):
    with start_server(max_body=1000) as url, connect(url, timeout=30) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n")
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_say_so_is_cut_off(start_server, metric):
    with start_server(max_body=1000) as url:
        answer = httpx2.post(
            f"{url}/v1/predict", content=(b"x" * 500 for _ in range(1000)), headers={"Content-Type": "image/png"}
        )
        assert refusal(answer) == (413, "body-too-large")
        assert metric(url, "perceived_held_bytes") == 0


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413)])
def test_a_body_that_comes_at_once_is_measured_too(start_server, size, status):
    with start_server(max_body=1000) as url:
        body = iter([b"x" * size])
        answer = httpx2.post(f"{url}/v1/predict", content=body, headers={"Content-Type": "image/png"})
    assert answer.status_code == status


def test_a_large_file_is_an_entry_and_the_others_are_answered(start_server, encoded):
    with start_server(max_file=5000) as url:
        files = [("files", ("large.png", b"x" * 5001)), ("files", ("small.png", encoded(0)))]
        large, small = httpx2.post(f"{url}/v1/predict", files=files).json()["pictures"]
    assert large["error"] == "large.png has 5,001 bytes.\nExpected: at most 5,000"
    assert small["error"] is None


def test_ten_thousand_files_are_refused(http):
    answer = http.post("/v1/predict", files=[("files", (f"{i}.png", b"x")) for i in range(10_000)])
    assert refusal(answer) == (413, "too-many-files")
    assert answer.json()["expected"] == "at most 64"
    body = json.dumps({"pictures": [{"data": ""}] * 10_000})
    answer = http.post("/v1/predict", content=body, headers={"Content-Type": "application/json"})
    assert refusal(answer) == (413, "too-many-files")


def test_a_million_empty_entries_are_refused_before_anything_is_made_of_them(http):
    body = b'{"pictures": [' + b"{}," * 1_000_000 + b"{}]}"
    answer = http.post("/v1/predict", content=body, headers={"Content-Type": "application/json"})
    assert refusal(answer) == (413, "too-many-files")


def test_a_name_full_of_commas_is_a_name(http):
    entry = {"name": "{[,]}" * 400, "data": ""}
    answer = http.post("/v1/predict", json={"pictures": [entry]})
    assert answer.json()["pictures"][0]["source"].startswith("{[,]}")


def png_header(width: int, height: int) -> bytes:
    """Return a PNG whose header promises so many pixels, and which holds a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    pixels = zlib.compress(b"\0" * 1_000_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(7100, 7100), (40_000, 40_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_by_its_header(http, size):
    started = time.monotonic()
    answer = http.post("/v1/predict", files={"files": ("bomb.png", png_header(*size))})
    assert answer.status_code == 200
    assert "pixels" in answer.json()["pictures"][0]["error"]
    assert time.monotonic() - started < 20


def test_a_bomb_of_text_inside_a_picture_is_an_entry(http):
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 80_000_000, zip=True)
    file = io.BytesIO()
    Image.new("RGB", (20, 20)).save(file, "PNG", pnginfo=info)
    answer = http.post("/v1/predict", files={"files": ("bomb.png", file.getvalue())})
    assert answer.status_code == 200
    assert answer.json()["pictures"][0]["error"]


def test_a_body_that_trickles_is_given_up(start_server):
    with start_server(body_timeout=0.5) as url, connect(url, timeout=30) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        answer = read_until(connection, b"}")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"/problems/body-too-slow" in answer


def read_until(connection: socket.socket, end: bytes) -> bytes:
    answer = b""
    while not answer.endswith(end) and (part := connection.recv(4096)):
        answer += part
    return answer


@pytest.mark.parametrize(
    ("start", "later"),
    [(b"", False), (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", False), (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", True)],
)
def test_slow_loris_connections_are_closed(start_server, metric, start, later):
    """Headers that never end, at the first request of a connection or at a later one."""
    refused = 'perceived_rejected_total{problem="headers-too-slow"}'
    with start_server(header_timeout=0.5) as url:
        before = metric(url, refused)
        with connect(url, timeout=10) as connection:
            if later:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                read_until(connection, b"}")
            connection.sendall(start)
            while connection.recv(4096):
                pass
        assert metric(url, refused) == before + 1


def test_who_only_looks_whether_the_port_is_open_is_not_counted(start_server, metric, wait_until):
    refused = 'perceived_rejected_total{problem="headers-too-slow"}'
    with start_server(header_timeout=0.3) as url:
        before = metric(url, refused)
        connect(url, timeout=10).close()
        with connect(url, timeout=10) as connection:  # its clock runs later
            assert connection.recv(4096) == b""
        assert metric(url, refused) == before + 1


@pytest.mark.parametrize("lines", [b"Content-Length: -5\r\n", b"Host: y\r\n", b"no header\r\n"])
def test_what_is_no_http_is_a_problem_too(start_server, lines):
    with start_server() as url, connect(url, timeout=10) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
        head, _, body = read_until(connection, b"}").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n")
    assert json.loads(body)["type"] == "/problems/malformed-request"


def test_who_asks_and_never_reads_is_hung_up_on(start_server, metric, wait_until):
    with start_server(header_timeout=0.5) as url, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(place_of(url))
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 600)
        wait_until(lambda: metric(url, 'perceived_rejected_total{problem="answer-not-read"}') == 1)
        assert 0 < read_until(connection, b"never").count(b"HTTP/1.1 200 OK") < 600


def test_a_slow_answer_does_not_count_as_slow_headers(start_server, heavy):
    with start_server(header_timeout=0.2, threads=1) as url:
        files = [("files", (f"{i}.png", heavy)) for i in range(5)]
        answer = httpx2.post(f"{url}/v1/predict", files=files, timeout=120)
    assert [row["error"] for row in answer.json()["pictures"]] == [None] * 5


def test_connections_beyond_the_limit_are_told_so(start_server, wait_until):
    with start_server(max_connections=3) as url:
        held = [connect(url, timeout=30) for _ in range(3)]
        for connection in held:  # once it is answered, the server has counted it
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        with connect(url, timeout=30) as another:
            answer = another.recv(4096)
        for connection in held:
            connection.close()
        wait_until(lambda: httpx2.get(f"{url}/healthz").status_code != 503)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "/problems/overloaded"


def test_overload_is_503_with_a_time_to_come_again_and_nothing_else(start_server, heavy):
    """Thirty callers of a server that holds four pictures: each is answered rightly or told to wait."""

    def ask(_: int) -> httpx2.Response:
        return httpx2.post(f"{url}/v1/predict", files={"files": ("a.png", heavy)}, timeout=120)

    with start_server(queue=3, max_files=1, threads=1) as url, ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(ask, range(30)))
        after = ask(0)
    busy = [answer for answer in answers if answer.status_code == 503]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert all(1 <= int(answer.headers["retry-after"]) <= 30 for answer in busy)
    assert {refusal(answer)[1] for answer in busy} == {"overloaded"}
    assert after.status_code == 200


def test_a_full_queue_is_told_before_a_body_is_read(start_server, metric, wait_until, encoded, tiny_model):
    go_on = threading.Event()

    class Slow(Predictor):
        def prepare_one(self, picture, **options):
            go_on.wait(60)
            return super().prepare_one(picture, **options)

    def ask(url: str) -> httpx2.Response:
        return httpx2.post(f"{url}/v1/predict", files={"files": ("a.png", encoded(9))}, timeout=90)

    go_on.set()  # a server answers a test picture before it is ready
    with (
        start_server(Slow(tiny_model, detect=False), threads=1, queue=1, max_files=1) as url,
        ThreadPoolExecutor(2) as pool,
    ):
        go_on.clear()
        try:
            held = [pool.submit(ask, url), pool.submit(ask, url)]
            wait_until(lambda: metric(url, "perceived_queue_pictures") == 1)
            with connect(url, timeout=10) as connection:
                headers = b"Host: x\r\nContent-Type: image/png\r\nContent-Length: 9999\r\n\r\n"
                connection.sendall(b"POST /v1/predict HTTP/1.1\r\n" + headers)
                assert read_until(connection, b"}").startswith(b"HTTP/1.1 503 ")
        finally:
            go_on.set()
        assert [answer.result().status_code for answer in held] == [200, 200]


def test_memory_for_bodies_is_shared_out_and_given_back(start_server, metric, wait_until):
    started, go_on = threading.Event(), threading.Event()

    def slowly():
        yield b"x" * 60_000
        started.set()
        go_on.wait(30)
        yield b"x"

    with start_server(max_memory=100_000, max_body=100_000) as url, ThreadPoolExecutor(1) as pool:
        headers = {"Content-Type": "image/png"}
        first = pool.submit(lambda: httpx2.post(f"{url}/v1/predict", content=slowly(), headers=headers, timeout=60))
        started.wait(30)
        wait_until(lambda: metric(url, "perceived_held_bytes") == 60_000)
        second = httpx2.post(f"{url}/v1/predict", content=b"x" * 60_000, headers=headers, timeout=60)
        go_on.set()
        assert first.result().status_code == 200
        third = httpx2.post(f"{url}/v1/predict", content=b"x" * 60_000, headers=headers, timeout=60)
    assert refusal(second) == (503, "overloaded")
    assert "retry-after" in second.headers
    assert third.status_code == 200


def test_an_answer_that_takes_too_long_is_given_up(start_server, heavy):
    with start_server(answer_timeout=0.001) as url:
        answer = httpx2.post(f"{url}/v1/predict", files={"files": ("a.png", heavy)}, timeout=60)
        assert refusal(answer) == (503, "overloaded")
        assert httpx2.get(f"{url}/readyz").is_success


def test_a_caller_who_hangs_up_leaves_nothing_behind(start_server, metric, wait_until):
    with start_server() as url:
        for _ in range(3):
            with connect(url, timeout=30) as connection:
                connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        wait_until(lambda: metric(url, 'perceived_requests_total{route="/v1/predict",status="499"}') == 3)
        assert metric(url, "perceived_held_bytes") == 0


def test_pictures_of_a_caller_who_hung_up_are_dropped_at_once(start_server, metric, wait_until, encoded, tiny_model):
    begun, go_on = threading.Event(), threading.Event()
    answered: list[str] = []

    class Slow(Predictor):
        def prepare_one(self, picture, *, name="", **options):
            answered.append(name)
            begun.set()
            go_on.wait(30 if name.startswith("left") else 0)
            return super().prepare_one(picture, name=name, **options)

    form = [("files", (f"left-{i}.png", encoded(i))) for i in range(9)]
    request = httpx2.Request("POST", "http://x/v1/predict", files=form)
    head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: {request.headers['content-type']}\r\n"
    body = request.read()
    left = 'perceived_requests_total{route="/v1/predict",status="499"}'
    with start_server(Slow(tiny_model, detect=False), threads=1) as url:
        before = metric(url, left)
        begun.clear()
        with connect(url, timeout=30) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert begun.wait(30)
            assert metric(url, "perceived_queue_pictures") == 8
        try:
            wait_until(lambda: metric(url, left) == before + 1)
            assert metric(url, "perceived_queue_pictures") == metric(url, "perceived_held_bytes") == 0
        finally:
            go_on.set()
        assert httpx2.post(f"{url}/v1/predict", files={"files": ("here.png", encoded(9))}, timeout=60).is_success
    assert answered[-2:] == ["left-0.png", "here.png"]


def test_one_file_too_many_is_refused_however_the_files_are_sent(http):
    for count, expected in ((64, 200), (65, 413)):
        as_json = http.post("/v1/predict", json={"pictures": [{"data": ""}] * count})
        form = http.post("/v1/predict", files=[("files", (f"{i}.png", b"x")) for i in range(count)])
        assert (as_json.status_code, form.status_code) == (expected, expected)
    assert refusal(as_json) == refusal(form) == (413, "too-many-files")
