"""What a server answers about a picture, before it is JSON."""

from __future__ import annotations

import numpy as np

from perceived.predictor import Predictor
from perceived.server.answers import Answerer, Question
from perceived.server.uploads import Upload


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
