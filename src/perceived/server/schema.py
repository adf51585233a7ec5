"""What the API takes and gives, as OpenAPI shows it; the answers are those of ``perceived predict --json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from perceived import __version__
from perceived.types import SCHEMA_VERSION

SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""The two ways to give a server's key, in OpenAPI's words."""
Point = Annotated[list[float], Field(min_length=2, max_length=2)]
Share = Annotated[float, Field(ge=0, le=1)]
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait before asking again.", "schema": {"type": "integer"}}}
LONGEST_PLACE = 100
"""Letters of a caller's own words that an error repeats."""
_REFERENCE = "#/components/schemas/{model}"

EXAMPLE_FACE: dict[str, Any] = {
    "box": [412.0, 180.5, 551.0, 366.0],
    "detection_score": 0.94,
    "landmarks": [[449.1, 251.0], [513.8, 249.6], [480.2, 290.7], [455.0, 322.9], [509.4, 321.8]],
    "perceived_gender": "female",
    "confidence": 0.98,
    "probability": {"female": 0.98, "male": 0.02},
}
EXAMPLE_PICTURE: dict[str, Any] = {
    "schema": SCHEMA_VERSION,
    "model": "default",
    "model_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "source": "holiday.jpg",
    "width": 1024,
    "height": 768,
    "faces": [EXAMPLE_FACE],
    "error": None,
}
EXAMPLE_FAILURE: dict[str, Any] = {
    "schema": SCHEMA_VERSION,
    "model": "default",
    "model_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "source": "notes.txt",
    "width": None,
    "height": None,
    "faces": [],
    "error": "notes.txt is not a picture: it holds text, starting 'milk, eggs'.",
}
EXAMPLE_MODELS: dict[str, Any] = {
    "models": [
        {
            "name": "default",
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "backbone": "inception_v3@Mixed_6e",
            "labels": ["female", "male"],
            "threshold": 0.8,
            "metrics": {"accuracy": 0.95},
        }
    ],
    "detects": True,
    "limits": {"body_bytes": 67108864, "file_bytes": 20971520, "pixels": 50000000, "files": 64, "faces": 256},
    "version": __version__,
}
EXAMPLE_PROBLEM: dict[str, Any] = {
    "type": "/problems/too-many-files",
    "title": "There are too many files",
    "status": 413,
    "detail": "The request holds more files than one may.",
    "expected": "at most 64",
}
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "PredictAnswer": [{"threshold": 0.8, "pictures": [EXAMPLE_PICTURE, EXAMPLE_FAILURE]}],
    "PictureAnswer": [EXAMPLE_PICTURE, EXAMPLE_FAILURE],
    "FaceAnswer": [EXAMPLE_FACE],
    "ModelsAnswer": [EXAMPLE_MODELS],
    "ProblemAnswer": [EXAMPLE_PROBLEM],
}
"""Examples by the class that describes them. FastAPI would leave out what is null in them."""


class PredictQuery(BaseModel):
    """What a prediction may be asked with in its address."""

    model_config = ConfigDict(extra="forbid")

    threshold: float | None = Field(
        None, ge=0, le=1, description="Answer 'uncertain' below this confidence; 0 always answers."
    )
    explain: bool = Field(False, description="Say where in the face the network found its answer.")
    max_faces: int | None = Field(None, ge=1, le=10_000, description="Answer for at most so many faces.")


class EncodedPicture(BaseModel):
    """A picture inside a JSON request."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", description="What the answer calls it.", max_length=4096)
    data: str = Field(description="The bytes of the picture's file in base64.")


class PredictRequest(BaseModel):
    """A request in JSON."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"pictures": [{"name": "a.jpg", "data": "/9j/4AAQ…"}]}]}
    )

    pictures: list[EncodedPicture]


class Activation(BaseModel):
    """Where the network found what it answered by: a grid over the part of the picture it saw."""

    values: list[list[Share]] = Field(description="Rows of the grid; 1 where the answer drew most on the picture.")
    corners: list[Point] = Field(
        description="Where the grid's upper left, upper right and lower left corners lie, in pixels of the picture.",
        min_length=3,
        max_length=3,
    )


