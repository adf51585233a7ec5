"""The model file as ONNX Runtime runs it: its answers, and every way in which a file can be wrong."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays

from perceived.classifier import Classifier, answer, look, softmax, whole
from perceived.errors import ConfigError, InputError, ModelFileError

BRIGHT = np.full((1, 6, 4, 3), 160, np.uint8)
DARK = np.full((1, 6, 4, 3), 96, np.uint8)


def test_probabilities_follow_the_files_own_labels(tiny_model):
    classifier = Classifier(tiny_model)
    rows = classifier.probabilities(np.concatenate([BRIGHT, DARK]))
    sure = 1 / (1 + math.exp(-2))
    assert classifier.spec.labels == ("female", "male")
    np.testing.assert_allclose(rows, [[1 - sure, sure], [sure, 1 - sure]], atol=1e-6)
    assert rows.dtype == np.float32


def test_temperature_divides_the_logits(make_model, tmp_path):
    classifier = Classifier(make_model(tmp_path / "calibrated.onnx", temperature=4.0))
    assert classifier.probabilities(BRIGHT)[0, 1] == pytest.approx(1 / (1 + math.exp(-0.5)), abs=1e-6)
    assert classifier.logits(BRIGHT)[0, 1] == pytest.approx(1.0)


def test_labels_in_another_order_are_not_assumed(make_model, tmp_path):
    classifier = Classifier(make_model(tmp_path / "turned.onnx", labels=("male", "female")))
    assert classifier.predict(BRIGHT)[0].perceived_gender == "female"


def left_column(pixels):
    """A network that sees the left column alone: the mirror image of a picture is another picture to it."""
    male = (pixels[:, :, 0].mean((1, 2), dtype=np.float32) - 128) / 32
    return np.stack([-male, male], axis=1)


def test_where_logits_are_close_those_of_the_mirror_image_are_averaged_with_them():
    pixels = np.full((3, 6, 4, 3), 128, np.uint8)
    pixels[:, :, 0] = np.array([120, 250, 136], np.uint8)[:, None, None]
    pixels[:, :, -1] = np.array([160, 0, 128], np.uint8)[:, None, None]
    asked = []

    def network(seen):
        asked.append(len(seen))
        return left_column(seen)

    np.testing.assert_array_equal(look(network, pixels, 0), left_column(pixels))
    assert asked == [3]
    looked = look(network, pixels, 0.75)
    assert asked == [3, 3, 2]
    np.testing.assert_allclose(looked[:, 1], [(-8 + 32) / 64, (250 - 128) / 32, 8 / 64])
    np.testing.assert_allclose(look(network, pixels[:0], 0.75), np.zeros((0, 2)))
    asked.clear()
    look(network, np.full((1, 6, 4, 3), 128, np.uint8), 0)
    assert asked == [1], "logits that are the same differ by no less than 0"


def test_a_model_file_says_where_it_looks_twice(make_model, tmp_path, monkeypatch):
    classifier = Classifier(make_model(tmp_path / "twice.onnx", mirror_below=0.75))
    assert classifier.spec.mirror_below == 0.75
    monkeypatch.setattr(classifier, "first_look", left_column)
    pixels = np.full((1, 6, 4, 3), 128, np.uint8)
    pixels[:, :, -1] = 160
    assert classifier.logits(pixels)[0, 1] == pytest.approx(0.5)
    assert classifier.predict(pixels)[0].perceived_gender == "male"
    with pytest.raises(ConfigError, match="mirror_below cannot be -1"):
        make_model(tmp_path / "wrong.onnx", mirror_below=-1)


def test_no_pictures_give_no_rows(tiny_model):
    assert Classifier(tiny_model).probabilities(np.zeros((0, 6, 4, 3), np.uint8)).shape == (0, 2)


def test_predict_is_uncertain_below_the_threshold(make_model, tmp_path):
    classifier = Classifier(make_model(tmp_path / "careful.onnx", threshold=0.95))
    given_up = classifier.predict(BRIGHT)[0]
    assert given_up.perceived_gender == "uncertain"
    assert given_up.confidence == pytest.approx(0.8808, abs=1e-4)
    assert set(given_up.probability) == {"female", "male"}
    assert classifier.predict(BRIGHT, threshold=0.5)[0].perceived_gender == "male"
    assert classifier.predict(BRIGHT)[0].face == whole(4, 6)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan])
def test_a_threshold_that_is_no_probability_is_refused(tiny_model, threshold):
    with pytest.raises(ConfigError, match="threshold"):
        Classifier(tiny_model).predict(BRIGHT, threshold=threshold)


@pytest.mark.parametrize(
    "pixels",
    [BRIGHT.astype(np.float32), BRIGHT[0], BRIGHT[:, :5], BRIGHT[..., :1], BRIGHT.transpose(0, 3, 1, 2)],
    ids=["float", "no batch", "too low", "grey", "channels first"],
)
def test_pixels_of_another_shape_or_type_are_refused(tiny_model, pixels):
    with pytest.raises(InputError, match="cannot read an array") as caught:
        Classifier(tiny_model).probabilities(pixels)
    assert "(n, 6, 4, 3)" in str(caught.value)


def test_predict_refuses_what_is_no_batch_of_pictures(tiny_model):
    for pixels in (np.zeros(5, np.uint8), [1, 2, 3]):
        with pytest.raises(InputError, match="cannot read an array"):
            Classifier(tiny_model).predict(pixels)


@pytest.mark.filterwarnings("ignore:Specified provider")  # ONNX Runtime's own words
def test_a_device_that_does_not_start_is_told_and_not_replaced(tiny_model):
    with pytest.raises(ConfigError, match="cannot start CUDAExecutionProvider"):
        Classifier(tiny_model, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])


def test_threads_are_set(tiny_model):
    assert Classifier(tiny_model, threads=1)._session.get_session_options().intra_op_num_threads == 1
    assert Classifier(tiny_model)._session.get_session_options().intra_op_num_threads == 0
    with pytest.raises(ConfigError, match="0 threads"):
        Classifier(tiny_model, threads=0)


def message(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        Classifier(path)
    assert str(path) in caught.value.what
    assert caught.value.mend
    return caught.value.what


def test_a_missing_file(tmp_path):
    assert "does not exist" in message(tmp_path / "gone.onnx")


def test_what_is_no_file_or_cannot_be_opened(tiny_model, tmp_path, monkeypatch):
    assert "is a device or a pipe" in message(Path("/dev/null"))

    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", refused)
    assert "cannot be read: Permission denied" in message(tiny_model)


def test_a_folder(tmp_path):
    assert "is a folder" in message(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_truncated_file(tiny_model, tmp_path, share):
    whole_file = tiny_model.read_bytes()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole_file[: int(len(whole_file) * share)])
    assert "damaged" in message(cut)


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am a text file\n" * 20, b"\x89PNG\r\n\x1a\n" + bytes(200), bytes(1000)]
)
def test_a_file_that_is_not_onnx(tmp_path, content):
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    assert "not an ONNX file" in message(path) or "cannot run" in message(path)


def test_an_onnx_file_that_is_not_ours(make_model, tmp_path):
    assert "not one of ours" in message(make_model(tmp_path / "theirs.onnx", metadata={"author": "somebody"}))


@pytest.mark.parametrize("text", ["not json", "{}", '{"spec_version": 99}'])
def test_a_damaged_specification(make_model, tmp_path, text):
    assert "specification" in message(make_model(tmp_path / "odd.onnx", metadata={"perceived": text}))


@pytest.mark.parametrize(
    "change",
    [
        {"calibration": {"temperature": 0.0}},
        {"calibration": {"temperature": -1.0}},
        {"calibration": {"temperature": 1.0, "power": 1e999}},
        {"labels": ["male", "male"]},
        {"labels": "fm"},
        {"name": None},
        {"metrics": 3},
        {"threshold": 7},
    ],
)
def test_a_specification_that_makes_no_sense(make_model, tmp_path, change):
    spec = Classifier(make_model(tmp_path / "whole.onnx")).spec.to_dict()
    odd = make_model(tmp_path / "odd.onnx", metadata={"perceived": json.dumps({**spec, **change})})
    assert "specification" in message(odd)


def test_a_name_that_is_no_text(make_model, tmp_path):
    path = make_model(tmp_path / "odd.onnx")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"logits", b"\xffogits"))
    assert "damaged" in message(path) or "cannot run" in message(path)


@pytest.mark.parametrize("change", [{"inputs": "x"}, {"outputs": "y"}, {"height": 7}, {"labels": ("a", "b", "c")}])
def test_other_inputs_or_outputs_than_specified(make_model, tmp_path, change):
    assert "other inputs or outputs" in message(make_model(tmp_path / "odd.onnx", **change))


def test_an_opset_that_is_too_new(make_model, tmp_path):
    path = make_model(tmp_path / "future.onnx", opset=999)
    assert "opset" in message(path)


ROWS = st.tuples(st.integers(1, 4), st.integers(2, 4))
LOGITS = arrays.arrays(np.float32, ROWS, elements=st.floats(-1e4, 1e4, width=32))


@given(LOGITS, st.floats(-100, 100, width=32))
def test_softmax_is_a_distribution_that_ignores_a_common_shift(logits, shift):
    rows = softmax(logits)
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-5)
    assert (rows >= 0).all()
    assert (np.take_along_axis(rows, logits.argmax(axis=1)[:, None], 1)[:, 0] == rows.max(axis=1)).all()
    np.testing.assert_allclose(softmax(logits + np.float32(shift)), rows, atol=1e-2)


@given(st.floats(0, 1, width=32), st.floats(0, 1))
def test_an_answer_is_the_likelier_label_or_uncertain(male, threshold):
    row = np.array([np.float32(1) - np.float32(male), male], np.float32)
    given_answer = answer(whole(1, 1), row, ("female", "male"), threshold)
    assert given_answer.confidence == row.max()
    assert (given_answer.perceived_gender == "uncertain") == (float(row.max()) < threshold)
