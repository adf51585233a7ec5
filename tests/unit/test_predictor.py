"""Pictures in every form, one answer each, from any number of threads."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import pickle
import threading
import time
import tracemalloc
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException
from PIL import Image, ImageSequence

from perceived import predictor as prediction
from perceived.detector import YuNet
from perceived.errors import ConfigError, ImageError, InputError, ModelFileError
from perceived.images import Decoded
from perceived.predictor import Predictor
from perceived.preprocess import Pixels
from perceived.types import Box, Face, Picture
from perceived.yunet import WEIGHTS


def finding(face: Face) -> SimpleNamespace:
    """A detector that finds this face in whatever it is given."""
    return SimpleNamespace(detect=lambda image: [face])


class Halves:
    """A detector that takes every half of a picture as a face, ``count`` of them, the left ones first."""

    def __init__(self, count: int = 2) -> None:
        self.count = count

    def detect(self, image: Pixels) -> list[Face]:
        height, width = image.shape[:2]
        step = width / max(self.count, 1)
        return [
            Face(box=Box(x0=step * i, y0=0.0, x1=step * (i + 1), y1=float(height)), detection_score=0.9)
            for i in range(self.count)
        ]


@pytest.fixture(scope="module")
def predictor(tiny_model):
    """One that takes each picture as a face."""
    return Predictor(tiny_model, detect=False, threads=1)


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
    answers = Predictor(tiny_model, detect=False, batch_size=3).predict(pictures)
    assert [answer.source for answer in answers] == [str(path) for path in pictures]
    assert [answer.faces[0].perceived_gender for answer in answers] == [
        "male" if shade > 128 else "female" for shade in shades
    ]


def test_a_path_may_be_of_bytes(predictor, picture):
    path = picture("a.png", 10)
    with os.scandir(os.fsencode(path.parent)) as folder:
        found = next(one for one in folder if one.name == b"a.png")
    answered = predictor.predict([path, found])
    assert [one.error for one in answered] == [None, None]
    assert answered[1].source == str(path)


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

    stream = Predictor(tiny_model, detect=False, batch_size=2).stream(endless(), ["first"])
    assert [next(stream).source for _ in range(3)] == ["first", str(path), str(path)]


def test_names_stand_in_messages(predictor):
    row = next(predictor.stream([b""], ["upload.jpg"]))
    assert row.source == "upload.jpg"
    assert "upload.jpg" in (row.error or "")


def test_the_threshold_is_the_models_own_unless_given(make_model, tmp_path, picture):
    careful = make_model(tmp_path / "careful.onnx", threshold=0.99)
    path = picture("grey.png", 140)
    assert Predictor(careful, detect=False).predict(path).faces[0].perceived_gender == "uncertain"
    assert Predictor(careful, detect=False, threshold=0.0).predict(path).faces[0].perceived_gender == "male"


def test_settings_out_of_range_are_refused(tiny_model):
    with pytest.raises(ConfigError, match="threshold"):
        Predictor(tiny_model, threshold=2)
    with pytest.raises(ConfigError, match="batch"):
        Predictor(tiny_model, batch_size=0)
    with pytest.raises(ModelFileError):
        Predictor("no-such-model")
    with pytest.raises(ConfigError, match="detector"):
        Predictor(tiny_model, detector=Halves(), detect=False)
    with pytest.raises(ConfigError, match="threads"):
        Predictor(tiny_model, threads=0)
    with pytest.raises(ConfigError, match="abacus"):
        Predictor(tiny_model, device="abacus")


def test_threads_may_share_one_predictor(predictor):
    pictures = [np.full((40, 30, 3), shade, np.uint8) for shade in range(0, 256, 5)]
    alone = [predictor.predict(pixels) for pixels in pictures]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(predictor.predict, pictures * 4))
    assert together == alone * 4


def halves(left: int, right: int) -> Pixels:
    """Return a picture whose halves have these shades."""
    return np.repeat(np.repeat([[left, right]], 40, 0), 30, 1)[:, :, None].repeat(3, 2).astype(np.uint8)


def test_each_face_that_the_detector_finds_is_answered_for_itself(tiny_model):
    model = Predictor(tiny_model, detector=Halves(), threads=1)
    answer = model.predict(halves(0, 255))
    assert [face.face.box for face in answer.faces] == [Box(x0=0, y0=0, x1=30, y1=40), Box(x0=30, y0=0, x1=60, y1=40)]
    assert [face.perceived_gender for face in answer.faces] == ["female", "male"]
    assert [face.face.detection_score for face in answer.faces] == [0.9, 0.9]
    assert (answer.model, answer.model_sha256) == ("tiny", hashlib.sha256(tiny_model.read_bytes()).hexdigest())


def test_faces_are_dealt_back_to_their_pictures_across_batches(tiny_model):
    shades = [(0, 255), (255, 0), (255, 255), (0, 0), (255, 0)]
    expected = [["male" if shade else "female" for shade in pair] for pair in shades]
    for size in (1, 2, 3, 16):
        model = Predictor(tiny_model, detector=Halves(), batch_size=size, threads=2)
        answers = model.predict([halves(*pair) for pair in shades])
        assert [[face.perceived_gender for face in answer.faces] for answer in answers] == expected


def test_a_crowd_is_answered_in_the_order_of_its_faces(tiny_model):
    crowd = np.zeros((40, 700, 3), np.uint8)
    crowd[:, 350:] = 255
    (answer,) = Predictor(tiny_model, detector=Halves(35), batch_size=4).predict([crowd])
    assert [face.perceived_gender for face in answer.faces[:16]] == ["female"] * 16
    assert [face.perceived_gender for face in answer.faces[19:]] == ["male"] * 16
    assert [face.face.box.x0 for face in answer.faces] == [20.0 * i for i in range(35)]


def test_a_picture_larger_than_is_searched_is_decoded_at_a_half(tiny_model, tmp_path, monkeypatch, group):
    """Boxes are the whole picture's, and answers those of the whole picture, but for its last detail."""
    Image.open(group("two.png", (40, 60), (380, 200))).save(tmp_path / "two.jpg", quality=95)
    whole = Predictor(tiny_model).predict(tmp_path / "two.jpg")
    seen = []
    search = YuNet.detect
    monkeypatch.setattr(YuNet, "detect", lambda self, image: seen.append(image.shape) or search(self, image))
    monkeypatch.setattr(prediction, "MOST_PIXELS", 640 * 480 // 4)
    half = Predictor(tiny_model).predict(tmp_path / "two.jpg")
    assert seen == [(240, 320, 3)]
    assert (half.width, half.height, len(half.faces)) == (640, 480, 2)
    for one, other in zip(
        *(sorted(found.faces, key=lambda face: face.face.box.x0) for found in (half, whole)), strict=True
    ):
        assert one.face.box.x0 == pytest.approx(other.face.box.x0, abs=10)
        assert one.face.box.y1 == pytest.approx(other.face.box.y1, abs=10)
        assert one.face.landmarks[2] == pytest.approx(other.face.landmarks[2], abs=10)
        assert one.probability["male"] == pytest.approx(other.probability["male"], abs=0.1)
    assert Predictor(tiny_model, min_face=20).predict(tmp_path / "two.jpg").faces
    assert seen[1:] == [(480, 640, 3)], "a smallest face is one of the whole picture"


def test_names_may_be_paths_and_answers_can_be_written_and_kept_in_sets(tiny_model):
    model = Predictor(tiny_model, detector=Halves())
    answers = list(model.stream([halves(0, 255)] * 2, names=[Path("a") / "b.png"]))
    assert [json.loads(json.dumps(answer.to_dict()))["source"] for answer in answers] == [
        str(Path("a") / "b.png"),
        "<array>",
    ]
    assert len({*answers, *answers[0].faces, answers[0]}) == 4


def test_no_face_found_is_no_face(tiny_model):
    answer = Predictor(tiny_model, detector=Halves(0)).predict(halves(9, 9))
    assert (answer.faces, answer.error, answer.width) == ((), None, 60)


@pytest.mark.parametrize(
    "corners", [(50, 50, 20, 60), (50, 50, 60, 20), (9, 9, 9, 20), (math.nan, 0, 9, 9), (0, 0, math.inf, 9)]
)
def test_a_detector_of_ones_own_that_gives_impossible_boxes_is_told(tiny_model, corners):
    face = Face(box=Box(**dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True))))
    predictor, picture = Predictor(tiny_model, detector=finding(face)), np.zeros((64, 64, 3), np.uint8)
    for given in (picture, [picture], [b"no picture", picture]):
        with pytest.raises(InputError, match="The detector found a face at"):
            predictor.predict(given)


