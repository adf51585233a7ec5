"""Train, audit and serve a classifier of perceived gender from face photographs.

Reading pictures needs the core install only::

    import perceived
    predictor = perceived.Predictor("model.onnx")
    predictor.predict("holiday.jpg").faces[0].perceived_gender

Every stage is a module that is loaded when it is first used, such as :mod:`perceived.explore`,
:mod:`perceived.train` and :mod:`perceived.export`; most need the extra ``perceived[train]``. So
``import perceived`` is quick and loads nothing heavy.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perceived import (
        answers as answers,
        audit as audit,
        average as average,
        backbones as backbones,
        calibrate as calibrate,
        card as card,
        classifier as classifier,
        client as client,
        compare as compare,
        data as data,
        demo_faces as demo_faces,
        detector as detector,
        errors as errors,
        evaluate as evaluate,
        explore as explore,
        export as export,
        label_errors as label_errors,
        pages as pages,
        predictor as predictor,
        preprocess as preprocess,
        push as push,
        quantize as quantize,
        recipes as recipes,
        robustness as robustness,
        selection as selection,
        spec as spec,
        study as study,
        tracking as tracking,
        train as train,
        tune as tune,
        types as types,
        video as video,
    )
    from perceived.classifier import Classifier
    from perceived.detector import Detector
    from perceived.errors import ImageError, InputError, PerceivedError
    from perceived.predictor import Predictor
    from perceived.preprocess import Preprocessing
    from perceived.spec import ModelSpec
    from perceived.types import Box, Face, Picture, Prediction

__version__ = "0.1.0"

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime's packages send notes of their use

__all__ = [
    "Box",
    "Classifier",
    "Detector",
    "Face",
    "ImageError",
    "InputError",
    "ModelSpec",
    "PerceivedError",
    "Picture",
    "Prediction",
    "Predictor",
    "Preprocessing",
    "__version__",
]

_STAGES = {
    "audit": "audit",
    "average": "train",
    "backbones": "train",
    "calibrate": "train",
    "card": "audit",
    "client": "serve",
    "compare": "train",
    "data": "",
    "demo_faces": "",
    "detector": "",
    "errors": "",
    "evaluate": "train",
    "explore": "train",
    "export": "train",
    "label_errors": "train",
    "push": "hub",
    "quantize": "train",
    "recipes": "",
    "robustness": "train",
    "study": "train",
    "train": "train",
    "tune": "tune",
    "video": "video",
}
"""The modules that are meant to be used, with the extra that each needs; ``import *`` leaves them out. Every other
one is loaded when it is asked for, too."""

_HOMES = {
    "Box": "types",
    "Classifier": "classifier",
    "Detector": "detector",
    "Face": "types",
    "ImageError": "errors",
    "InputError": "errors",
    "ModelSpec": "spec",
    "PerceivedError": "errors",
    "Picture": "types",
    "Prediction": "types",
    "Predictor": "predictor",
    "Preprocessing": "preprocess",
}


if not TYPE_CHECKING:  # which would take every name for one of these

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            return getattr(import_module(f"perceived.{_HOMES[name]}"), name)
        from perceived.extras import submodule

        return submodule(__name__, name)


def __dir__() -> list[str]:
    """Name what can be loaded here: whoever goes through all names, as ``help`` does, loads them."""
    from perceived.extras import is_installed

    return sorted((*__all__, *(name for name, extra in _STAGES.items() if not extra or is_installed(extra))))