class FaceAnswer(BaseModel):
    """The answer for one face."""

    box: list[float] = Field(
        description="x0, y0, x1, y1 in pixels of the picture turned upright.", min_length=4, max_length=4
    )
    detection_score: float | None = Field(description="How sure the detector is that this is a face.")
    landmarks: list[Point] | None = Field(
        description="Right eye, left eye, nose tip, right and left mouth corner; right and left are the person's own."
    )
    perceived_gender: str = Field(description="One of the model's labels, or 'uncertain' below the threshold.")
    confidence: Share = Field(description="The larger of the calibrated probabilities.")
    probability: dict[str, Share] = Field(description="Calibrated probability by label.")
    activation: Activation | None = Field(None, description="With explain=true, where the model allows it.")


class PictureAnswer(BaseModel):
    """The answer for one picture: its faces, or the reason there is no answer."""

    version: int = Field(SCHEMA_VERSION, alias="schema", description="Version of this object's form.")
    model: str = Field(description="Name of the model that answered.")
    model_sha256: str = Field(description="Hash of its file.")
    source: str = Field(description="What the sender calls the picture.")
    width: int | None = Field(description="Pixels of the picture turned upright; null where it cannot be read.")
    height: int | None
    faces: list[FaceAnswer]
    error: str | None = Field(description="Why there is no answer: what happened, what was expected, how to mend it.")


class ModelAnswer(BaseModel):
    """A model the server answers with."""

    name: str
    sha256: str = Field(description="Hash of the model file.")
    backbone: str
    labels: list[str]
    threshold: Share = Field(
        description="Answers less sure than this are 'uncertain', unless a request says otherwise."
    )
    metrics: dict[str, Any] = Field(description="What the model file says it was measured at.")


class PredictAnswer(BaseModel):
    """One answer for each picture, in the request's order."""

    threshold: Share = Field(description="Below which these answers are 'uncertain'.")
    pictures: list[PictureAnswer]


class Limits(BaseModel):
    """What one request may hold."""

    body_bytes: int
    file_bytes: int
    pixels: int
    files: int
    faces: int


class ModelsAnswer(BaseModel):
    """The models, and what the server takes."""

    models: list[ModelAnswer]
    detects: bool = Field(description="Whether faces are looked for; otherwise each picture is taken as one.")
    limits: Limits
    version: str = Field(description="Version of the server.")


class ProblemAnswer(BaseModel):
    """An error after RFC 9457."""

    type: str = Field(description="Which kind of problem: stable, and an address on this server that explains it.")
    title: str
    status: int
    detail: str = Field(description="What happened.")
    expected: str = Field(description="What was expected.")


class ProblemKind(BaseModel):
    """What a kind of problem means."""

    status: int
    title: str
    about: str


class Health(BaseModel):
    """Whether the server is alive, or ready."""

    status: Literal["ok"]


def finish(document: dict[str, Any], *, has_key: bool) -> None:
    """Write into an OpenAPI document what its routes do not: JSON requests, examples, keys, problems' media type."""
    request = PredictRequest.model_json_schema(ref_template=_REFERENCE)
    request["properties"]["pictures"]["minItems"] = 1
    document["components"]["schemas"] |= {**request.pop("$defs"), PredictRequest.__name__: request}
    for name, examples in EXAMPLES.items():
        document["components"]["schemas"][name]["examples"] = examples
    if has_key:
        document["components"]["securitySchemes"] = SECURITY
    for path in document["paths"].values():
        for operation in path.values():
            if has_key and "401" in operation["responses"]:
                operation["security"] = [{name: []} for name in SECURITY]
            for status, response in operation["responses"].items():
                if not status.startswith("2"):
                    response["content"].pop("application/json", None)


def what_is_wrong(where: Sequence[str | int], error: Mapping[str, Any]) -> str:
    """Return a sentence about what pydantic found wrong in one place."""
    place = ".".join(map(str, where))[:LONGEST_PLACE]
    return f"{place!r} is not known." if error["type"] == "extra_forbidden" else f"{place or 'body'}: {error['msg']}."


def form_schema(field: str) -> dict[str, Any]:
    """Return the OpenAPI schema of a multipart form with pictures in one field."""
    return {
        "type": "object",
        "properties": {field: {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}},
        "required": [field],
        "additionalProperties": False,
    }


def reference(model: type[BaseModel]) -> dict[str, Any]:
    """Return where an OpenAPI document has the schema of a model."""
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def bodies(field: str, formats: Sequence[str]) -> dict[str, Any]:
    """Return OpenAPI's description of the bodies that a prediction may be asked with."""
    picture = {"schema": {"type": "string", "format": "binary", "minLength": 1}}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form_schema(field)},
            "application/json": {"schema": reference(PredictRequest)},
            **dict.fromkeys(formats, picture),
        },
    }
