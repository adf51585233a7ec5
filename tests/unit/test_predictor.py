"""Pictures in every form, one answer each, from any number of threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from perceived.errors import ConfigError, ImageError, ModelFileError
from perceived.predictor import Predictor
from perceived.types import Box


@pytest.fixture(scope="module")
def predictor(tiny_model):
    return Predictor(tiny_model, threads=1)


def test_path_text_bytes_and_array_are_the_same_picture(predictor, picture):
    path = picture("bright.png", 200)
    pixels = np.full((40, 30, 3), 200, np.uint8)
    answers = [predictor.predict(form) for form in (path, str(path), path.read_bytes(), pixels)]
    assert [answer.source for answer in answers] == [str(path), str(path), "<bytes>", "<array>"]
    for answer in answers:
        assert (answer.width, answer.height, answer.error) == (30, 40, None)
        assert answer.faces == answers[0].faces
    face = answers[0].faces[0]
    assert face.perceived_gender == "male"
    assert face.face.box == Box(x0=0, y0=0, x1=30, y1=40)


def test_a_list_keeps_its_order_across_batches(tiny_model, picture):
    shades = [10, 250, 30, 220, 90, 170, 20]
    pictures = [picture(f"{index}.png", shade) for index, shade in enumerate(shades)]
    answers = Predictor(tiny_model, batch_size=3).predict(pictures)
    assert [answer.source for answer in answers] == [str(path) for path in pictures]
    assert [answer.faces[0].perceived_gender for answer in answers] == [
        "male" if shade > 128 else "female" for shade in shades
    ]


def test_an_empty_list_has_no_answers(predictor):
    assert predictor.predict([]) == []


def test_pictures_that_cannot_be_read_are_rows_of_a_list(predictor, picture, tmp_path):
    good = picture("good.png", 200)
    text = tmp_path / "text.jpg"
    text.write_text("I am not a picture")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(picture("whole.jpg", 80).read_bytes()[:200])
    wrong = np.zeros((4, 4), np.uint8)
    answers = predictor.predict([text, good, cut, tmp_path / "gone.png", b"", wrong, good, tmp_path])
    assert [answer.error is None for answer in answers] == [False, True, False, False, False, False, True, False]
    assert [len(answer.faces) for answer in answers] == [0, 1, 0, 0, 0, 0, 1, 0]
    assert "not a picture" in (answers[0].error or "")
    assert all(str(name) in (row.error or "") for name, row in zip([text, cut], [answers[0], answers[2]], strict=True))


def test_a_list_of_unreadable_pictures_only(predictor):
    assert [row.error is not None for row in predictor.predict([b"", b"x"])] == [True, True]


@pytest.mark.parametrize(
    "bad", [b"", b"text", np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((1, 1, 3), np.uint8)]
)
def test_one_picture_that_cannot_be_read_raises(predictor, bad):
    with pytest.raises(ImageError):
        predictor.predict(bad)


def test_stream_answers_before_the_pictures_end(tiny_model, picture):
    path = picture("one.png", 200)

    def endless():
        while True:
            yield path

    stream = Predictor(tiny_model, batch_size=2).stream(endless(), ["first"])
    assert [next(stream).source for _ in range(3)] == ["first", str(path), str(path)]


def test_names_stand_in_messages(predictor):
    row = next(predictor.stream([b""], ["upload.jpg"]))
    assert row.source == "upload.jpg"
    assert "upload.jpg" in (row.error or "")


def test_the_threshold_is_the_models_own_unless_given(make_model, tmp_path, picture):
    careful = make_model(tmp_path / "careful.onnx", threshold=0.99)
    path = picture("grey.png", 140)
    assert Predictor(careful).predict(path).faces[0].perceived_gender == "uncertain"
    assert Predictor(careful, threshold=0.0).predict(path).faces[0].perceived_gender == "male"


def test_settings_out_of_range_are_refused(tiny_model):
    with pytest.raises(ConfigError, match="threshold"):
        Predictor(tiny_model, threshold=2)
    with pytest.raises(ConfigError, match="batch"):
        Predictor(tiny_model, batch_size=0)
    with pytest.raises(ModelFileError):
        Predictor("no-such-model")


def test_threads_may_share_one_predictor(predictor):
    pictures = [np.full((40, 30, 3), shade, np.uint8) for shade in range(0, 256, 5)]
    alone = [predictor.predict(pixels) for pixels in pictures]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(predictor.predict, pictures * 4))
    assert together == alone * 4