@pytest.mark.parametrize("points", [((1, 1),) * 5, [(20 + i / 10, 20) for i in range(5)]])
def test_a_detector_of_ones_own_that_gives_landmarks_at_one_place_is_told(tiny_model, points):
    face = Face(box=Box(x0=0, y0=0, x1=60, y1=60), landmarks=points)
    with pytest.raises(InputError, match="landmarks are all at") as told:
        Predictor(tiny_model, detector=finding(face)).predict(np.zeros((64, 64, 3), np.uint8))
    assert "or None where they are not known" in told.value.expected


@pytest.mark.parametrize("score", ["high", math.nan, np.array([0.9, 0.8])])
def test_a_detector_of_ones_own_that_gives_no_score_is_told(tiny_model, score):
    face = Face(box=Box(x0=0, y0=0, x1=9, y1=9), detection_score=score)
    with pytest.raises(InputError, match="the detection score"):
        Predictor(tiny_model, detector=finding(face)).predict(np.zeros((64, 64, 3), np.uint8))


@pytest.mark.parametrize("box", [None, (0, 0, 9, 9), SimpleNamespace(x0="left", y0=0, x1=9, y1=9)])
def test_a_detector_of_ones_own_that_gives_no_box_is_told(tiny_model, box):
    face = Face(box=box)
    with pytest.raises(InputError, match="a face with the box"):
        Predictor(tiny_model, detector=finding(face)).predict(np.zeros((64, 64, 3), np.uint8))


