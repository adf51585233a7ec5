"""What a model file says about itself: labels, preprocessing, calibration, threshold, provenance.

The same record stands beside a checkpoint (``model.json``) and inside an ONNX file's metadata.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perceived.errors import ConfigError, ModelFileError
from perceived.preprocess import Preprocessing

SPEC_VERSION = 1
METADATA_KEY = "perceived"
"""Key of the ONNX metadata entry that holds the specification as JSON."""

LABELS = ("female", "male")
"""The label order new models are trained with; readers take theirs from the model file."""
UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Everything needed to turn a picture into a model's answer, and to say where it came from.

    ``labels[i]`` names output ``i``. ``power`` and ``temperature`` calibrate the logits, as
    :func:`perceived.classifier.calibrated` says. An answer whose confidence lies below ``threshold`` is
    ``"uncertain"``; 0 always answers. Where the two largest logits of a face lie within ``mirror_below``
    of each other, those of its mirror image are averaged with them; 0: nowhere.
    """

    name: str
    backbone: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    temperature: float = 1.0
    power: float = 1.0
    threshold: float = 0.5
    mirror_below: float = 0.0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks = {
            "name": isinstance(self.name, str) and bool(self.name),
            "labels": len(set(self.labels)) == len(self.labels) >= 2
            and all(isinstance(label, str) and label for label in self.labels),
            "temperature": 0 < self.temperature < math.inf,
            "power": 0 < self.power < math.inf,
            "threshold": 0 <= self.threshold <= 1,
            "mirror_below": 0 <= self.mirror_below < math.inf,
            "provenance": isinstance(self.provenance, Mapping),
            "metrics": isinstance(self.metrics, Mapping),
        }
        wrong = [key for key, right in checks.items() if not right]
        if wrong:
            raise ConfigError(f"a model's {wrong[0]} cannot be {getattr(self, wrong[0])!r}")

    def to_dict(self) -> dict[str, Any]:
        return {
            "spec_version": SPEC_VERSION,
            "name": self.name,
            "backbone": self.backbone,
            "labels": list(self.labels),
            "preprocessing": self.preprocessing.to_dict(),
            "calibration": {"temperature": self.temperature, "power": self.power},
            "threshold": self.threshold,
            "mirror_below": self.mirror_below,
            "provenance": dict(self.provenance),
            "metrics": dict(self.metrics),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read a specification.

        Raises:
            ModelFileError: it is damaged, incomplete or of an unknown version.
        """
        try:
            value = json.loads(text)
            if value["spec_version"] != SPEC_VERSION:
                raise ModelFileError(
                    f"The model file has specification version {value['spec_version']}.",
                    expected=f"version {SPEC_VERSION}",
                    mend="upgrade perceived, or export the model again",
                )
            return cls(
                name=value["name"],
                backbone=value["backbone"],
                labels=tuple(value["labels"]) if isinstance(value["labels"], list) else (),
                preprocessing=Preprocessing.from_dict(value["preprocessing"]),
                temperature=float(value["calibration"]["temperature"]),
                power=float(value["calibration"].get("power", 1.0)),
                threshold=float(value["threshold"]),
                mirror_below=float(value.get("mirror_below", 0.0)),
                provenance=value["provenance"],
                metrics=value["metrics"],
            )
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            why = error.what.rstrip(".") if isinstance(error, ConfigError) else error
            raise ModelFileError(
                f"The model file's specification is not readable: {why}.",
                mend="export the model again with 'perceived export'",
            ) from error
