"""The OpenAPI document: it describes what the server does, and no request it allows makes the server fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

httpx2 = pytest.importorskip("httpx2", reason="needs the extra perceived[serve]")

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_the_document_names_every_route_and_every_way_to_send_pictures(http):
    document = http.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/predict",
        "/v1/models",
        "/healthz",
        "/readyz",
        "/metrics",
        "/problems/{kind}",
    }
    predict = document["paths"]["/v1/predict"]["post"]
    assert {"multipart/form-data", "application/json", "image/jpeg"} <= set(predict["requestBody"]["content"])
    assert {one["name"] for one in predict["parameters"]} == {"threshold", "explain", "max_faces"}
    known = document["components"]["schemas"]
    assert predict["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/PredictRequest")
    assert known["PredictRequest"]["properties"]["pictures"]["items"]["$ref"].endswith("/EncodedPicture")
    assert set(known["EncodedPicture"]["properties"]) == {"name", "data"}
    assert "Retry-After" in predict["responses"]["503"]["headers"]
    assert "text/plain" in document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    asked = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    assert asked == {"predict", "models", "healthz", "readyz", "metrics", "problem"}, "what clients call them"


def test_the_document_says_how_a_key_is_given(start_server, http):
    def kinds(document) -> set[str]:
        responses = document["paths"]["/v1/predict"]["post"]["responses"]
        return {kind for status, one in responses.items() if status != "200" for kind in one["content"]}

    open_to_all = http.get("/openapi.json").json()
    assert "securitySchemes" not in open_to_all["components"]
    assert kinds(open_to_all) == {"application/problem+json"}
    with start_server(api_key="sekrit") as url:
        document = httpx2.get(f"{url}/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "key"}
    asked = {path for path, one in document["paths"].items() if any("security" in way for way in one.values())}
    assert asked == {"/v1/predict", "/v1/models", "/metrics"}


@pytest.mark.parametrize("name", ["PredictAnswer", "PictureAnswer", "FaceAnswer", "ModelsAnswer", "ProblemAnswer"])
def test_every_answer_has_examples_that_are_as_its_schema_says(http, name):
    from perceived.server import schema

    examples = http.get("/openapi.json").json()["components"]["schemas"][name]["examples"]
    assert examples
    for example in examples:
        getattr(schema, name).model_validate(example)


def test_answers_are_as_their_schema_says(http, encoded):
    from perceived.server.schema import ModelsAnswer, PredictAnswer

    files = [("files", ("a", encoded(0))), ("files", ("b", b"?"))]
    answer = PredictAnswer.model_validate(http.post("/v1/predict", files=files).json(), strict=True)
    assert answer.pictures[0].faces
    assert (answer.pictures[1].width, answer.pictures[1].height) == (None, None)
    ModelsAnswer.model_validate(http.get("/v1/models").json(), strict=True)


def schemathesis(url: str, folder: Path, *, examples: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]
    options = ["--checks", CHECKS, "--max-examples", str(examples), "--seed", "0", "--request-timeout", "120"]
    more = ["--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all", "--no-color", "--workers", "1"]
    return subprocess.run(
        [*command, f"{url}/openapi.json", *options, *more], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("examples", [5, pytest.param(1000, marks=pytest.mark.full)])
def test_no_request_that_the_document_allows_makes_the_server_fail(start_server, tmp_path, examples):
    pytest.importorskip("schemathesis")
    with start_server(max_files=4) as url:
        done = schemathesis(url, tmp_path, examples=examples)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