def test_a_detector_that_fails_in_a_list_does_not_make_bad_pictures(tiny_model):
    class Broken:
        def detect(self, image):
            raise ModelFileError("The graphics card is gone.")

    with pytest.raises(ModelFileError, match="card is gone"):
        Predictor(tiny_model, detector=Broken()).predict([halves(0, 255)] * 3)


def test_what_other_detectors_count_in_becomes_plain_numbers(tiny_model):
    class Float32:
        def detect(self, image):
            x0, y0, x1, y1 = np.array([1, 2, 50, 30], np.float32)
            points = np.arange(10, dtype=np.float32).reshape(5, 2)
            return [Face(box=Box(x0=x0, y0=y0, x1=x1, y1=y1), detection_score=np.float32(0.9), landmarks=points)]

    one, other = (Predictor(tiny_model, detector=Float32()).predict(halves(0, 255)) for _ in range(2))
    assert one == other
    assert json.loads(json.dumps(one.to_dict()))["faces"][0]["box"] == [1, 2, 50, 30]
    assert json.loads(json.dumps(one.to_dict()))["faces"][0]["landmarks"][4] == [8, 9]


@pytest.mark.parametrize(
    "points", [((1, 2),) * 3, ((math.nan, 2),) * 5, ((1e30, 2),) * 5, ((1, 2, 3),) * 5, ((1, 2),) * 4 + ((1,),), "eyes"]
)
def test_a_detector_of_ones_own_that_gives_impossible_landmarks_is_told(tiny_model, points):
    class Confused:
        def detect(self, image):
            yield Face(box=Box(x0=0, y0=0, x1=9, y1=9), landmarks=points)

    with pytest.raises(InputError, match="The detector found a face with the landmarks"):
        Predictor(tiny_model, detector=Confused()).predict([np.zeros((64, 64, 3), np.uint8)])


def test_a_detector_of_ones_own_may_give_faces_one_by_one(tiny_model):
    class Lazy:
        def detect(self, image):
            yield from Halves(2).detect(image)

    assert len(Predictor(tiny_model, detector=Lazy()).predict(halves(9, 9)).faces) == 2


def test_the_shipped_detector_finds_portraits_of_nobody(tiny_model, portraits):
    model = Predictor(tiny_model)
    for answer in model.predict(portraits):
        (face,) = answer.faces
        assert face.face.landmarks is not None
    assert len(Predictor(tiny_model, min_face=200).predict(portraits[0]).faces) == 0


def test_crops_are_answered_without_looking_for_faces(tiny_model):
    model = Predictor(tiny_model, detector=Halves(), batch_size=2)
    answers = model.predict_faces([halves(0, 0), halves(255, 255), halves(0, 0)])
    assert [answer.perceived_gender for answer in answers] == ["female", "male", "female"]
    assert answers[0].face == Face(box=Box(x0=0, y0=0, x1=60, y1=40))
    with pytest.raises(ImageError, match=r"crops\[3\]: "):
        model.predict_faces([halves(0, 0)] * 3 + [b"no picture"])


def test_pictures_are_taken_a_bounded_number_ahead(tiny_model):
    taken = 0

    def pictures():
        nonlocal taken
        for _ in range(400):
            taken += 1
            yield halves(0, 255)

    model = Predictor(tiny_model, detector=Halves(), batch_size=4, threads=2)
    ahead = [taken - index for index, _ in enumerate(model.stream(pictures()))]
    assert len(ahead) == 400
    assert max(ahead) <= (2 * 4 + 2) + (2 + 1) * 4  # being prepared, and being classified
    taken = 0
    assert max(taken - index for index, _ in enumerate(model.stream_with_pixels(pictures()))) <= 4


