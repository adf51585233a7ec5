"""What a server answers about a picture, before it is JSON."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra perceived[serve]")

from perceived.predictor import Predictor
from perceived.selection import Selection
from perceived.server import metrics, service, settings
from perceived.server.answers import Answerer, Question
from perceived.server.intake import Memory
from perceived.server.problems import Problem
from perceived.server.run import url
from perceived.server.uploads import Upload, parse
from perceived.types import Box, Face


def test_class_activation_is_a_share_of_its_strongest_place(tiny_model, encoded, monkeypatch):
    predictor = Predictor(tiny_model, detect=False)
    maps = np.array([[-3, 0], [1, 4]], np.float32)
    monkeypatch.setattr(predictor._classifier, "activations", lambda framed: np.stack([maps, maps])[None])
    upload = Upload(name="grey.png", data=encoded(140, size=(30, 40)))
    answer = Answerer(predictor, max_pixels=10**6).answer(Question(upload=upload, explain=True))
    (activation,) = answer.activations
    assert activation["values"] == [[0, 0], [0.25, 1]]
    upper_left, upper_right, lower_left = activation["corners"]
    assert upper_left[1] == upper_right[1] < lower_left[1]
    assert upper_left[0] == lower_left[0] < upper_right[0] <= 30


class TwoSquares:
    """A detector that finds a small face and a large one."""

    def detect(self, image):
        return [Face(box=Box(x0=0, y0=0, x1=side, y1=side)) for side in (9, 20)]


@pytest.mark.parametrize("explain", [False, True])
def test_a_caller_may_ask_for_the_largest_face_alone(tiny_model, encoded, explain):
    answerer = Answerer(Predictor(tiny_model, detector=TwoSquares()), max_pixels=10**6)
    upload = Upload(name="grey.png", data=encoded(140, size=(30, 40)))
    for count, sides in ((None, [9, 20]), (1, [20])):
        answer = answerer.answer(Question(upload=upload, explain=explain, max_faces=count))
        assert [face.box.x1 for face in answer.picture.faces] == sides


def test_bodies_may_fill_the_memory_there_is_for_them():
    memory = Memory(10)
    memory.take(4)
    memory.take(6)
    with pytest.raises(Problem, match="as many bytes"):
        memory.take(1)
    memory.give_back(4)
    memory.take(4)


def test_a_file_may_be_as_large_as_the_largest():
    for size, refused in ((10, False), (11, True)):
        (upload,) = parse("image/png", bytes(size), max_files=1, max_file=10)
        assert (upload.error is not None) == refused
        assert len(upload.data) == (0 if refused else size)


def test_a_name_that_is_given_twice_is_refused():
    body = b'{"pictures": [{"name": "a", "name": "b", "data": ""}]}'
    with pytest.raises(Problem, match="'name' twice"):
        parse("application/json", body, max_files=1, max_file=10)


def test_a_gauge_of_a_process_that_is_somebody_elses_now_is_forgotten(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr("os.kill", refuse)
    assert not metrics._lives(1)


def test_a_server_whose_own_picture_fails_is_not_ready(tiny_model, monkeypatch):
    ours = settings.Settings(model=str(tiny_model), detect=False)
    at_work = service.Service(ours, service.open_predictor(ours))
    monkeypatch.setattr(service.given, "encode", lambda *_: b"no picture")
    asyncio.run(at_work.test_itself())
    with pytest.raises(Problem, match="takes no pictures now"):
        at_work.check_ready()
    at_work.close()


def test_a_server_s_predictor_is_as_its_settings_say(tiny_model):
    chosen = settings.Settings(model=str(tiny_model), min_face=30, max_faces=7, threshold=0.9)
    predictor = service.open_predictor(chosen)
    assert (predictor.threshold, predictor.threads) == (0.9, 1)
    assert predictor.selection == Selection(min_face=30, max_faces=7)


def test_an_address_of_colons_stands_in_brackets():
    assert url("127.0.0.1", 8000) == "http://127.0.0.1:8000"
    assert url("::1", 8000) == "http://[::1]:8000"
