"""The client: the predictor's own answers, patience with a busy server, and errors that say what to do."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("httpx2", reason="needs the extra perceived[serve]")

from perceived import cli, images
from perceived.client import Client, _pause, _renamed
from perceived.errors import ConfigError, ImageError, InputError, ServerError
from perceived.predictor import Predictor
from perceived.types import Picture


@pytest.fixture(scope="module")
def address(start_server):
    with start_server() as url:
        yield url


def test_answers_are_the_predictors_own(address, tiny_model, picture, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("I am not a picture")
    sources = [picture(f"{shade}.png", shade) for shade in range(5, 250, 12)]
    sources[3:3] = [text, tmp_path / "gone.png"]
    with Client(address) as client:
        answers = client.predict(sources)
    assert answers == Predictor(tiny_model, detect=False).predict(sources)
    assert [answer.source for answer in answers] == list(map(str, sources))


def test_one_picture_is_answered_alone_or_raises(address, picture):
    with Client(address, threshold=1.0) as client:
        bright = picture("bright.png", 150)
        assert client.predict(bright).faces[0].perceived_gender == "uncertain"
        assert client.predict(bright.read_bytes()).source == "<bytes>"
        with pytest.raises(ImageError, match="not a picture"):
            client.predict(b"milk, eggs")
        with pytest.raises(ImageError, match="cannot be read"):
            client.predict("gone.png")


def test_the_threshold_that_was_asked_for_is_known_without_a_server():
    assert Client("http://127.0.0.1:9", threshold=0.0).threshold == 0.0


def test_an_array_of_several_pictures_is_a_list(address, tiny_model):
    pictures = np.stack([np.full((20, 20, 3), shade, np.uint8) for shade in (20, 200)])
    predictor = Predictor(tiny_model, detect=False)
    with Client(address) as client:
        answers = client.predict(pictures)
    assert answers == predictor.predict(pictures)
    assert [one.faces[0] for one in answers] == predictor.predict_faces(pictures)


def test_what_is_no_picture_is_a_row_and_pixels_are_sent(address, tiny_model, picture):
    bright = picture("bright.png", 150)
    pixels = images.load(bright)
    held = [pixels, Image.fromarray(pixels), bytearray(bright.read_bytes())]
    sources = [bright, "nope", None, *held, pixels[..., 0], ImageError("gone")]
    predictor = Predictor(tiny_model, detect=False)
    with Client(address) as client:
        answers = client.predict(sources)
        assert client.predict(pixels) == predictor.predict(pixels)
        for wrong in (None, pixels[:2], 7):
            with pytest.raises(ImageError, match=r"no picture|too small"):
                client.predict(wrong)
        with pytest.raises(InputError, match="Expected several pictures"):
            next(client.stream(pixels))
    expected = list(predictor.stream(sources))
    assert [(one.source, one.error) for one in answers[:-1]] == [(one.source, one.error) for one in expected[:-1]]
    assert [one.faces for one in answers] == [one.faces for one in expected]
    assert [one.error is None for one in answers] == [True, False, False, True, True, True, False, False]


def test_a_name_that_is_not_unicode_is_answered(address, picture, tmp_path):
    odd, text = tmp_path / os.fsdecode(b"\xff.png"), tmp_path / os.fsdecode(b"\xfe.png")
    odd.write_bytes(picture("grey.png", 140).read_bytes())
    text.write_text("milk, eggs")
    with Client(address) as client:
        good, bad = client.predict([odd, text])
    assert (good.source, len(good.faces)) == (str(odd), 1)
    assert str(bad.error).startswith(f"{text} is not a picture")


def test_predict_asks_a_server_for_the_rows_it_would_print_itself(address, tiny_model, picture, monkeypatch, capsys):
    pictures = [str(picture(f"{shade}.png", shade)) for shade in (10, 240)]

    def run(*options: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["perceived", "predict", *pictures, *options])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().out

    assert run("--json", "--server", address) == run("--json", "--model", str(tiny_model), "--no-detect")
    assert run("--csv", "--server", address)[0] in (0, None)
    assert run("--server", address, "--no-detect")[0] == 2


def test_a_file_of_answers_goes_on_with_a_server_that_says_the_same(address, tiny_model, picture, run, tmp_path):
    log, words = tmp_path / "log.jsonl", ("predict", picture("grey.png", 140))
    assert run(*words, "--no-detect", "--model", tiny_model, "--resume", log).code == 0
    assert "besides 1 answered before" in run(*words, "--server", address, "--resume", log).out
    refused = run(*words, "--server", address, "--threshold", "0.9", "--resume", log)
    assert refused.code == 2
    assert "with another threshold than 0.9" in refused.err


def test_models_and_readiness(address):
    with Client(address) as client:
        assert client.ready()
        assert client.models()["models"][0]["name"] == "tiny"
    with Client("http://127.0.0.1:9") as nowhere:
        assert not nowhere.ready()


class Busy:
    """A server that answers with prepared responses, one after the other, and notes when it was asked."""

    def __init__(self, *responses: tuple[int, dict[str, str], bytes]) -> None:
        self.asked: list[float] = []
        waiting = iter(responses)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # noqa: N805 -- the name http.server calls
                self.asked.append(time.monotonic())
                handler.rfile.read(int(handler.headers["Content-Length"]))
                status, headers, body = next(waiting)
                handler.send_response(status)
                for name, value in headers.items():
                    handler.send_header(name, value)
                handler.send_header("Content-Length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

            def log_message(handler, *_: object) -> None:  # noqa: N805
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def busy():
    servers: list[Busy] = []

    def start(*responses):
        servers.append(Busy(*responses))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


GOOD = (200, {}, b'{"pictures": [{"width": 1, "height": 2, "faces": [], "error": null}]}')
FULL = (
    503,
    {"Retry-After": "1", "Content-Type": "application/problem+json"},
    b'{"detail": "full", "expected": "wait"}',
)


def test_a_busy_server_is_asked_again_when_it_says(busy):
    server = busy(FULL, GOOD)
    with Client(server.url) as client:
        assert client.predict(b"x").width == 1
    first, second = server.asked
    assert 1 <= second - first < 5


def test_not_even_one_try_is_refused():
    with pytest.raises(ConfigError, match="0 tries"):
        Client("http://127.0.0.1:9", tries=0)


def test_patience_ends(busy):
    server = busy(FULL, FULL)
    with Client(server.url, tries=2) as client, pytest.raises(ServerError, match="503: full"):
        client.predict(b"x")
    assert len(server.asked) == 2


def test_what_a_server_refuses_is_not_asked_again(busy):
    problem = (422, {"Content-Type": "application/problem+json"}, b'{"detail": "no", "expected": "yes"}')
    server = busy(problem)
    with Client(server.url) as client, pytest.raises(InputError, match="422: no") as caught:
        client.predict(b"x")
    assert caught.value.expected == "yes"
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_a_sentence():
    with (
        Client("http://127.0.0.1:9", tries=2) as client,
        pytest.raises(ServerError, match="cannot be reached") as caught,
    ):
        client.predict(b"x")
    assert "perceived serve" in caught.value.mend


def test_an_upload_is_refused_and_not_read_line_by_line(address, picture):
    class Upload:  # as web frameworks hand it over
        def __init__(self):
            self.file = io.BytesIO(picture("bright.png", 150).read_bytes())

        def read(self):
            return self.file.read()

        def __iter__(self):
            return iter(self.file)

    with Client(address) as client, pytest.raises(ImageError, match="Upload is no picture") as caught:
        client.predict(Upload())
    assert "read()" in caught.value.mend


@pytest.mark.parametrize(
    "answer",
    [
        *(b'{"pictures": [{}]}', b'{"pictures": [{"faces": 3}]}', b'{"pictures": [3]}', b'{"pictures": 5}'),
        pytest.param(b"[" * 200_000, id="deep"),
    ],
)
def test_answers_that_are_none_of_ours_are_told(busy, answer):
    with Client(busy((200, {}, answer)).url) as client, pytest.raises(ServerError, match="no server of perceived"):
        client.predict(b"x")


def test_an_answer_that_cannot_be_unpacked_is_none_of_ours(busy):
    server = busy((200, {"Content-Encoding": "gzip"}, b"no gzip"))
    with Client(server.url) as client, pytest.raises(ServerError, match="no server of perceived"):
        client.predict(b"x")


def test_a_password_in_the_address_is_not_shown():
    with Client("http://user:geheim@127.0.0.1:9", tries=1) as client, pytest.raises(ServerError) as caught:
        client.predict(b"x")
    assert "geheim" not in str(caught.value)
    assert "http://127.0.0.1:9" in str(caught.value)


@pytest.mark.parametrize("threshold", [2, float("nan"), "0.5"])
def test_a_threshold_that_is_none_is_refused_before_anything_is_sent(threshold):
    with pytest.raises(ConfigError, match="is impossible"):
        Client("http://127.0.0.1:9", threshold=threshold)


def test_fewer_answers_than_pictures_are_told(busy):
    with Client(busy(GOOD).url) as client, pytest.raises(ServerError, match="no server of perceived"):
        client.predict([b"x", b"y"])


@pytest.mark.parametrize("problem", [b"no json", b"[]"])
def test_a_problem_that_says_nothing_is_its_status(busy, problem):
    server = busy((400, {"Content-Type": "application/problem+json"}, problem))
    with Client(server.url) as client, pytest.raises(InputError, match="answered 400"):
        client.predict(b"x")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_another_server_is_told(body):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with Client(f"http://127.0.0.1:{server.server_port}") as client:
            for ask in (client.models, lambda: client.predict(b"x")):
                with pytest.raises(ServerError, match="no server of perceived"):
                    ask()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("key", ["s\u00e9cret", "secret\n", "open sesame"])
def test_a_key_that_no_header_can_carry_is_told_and_not_shown(key):
    with pytest.raises(ConfigError, match="no header can carry") as caught:
        Client("http://127.0.0.1:9", key=key)
    assert key.strip() not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e10])
def test_a_timeout_that_is_impossible_is_refused(timeout):
    with pytest.raises(ConfigError, match="is impossible"):
        Client("http://127.0.0.1:9", timeout=timeout)


@pytest.mark.parametrize(
    "address",
    ["localhost:8000", "", "http://", "http://[::1", "http://a:b", "ftp://a", None, "http://a?b=1", "http://a#b"],
)
def test_an_address_must_be_one(address):
    with pytest.raises(ConfigError, match="no server's address"):
        Client(address)


def test_what_is_too_much_for_one_request_is_sent_in_several(start_server, picture):
    paths = [picture(f"{index}.png", index) for index in range(20)]
    large = paths[0].with_name("too large.png")
    large.write_bytes(b"x" * 300_000)
    with start_server(max_files=3, max_body=200_000) as url, Client(url) as client:
        answers = client.predict([*paths[:10], large, *paths[10:]])
        with pytest.raises(ImageError, match=r"too large\.png: The server answered 413"):
            client.predict(large)
    assert [len(answer.faces) for answer in answers] == [1] * 10 + [0] + [1] * 10
    assert "at most 200,000 bytes" in str(answers[10].error)


def test_a_date_says_when_to_come_again_too(busy):
    at = datetime.now(UTC) + timedelta(seconds=3)
    server = busy((503, {"Retry-After": format_datetime(at, usegmt=True)}, b""), GOOD)
    with Client(server.url) as client:
        assert client.predict(b"x").width == 1
    first, second = server.asked
    assert 1 <= second - first < 6


def test_a_key_travels_with_each_request(start_server, picture):
    with start_server(api_key="sesame") as url:
        with Client(url, key="sesame") as client:
            assert client.predict(picture("a.png", 0)).faces
        with Client(url) as client, pytest.raises(InputError, match="401"):
            client.predict(picture("b.png", 0))


def test_the_server_is_told_a_files_name_and_none_of_its_folders(start_server, tiny_model, picture):
    told: list[str] = []

    class Listening(Predictor):
        def prepare_one(self, picture, *, name="", **options):
            told.append(name)
            return super().prepare_one(picture, name=name, **options)

    path = picture("a.png", 10)
    with start_server(Listening(tiny_model, detect=False)) as url, Client(url) as client:
        told.clear()  # what the server tries itself with as it starts
        assert client.predict(path).source == str(path)
    assert told == ["a.png"]


@pytest.fixture
def slept(monkeypatch) -> list[float]:
    """The seconds that the client would have waited, which it does not."""
    waits: list[float] = []
    monkeypatch.setattr("perceived.client.time", SimpleNamespace(sleep=waits.append, time=time.time))
    return waits


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_whatever_says_that_it_will_pass_is_asked_again(busy, slept, status):
    server = busy((status, {}, b""), (status, {"Retry-After": "7"}, b""), GOOD)
    with Client(server.url) as client:
        assert client.predict(b"x").width == 1
    first, second = slept
    assert 0 < first <= 1
    assert 7 <= second <= 8


def test_a_date_that_is_past_is_not_waited_for(busy, slept):
    at = datetime.now(UTC) - timedelta(hours=1)
    server = busy((503, {"Retry-After": format_datetime(at, usegmt=True)}, b""), GOOD)
    with Client(server.url) as client:
        assert client.predict(b"x").width == 1
    assert [0 <= wait <= 0.5 for wait in slept] == [True]


def test_pauses_grow_to_ten_seconds_and_no_further():
    assert 2 <= _pause(4) <= 4
    assert 5 <= _pause(30) <= 10


def test_a_fault_is_not_asked_about_again(busy, slept):
    server = busy((500, {}, b""), GOOD)
    with Client(server.url) as client, pytest.raises(ServerError, match="500"):
        client.predict(b"x")
    assert (len(server.asked), slept) == (1, [])


def test_an_hour_is_not_waited_for(busy, slept):
    server = busy((503, {"Retry-After": "3600"}, b""), GOOD)
    with Client(server.url) as client, pytest.raises(ServerError, match="503"):
        client.predict(b"x")
    assert (len(server.asked), slept) == (1, [])


def test_a_minute_is_waited_for(busy, slept):
    server = busy((503, {"Retry-After": "60"}, b""), GOOD)
    with Client(server.url) as client:
        assert client.predict(b"x").width == 1
    assert [60 <= wait <= 61 for wait in slept] == [True]


def test_a_request_gathers_eight_megabytes_at_most_unless_one_picture_has_more(busy):
    """Were the count not begun anew with each request, the last two would travel apart."""
    row = {"width": 1, "height": 2, "faces": [], "error": None}
    together = [2, 1, 2]
    server = busy(*((200, {}, json.dumps({"pictures": [row] * count}).encode()) for count in together))
    with Client(server.url) as client:
        answers = client.predict([bytes(2**20 * size) for size in (4, 4, 9, 4, 4)])
    assert (len(answers), len(server.asked)) == (5, 3)


def test_a_request_gathers_eight_pictures_at_most(busy):
    row = {"width": 1, "height": 2, "faces": [], "error": None}
    server = busy(*((200, {}, json.dumps({"pictures": [row] * count}).encode()) for count in (8, 1)))
    with Client(server.url) as client:
        assert len(client.predict([b"x"] * 9)) == 9
    assert len(server.asked) == 2


def test_an_error_that_does_not_begin_with_the_name_is_left_as_it_is():
    said = Picture(source="album/a.png", error="There is not enough memory for a.png.")
    assert _renamed(said) == said


def test_a_proxy_of_the_environment_sees_no_pictures(address, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Client(address) as client:
        assert client.ready()


def test_a_client_that_is_closed_says_so(address):
    with Client(address) as client:
        assert client.ready()
    assert not client.ready()
    for ask in (client.models, lambda: client.predict(b"x"), lambda: list(client.stream([b"x"]))):
        with pytest.raises(InputError, match="The client is closed"):
            ask()


def test_a_client_works_in_another_process(address, picture):
    bright = picture("bright.png", 150)
    with Client(address, threshold=True) as client:
        answer = client.predict(bright)
        assert answer.faces[0].perceived_gender == "uncertain", "nothing is sure"
        sent = pickle.loads(pickle.dumps(client))
        with sent, copy.deepcopy(client) as copied:
            assert sent.predict(bright) == copied.predict(bright) == answer
        of_the_parent = client._http
        client._process = -1  # as after a fork
        assert client.predict(bright) == answer
        assert client._http is not of_the_parent
        assert not of_the_parent.is_closed, "the other process still asks by it"
        of_the_parent.close()


def test_a_client_that_was_closed_stays_so_after_a_fork(address):
    client = Client(address)
    client.close()
    client._process = -1
    with pytest.raises(InputError, match="The client is closed"):
        client.models()


@pytest.mark.parametrize("wrong", [{"tries": "3"}, {"tries": 2.5}, {"timeout": "3"}, {"timeout": None}, {"key": b"x"}])
def test_settings_of_another_type_are_refused(wrong):
    with pytest.raises(ConfigError):
        Client("http://127.0.0.1:9", **wrong)