def test_memory_does_not_grow_with_the_number_of_pictures(tiny_model):
    """Of what Python allocates, pixels included: a hundred pictures more need nothing more."""
    model = Predictor(tiny_model, detector=Halves(), batch_size=4, threads=2)

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in model.stream(np.zeros((60, 80, 3), np.uint8) for _ in range(count)):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(20)
    assert peak(200) < peak(60) + 100_000


def test_pixels_come_with_their_answers(tiny_model, picture, tmp_path):
    paths = [picture("a.png", 10), tmp_path / "gone.png", picture("b.png", 200)]
    model = Predictor(tiny_model, detect=False)
    pairs = list(model.stream_with_pixels(paths))
    assert [picture.source for picture, _ in pairs] == [str(path) for path in paths]
    assert [None if image is None else int(image[0, 0, 0]) for _, image in pairs] == [10, None, 200]


def test_an_answer_says_where_its_face_is(tiny_model):
    answered = Predictor(tiny_model, detect=False).predict(np.zeros((20, 30, 3), np.uint8)).faces[0]
    assert (answered.box, answered.landmarks, answered.detection_score) == (answered.face.box, None, None)
    assert (answered.box.x1, answered.box.y1) == (30, 20)


def test_explain_shows_the_map_of_the_answer(tiny_model, monkeypatch):
    model = Predictor(tiny_model, detector=Halves())
    image = halves(0, 255)
    first, second = model.predict(image).faces
    with pytest.raises(ModelFileError, match="cannot show"):
        model.explain(image, first)
    maps = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
    monkeypatch.setattr(model._classifier, "activations", lambda framed: maps)
    framed, activation = model.explain(image, second)
    assert framed.shape == (6, 4, 3)
    np.testing.assert_array_equal(activation, maps[0, 1])


def test_what_is_explained_is_the_face_itself(tiny_model, monkeypatch):
    image, model = halves(0, 255), Predictor(tiny_model, detector=Halves())
    first, second = model.predict(image).faces
    monkeypatch.setattr(model._classifier, "activations", lambda framed: np.zeros((1, 2, 2, 3), np.float32))
    assert model.explain(image, first)[0].mean() < 64 < 192 < model.explain(image, second)[0].mean()


def test_an_uncertain_answer_is_explained_by_its_likelier_label(tiny_model, monkeypatch):
    model, image = Predictor(tiny_model, detect=False, threshold=1), np.full((40, 30, 3), 140, np.uint8)
    (face,) = model.predict(image).faces
    maps = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
    monkeypatch.setattr(model._classifier, "activations", lambda framed: maps)
    likelier = model.spec.labels.index(max(face.probability, key=face.probability.get))
    assert face.perceived_gender == "uncertain"
    np.testing.assert_array_equal(model.explain(image, face)[1], maps[0, likelier])


def test_corners_of_a_picture_that_was_taken_as_a_face_are_its_own(tiny_model):
    model, image = Predictor(tiny_model, detect=False), np.full((60, 40, 3), 140, np.uint8)
    (face,) = model.predict(image).faces
    np.testing.assert_allclose(model.corners(image, face), [[0, 0], [40, 0], [0, 60]])


def test_pillow_images_are_decoded_a_few_ahead_and_no_more(tiny_model, monkeypatch):
    decoded, most, lock = 0, 0, threading.Lock()
    settled = prediction.settled

    def count(*given: object) -> object:
        nonlocal decoded, most
        with lock:
            decoded += 1
            most = max(most, decoded)
        return settled(*given)

    class Slow:
        def detect(self, image):
            nonlocal decoded
            time.sleep(0.005)
            with lock:
                decoded -= 1
            return []

    monkeypatch.setattr(prediction, "settled", count)
    model = Predictor(tiny_model, detector=Slow(), threads=2, batch_size=32)
    assert len(model.predict([Image.new("RGB", (30, 40)) for _ in range(60)])) == 60
    assert most <= 4


def as_png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("thing", [None, 3.5, {"a": 1}, io.BytesIO(b"a")])
def test_what_is_no_picture_is_told_what_would_be(tiny_model, thing):
    model = Predictor(tiny_model)
    with pytest.raises(InputError, match="is no picture"):
        model.predict(thing)
    with pytest.raises(InputError, match="is no picture"):
        model.predict_faces(thing)
    with pytest.raises(InputError, match="is no picture"):
        model.predict_faces([thing])
    answered, other = model.predict([as_png(halves(0, 255)), thing])
    assert answered.error is None
    assert "is no picture" in other.error
    assert type(thing).__name__ in other.source


def test_bytes_in_any_container(tiny_model):
    data = as_png(halves(0, 255))
    found = Predictor(tiny_model, detect=False).predict([data, bytearray(data), memoryview(data)])
    assert [one.source for one in found] == ["<bytes>", "<bytearray>", "<memoryview>"]
    assert found[0].faces == found[1].faces == found[2].faces


def test_a_pillow_image_is_read_as_its_file_would_be(tiny_model, tmp_path):
    """Turned upright, on white, and with 16 bits cut to 8."""
    model = Predictor(tiny_model, detect=False)
    turned = Image.fromarray(halves(0, 255))
    turned.getexif()[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=turned.getexif())
    clear = Image.new("LA", (12, 10), (0, 0))
    deep = Image.fromarray(np.full((10, 12), 50_000, np.uint16))
    for name, image in {"clear.png": clear, "deep.png": deep}.items():
        image.save(tmp_path / name)
    for name in ("turned.jpg", "clear.png", "deep.png"):
        with Image.open(tmp_path / name) as opened:
            found, expected = model.predict(opened), model.predict(tmp_path / name)
        assert (found.width, found.height, found.faces) == (expected.width, expected.height, expected.faces)
        assert found.source.startswith("<")
    Image.effect_noise((200, 200), 50).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-4000])
    with Image.open(tmp_path / "cut.jpg") as opened, pytest.raises(ImageError, match="damaged or cut short"):
        model.predict(opened)
    assert [one.error is None for one in model.predict([clear, Image.new("F", (20, 20))])] == [True, False]


def test_one_picture_is_no_list_of_crops(tiny_model):
    model = Predictor(tiny_model, detect=False)
    for one in ("face.jpg", Path("face.jpg"), b"bytes", halves(0, 255)):
        with pytest.raises(InputError, match="got one"):
            model.predict_faces(one)
        with pytest.raises(InputError, match="got one"):
            model.stream(one)
        with pytest.raises(InputError, match="got one"):
            next(model.stream_with_pixels(one))
    both = np.stack([halves(0, 0), halves(255, 255)])
    assert [answer.perceived_gender for answer in model.predict_faces(both)] == ["female", "male"]


@pytest.mark.parametrize("choice", [{"min_face": 30}, {"max_faces": 1}, {"main_face": True}])
def test_without_detection_there_is_nothing_to_choose_from(tiny_model, choice):
    with pytest.raises(ConfigError, match="each picture is one face"):
        Predictor(tiny_model, detect=False, **choice)


def test_a_stream_that_is_left_stops_reading(tiny_model):
    model = Predictor(tiny_model, detector=Halves(), threads=2)
    before = set(threading.enumerate())
    stream = model.stream(halves(0, 255) for _ in range(10**9))
    next(stream)
    assert [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("perceived")]
    stream.close()
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("perceived")]


@pytest.mark.full
def test_a_hundred_thousand_pictures(tiny_model, picture):
    import psutil

    model = Predictor(tiny_model, detect=False)
    path, process = picture("one.jpg", 200, (64, 64)), psutil.Process()
    sizes = []
    for index, answer in enumerate(model.stream(path for _ in range(100_000))):
        assert answer.error is None
        if index % 10_000 == 9_999:
            sizes.append(process.memory_info().rss)
    assert len(sizes) == 10
    assert sizes[-1] < sizes[0] + 20 * 2**20


def check_damaged(
    model: Predictor, originals: list[bytes], damage: Callable[..., bytes], seed: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    answers = list(model.stream(damage(originals[number % len(originals)], rng) for number in range(count)))
    assert len(answers) == count
    for answer in answers:
        assert (answer.error is None) == (answer.width is not None)
        assert len(answer.faces) == 0 or answer.error is None
    assert sum(answer.error is None for answer in answers) >= 0.3 * count


def encoded(portraits: list[Pixels]) -> list[bytes]:
    files = []
    for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF"):
        file = io.BytesIO()
        Image.fromarray(portraits[0]).save(file, form)
        files.append(file.getvalue())
    return files


def test_damaged_pictures_are_answered_or_explained(tiny_model, portraits, damage):
    check_damaged(Predictor(tiny_model), encoded(portraits), damage, 3, 60)


@pytest.mark.full
def test_a_hundred_thousand_damaged_pictures(tiny_model, portraits, damage):
    model = Predictor(tiny_model)
    for seed in range(100):
        check_damaged(model, encoded(portraits), damage, seed, 1000)


def test_the_halves_of_stream_make_the_whole_also_in_two_processes(tiny_model, picture):
    paths = [picture("a.png", 20), picture("b.png", 200)]
    predictor = Predictor(tiny_model, detect=False, threads=1)
    error = ImageError("c.png is out of reach.")
    given, names = [*paths, error], ["a", "b", "c"]
    prepared = pickle.loads(pickle.dumps(list(predictor.prepare(given, names))))
    answered = list(Predictor(tiny_model, detect=False, threads=1).answer(prepared))
    assert answered == list(predictor.stream(given, names))
    assert [one.source for one in answered] == names
    assert answered[2].error == "c.png is out of reach."


def test_a_predictor_is_sent_to_another_process(tiny_model, picture, monkeypatch, tmp_path):
    monkeypatch.chdir(tiny_model.parent)
    detector = YuNet(WEIGHTS, threshold=0.6)
    settings = {"threshold": 0.9, "max_faces": 2, "main_face": True, "threads": 1, "batch_size": 3}
    given = Predictor(tiny_model.name, detector=detector, **settings)
    monkeypatch.chdir(tmp_path)
    sent = pickle.loads(pickle.dumps(given))
    path = picture("a.png", 20)
    assert sent.predict(path) == given.predict(path)
    assert {
        name: getattr(sent, name) for name in ("threshold", "selection", "threads", "batch_size", "model_sha256")
    } == {name: getattr(given, name) for name in ("threshold", "selection", "threads", "batch_size", "model_sha256")}
    assert not pickle.loads(pickle.dumps(Predictor(tiny_model, detect=False))).detects


class Named(Predictor):
    """A predictor of somebody's own, made otherwise and with more to it."""

    def __init__(self, name, model):
        super().__init__(model, detect=False)
        self.name = name


def test_a_predictor_of_ones_own_is_sent_as_it_is(tiny_model, picture):
    given = Named("mine", tiny_model)
    sent = pickle.loads(pickle.dumps(given))
    assert (type(sent), sent.name) == (Named, "mine")
    assert sent.predict(picture("a.png", 20)) == given.predict(picture("a.png", 20))


def test_another_model_in_the_place_of_the_one_that_was_sent_is_refused(make_model, tmp_path):
    model = make_model(tmp_path / "m.onnx", name="one")
    sent = pickle.dumps(Predictor(model, detect=False))
    make_model(model, name="another")
    with pytest.raises(ModelFileError, match="not the model that this predictor was made with"):
        pickle.loads(sent)


def test_a_detector_sent_to_another_process_finds_the_same(portraits):
    detector = YuNet(threshold=0.6, min_face=30)
    sent = pickle.loads(pickle.dumps(detector))
    assert (sent.threshold, sent.min_face) == (0.6, 30)
    assert sent.detect(portraits[0]) == detector.detect(portraits[0]) != []


class OneOfSomething:
    """What can be gone through and is no list: here, another library's array."""

    def __array__(self, *_, **__):
        return np.zeros((20, 20, 3), np.uint8)

    def __iter__(self):
        return iter(np.zeros((20, 20, 3), np.uint8))


def test_a_column_of_paths_is_a_list_of_pictures(predictor, picture):
    polars = pytest.importorskip("polars", reason="needs the extra perceived[audit]")
    paths = [str(picture(f"{shade}.png", shade)) for shade in (20, 200)]
    assert predictor.predict(polars.Series(paths)) == predictor.predict(paths)


@pytest.mark.parametrize("value", [array("B", b"milk"), OneOfSomething(), {"a": "b"}, 3])
def test_what_is_no_list_of_pictures_is_refused_as_a_whole(predictor, value):
    for ask in (predictor.predict, predictor.predict_faces):
        with pytest.raises(ImageError, match="is no picture"):
            ask(value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"threads": 1.5}, "threads cannot be 1.5"),
        ({"batch_size": "2"}, "batch_size cannot be '2'"),
        ({"min_face": 1.5}, "1.5 is no number of pixels"),
        ({"max_faces": "1"}, "'1' is no number"),
        ({"threshold": "0.5"}, "threshold of '0.5'"),
        ({"detector": object()}, "object is no detector"),
    ],
)
def test_settings_of_another_type_are_refused(tiny_model, settings, said):
    with pytest.raises(ConfigError, match=said):
        Predictor(tiny_model, **settings)


def test_a_model_of_another_type_is_refused():
    with pytest.raises(ModelFileError, match="NoneType is no model"):
        Predictor(None)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "NoneType"),
        ([(1, 2, 3, 4)], "tuple"),
        ([Face(box=Box(x0=1000, y0=1000, x1=2000, y1=2000))], "outside the picture"),
    ],
)
def test_what_a_detector_may_not_return_is_told(tiny_model, picture, found, said):
    class Detector:
        def detect(self, image):
            return found

    with pytest.raises(InputError, match=said):
        Predictor(tiny_model, detector=Detector()).predict(picture("a.png", 20))


@pytest.mark.parametrize("address", ["https://example.org/face.jpg", "file:///face.jpg", "data:image/png;base64,AAAA"])
def test_an_address_is_told_to_be_one(predictor, address):
    with pytest.raises(ImageError, match="is an address"):
        predictor.predict(address)


def test_an_empty_path_is_told(predictor):
    with pytest.raises(ImageError, match="path is empty"):
        predictor.predict("")


class InTheMiddle:
    """A detector that takes the middle 40 × 60 pixels of 300 × 200 as a face, and notes what it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, ...]] = []

    def detect(self, image: Pixels) -> list[Face]:
        self.shown.append(image.shape)
        return [Face(box=Box(x0=130.0, y0=70.0, x1=170.0, y1=130.0))]


def as_jpeg(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def test_a_detector_of_ones_own_is_shown_the_whole_picture(tiny_model, monkeypatch):
    monkeypatch.setattr(prediction, "MOST_PIXELS", 300 * 200 // 4)
    detector = InTheMiddle()
    (face,) = Predictor(tiny_model, detector=detector).predict(as_jpeg(np.zeros((200, 300, 3), np.uint8))).faces
    assert detector.shown == [(200, 300, 3)]
    assert face.box == Box(x0=130, y0=70, x1=170, y1=130)


def test_a_box_of_a_picture_decoded_smaller_ends_where_the_picture_does(tiny_model, monkeypatch):
    """libjpeg rounds up what is left of an odd side: of 8,001 lines 4,001, of 8,000 columns 4,000."""
    reduced = Decoded(np.zeros((11, 10, 3), np.uint8), 20, 21)
    monkeypatch.setattr(prediction, "decode_reduced", lambda *_, **__: reduced)
    (face,) = Predictor(tiny_model, detect=False).predict("odd.jpg").faces
    assert face.face.box == Box(x0=0, y0=0, x1=20, y1=21)


def test_several_pictures_may_be_one_array(predictor):
    pictures = np.stack([np.full((40, 40, 3), shade, np.uint8) for shade in (10, 240)])
    assert predictor.predict(pictures) == predictor.predict(list(pictures))


def test_pixels_that_come_with_their_answers_are_the_whole_pictures(tiny_model, monkeypatch):
    monkeypatch.setattr(prediction, "MOST_PIXELS", 300 * 200 // 4)
    ((answer, pixels),) = Predictor(tiny_model).stream_with_pixels([as_jpeg(np.zeros((200, 300, 3), np.uint8))])
    assert pixels.shape == (200, 300, 3)
    assert (answer.width, answer.height) == (300, 200)


def test_a_crowds_pixels_come_with_its_answers(tiny_model):
    model = Predictor(tiny_model, detector=Halves(5), batch_size=2)
    ((answer, pixels),) = model.stream_with_pixels([halves(0, 255)])
    assert len(answer.faces) == 5
    np.testing.assert_array_equal(pixels, halves(0, 255))


def test_a_model_without_alignment_sees_half_a_box_around_each_face(tiny_model):
    """A white face on black, with white beyond half a box: a quarter of what is seen is white."""
    image = np.full((200, 300, 3), 255, np.uint8)
    image[40:160, 110:190] = 0
    image[70:130, 130:170] = 255
    model = Predictor(tiny_model, detector=InTheMiddle())
    (face,) = model.predict(image).faces
    assert face.probability["female"] == pytest.approx(1 / (1 + math.exp(-(128 - 255 / 4) / 16)), abs=0.01)
    assert model.corners(image, face).tolist() == [[110, 40], [190, 40], [110, 160]]


def test_one_pillow_image_may_be_given_again_and_again(tiny_model):
    model = Predictor(tiny_model, detect=False, threads=4)
    data = as_png(np.full((300, 200, 3), 255, np.uint8))
    found = model.predict([Image.open(io.BytesIO(data))] * 12)
    assert [one.error for one in found] == [None] * 12
    assert {one.faces[0].perceived_gender for one in found} == {"male"}
    assert {one.source for one in found} == {"<PngImageFile>"}


def test_each_page_of_an_image_is_answered_for_itself(tiny_model):
    pages = [Image.new("RGB", (400, 300), (brightness,) * 3) for brightness in (0, 255) * 4]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    model = Predictor(tiny_model, detect=False, threads=4)
    found = model.predict(ImageSequence.Iterator(Image.open(file)))
    assert [one.faces[0].perceived_gender for one in found] == ["female", "male"] * 4
    assert len(list(model.stream(page for page in [*pages, Image.new("F", (20, 20)), *pages]))) == 17


def test_want_of_memory_is_told(tiny_model, monkeypatch):
    model = Predictor(tiny_model, detect=False)

    class Session:
        def run(self, outputs, inputs):
            raise RuntimeException("std::bad_alloc")

    monkeypatch.setattr(model._classifier, "_session", Session())
    with pytest.raises(ConfigError, match="not enough memory"):
        model.predict(halves(0, 255))


def test_want_of_threads_is_told(tiny_model, monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    with pytest.raises(ConfigError, match="no more threads"):
        Predictor(tiny_model, detect=False).predict([halves(0, 255)])


def test_a_processor_is_given_few_faces_at_once(tiny_model):
    """16 would take half as long again, face for face."""
    assert Predictor(tiny_model, detect=False).batch_size == prediction.CPU_BATCH < prediction.BATCH


@pytest.mark.parametrize(("min_face", "count"), [(None, 2), (40, 2), (41, 0)])
def test_a_smallest_face_is_asked_of_any_detector_s_faces(tiny_model, min_face, count):
    """Halves are 30 pixels wide and 40 high: the longer side counts."""
    found = Predictor(tiny_model, detector=Halves(), min_face=min_face).predict(halves(0, 255))
    assert len(found.faces) == count


def test_a_predictor_that_is_sent_runs_on_the_device_that_was_asked_for(tiny_model, monkeypatch):
    asked = []
    monkeypatch.setattr(prediction, "providers", lambda device: asked.append(device) or ["CPUExecutionProvider"])
    given = Predictor(tiny_model, detect=False, device="cuda")
    assert given.batch_size == prediction.BATCH
    pickle.loads(pickle.dumps(given))
    assert asked == ["cuda", "cuda"]


def test_crops_go_through_the_network_a_few_at_once(tiny_model, monkeypatch):
    model = Predictor(tiny_model, detect=False, batch_size=2)
    classify, sizes = model._classifier.predict, []
    monkeypatch.setattr(
        model._classifier, "predict", lambda pixels, *_, **how: sizes.append(len(pixels)) or classify(pixels, **how)
    )
    assert len(model.predict_faces([halves(0, 0)] * 5)) == 5
    assert sizes == [2, 2, 1]


def test_a_crowd_is_answered_before_it_waits_for_others(tiny_model):
    model = Predictor(tiny_model, detector=Halves(5), batch_size=4)
    prepared = model.prepare_one(halves(0, 255))
    assert (len(prepared.picture.faces), len(prepared.framed)) == (5, 0)
    model.batch_size = 5
    prepared = model.prepare_one(halves(0, 255))
    assert (len(prepared.picture.faces), len(prepared.framed)) == (0, 5)


def test_several_batches_are_classified_at_the_same_time(tiny_model, monkeypatch):
    model = Predictor(tiny_model, detect=False, threads=2, batch_size=1)
    classify, together = model.classify, threading.Barrier(2, timeout=30)
    monkeypatch.setattr(model, "classify", lambda batch: together.wait() < 2 and classify(batch))
    assert len(model.predict([halves(0, 255)] * 4)) == 4


def test_pictures_without_faces_do_not_wait_for_ever():
    def gathered(*counts: int) -> list[int]:
        waiting = (prediction.Prepared(Picture(source=""), faces=[None] * count) for count in counts)
        return [len(batch) for batch in prediction._batches(waiting, 3)]

    assert gathered(0, 0, 0, 0) == [3, 1]
    assert gathered(1, 2, 3, 2, 2) == [2, 1, 1, 1]


def test_a_face_is_framed_alike_in_a_picture_decoded_smaller(tiny_model):
    """Twice as wide and four times as high as its pixels, whose sides libjpeg rounds each by itself."""
    model = Predictor(tiny_model, detector=Halves())
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    face = Face(box=Box(x0=20, y0=10, x1=40, y1=30))
    framed = model._frame(pixels, face.scaled(2, 4), (2.0, 4.0))
    np.testing.assert_array_equal(framed, model._frame(pixels, face))


def test_a_picture_that_is_taken_as_a_face_is_decoded_whole(tiny_model, monkeypatch):
    monkeypatch.setattr(prediction, "MOST_PIXELS", 300 * 200 // 4)
    decode, asked = prediction.decode_reduced, []
    monkeypatch.setattr(
        prediction,
        "decode_reduced",
        lambda *given, at_least: asked.append(at_least) or decode(*given, at_least=at_least),
    )
    Predictor(tiny_model, detect=False).predict(as_jpeg(np.zeros((200, 300, 3), np.uint8)))
    assert asked == [prediction.MAX_PIXELS]
