"""The API: every way to send pictures, what comes back, and what is said when nothing can."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from perceived.predictor import Predictor

httpx2 = pytest.importorskip("httpx2", reason="needs the extra perceived[serve]")
PROBLEM = "application/problem+json"


def files(*named: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", one) for one in named]


def test_answers_are_those_of_the_offline_predictor(http, encoded, tiny_model):
    pictures = [
        (f"{shade}.{kind}", encoded(shade, kind)) for shade in (10, 120, 250) for kind in ("PNG", "JPEG", "WEBP")
    ]
    answer = http.post("/v1/predict", files=files(*pictures))
    assert answer.status_code == 200
    predictor = Predictor(tiny_model, detect=False)
    expected = predictor.stream([data for _, data in pictures], [name for name, _ in pictures])
    assert answer.json()["pictures"] == [{**picture.to_dict()} for picture in expected]


@pytest.mark.parametrize("address", ["/", "/healthz"])
def test_the_head_of_the_page_and_of_the_health_check_is_had_alone(http, address):
    whole, alone = http.get(address), http.head(address)
    assert (alone.status_code, alone.content) == (200, b"")
    assert alone.headers["content-length"] == whole.headers["content-length"]
    assert http.head("/v1/models").status_code == 405


def test_a_bare_body_and_json_are_other_ways_to_send_the_same(http, encoded):
    data = encoded(250)
    form = http.post("/v1/predict", files=files(("picture", data))).json()
    bare = http.post("/v1/predict", content=data, headers={"Content-Type": "image/png"}).json()
    encoded_picture = {"name": "picture", "data": base64.b64encode(data).decode()}
    as_json = http.post("/v1/predict", json={"pictures": [encoded_picture]}).json()
    assert form == bare == as_json
    assert form["pictures"][0]["faces"][0]["perceived_gender"] == "male"


def test_one_bad_file_is_an_entry_beside_the_others(http, encoded):
    answer = http.post(
        "/v1/predict", files=files(("a", encoded(0)), ("b.txt", b"milk, eggs"), ("c", b""), ("d", encoded(255)))
    )
    rows = answer.json()["pictures"]
    assert [row["source"] for row in rows] == ["a", "b.txt", "c", "d"]
    assert [len(row["faces"]) for row in rows] == [1, 0, 0, 1]
    assert "not a picture" in rows[1]["error"]
    assert "empty" in rows[2]["error"]
    assert {row["model"] for row in rows} == {"tiny"}


def test_bad_base64_is_an_entry_too(http, encoded):
    good = base64.b64encode(encoded(0)).decode()
    answer = http.post("/v1/predict", json={"pictures": [{"data": "***"}, {"data": good}]})
    first, second = answer.json()["pictures"]
    assert "not base64" in first["error"]
    assert second["error"] is None


@pytest.mark.parametrize(("threshold", "label"), [(0, "male"), (0.5, "male"), (0.999, "uncertain"), (1, "uncertain")])
def test_a_request_may_choose_its_threshold(http, encoded, threshold, label):
    answer = http.post(f"/v1/predict?threshold={threshold}", files=files(("x", encoded(150)))).json()
    assert answer["threshold"] == threshold
    assert answer["pictures"][0]["faces"][0]["perceived_gender"] == label


def test_a_model_without_activation_maps_still_answers_when_asked_for_them(http, encoded):
    answer = http.post("/v1/predict?explain=true", files=files(("x", encoded(0))))
    assert answer.status_code == 200
    assert "activation" not in answer.json()["pictures"][0]["faces"][0]


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "C:\\windows\\x.jpg", "<img src=x onerror=alert(1)>.jpg", "a\x01\u202eb", "é" * 400, "%00"],
)
def test_names_are_shown_and_never_used(http, encoded, name):
    body = json.dumps({"pictures": [{"name": name, "data": base64.b64encode(encoded(0)).decode()}]})
    answer = http.post("/v1/predict", content=body, headers={"Content-Type": "application/json"}).json()
    shown = answer["pictures"][0]["source"]
    assert shown.isprintable()
    assert len(shown) <= 255
    assert answer["pictures"][0]["error"] is None
    form = http.post("/v1/predict", files=files((name, encoded(0))))
    assert form.status_code == 200


def test_models_tells_what_answers_and_what_is_taken(http, tiny_model):
    answer = http.get("/v1/models").json()
    assert answer["models"][0]["labels"] == ["female", "male"]
    assert answer["models"][0]["sha256"] == Predictor(tiny_model).model_sha256
    assert answer["limits"]["files"] == 64


def test_health_readiness_and_metrics(http, encoded):
    http.post("/v1/predict", files=files(("a", encoded(0)), ("b", b"?")))
    http.get("/no/such/route")
    assert http.get("/healthz").json() == http.get("/readyz").json() == {"status": "ok"}
    text = http.get("/metrics").text
    for line in (
        'perceived_requests_total{route="/v1/predict",status="200"}',
        'perceived_pictures_total{outcome="error"}',
        'perceived_request_seconds_bucket{le="0.1",route="/v1/predict"}',
        'perceived_faces_total{perceived_gender="female"}',
        "perceived_queue_pictures 0.0",
        "perceived_held_bytes 0.0",
        'perceived_rejected_total{problem="not-found"}',
    ):
        assert line in text
    assert "no/such" not in text


@pytest.mark.parametrize(
    ("send", "status", "kind"),
    [
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "unsupported-media-type"),
        ({"content": b"", "headers": {"Content-Type": "image/png"}}, 400, "no-pictures"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "malformed-body"),
        ({"json": {"pictures": []}}, 400, "no-pictures"),
        ({"json": {"images": []}}, 400, "malformed-body"),
        *(
            ({"content": content, "headers": {"Content-Type": "application/json"}}, 400, "malformed-body")
            for content in (
                b'{"pictures": [{"data": "YQ==", "data": "Yg=="}]}',
                b'{"pictures": [{"data": "YQ=="}], "pictures": [{"data": "Yg=="}]}',
            )
        ),
        ({"files": [("image", ("a", b"x"))]}, 400, "malformed-body"),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "malformed-body"),
        ({"content": b"junk", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, "malformed-body"),
        ({"files": [("files", ("a", b"x"))], "params": {"threshold": "1.5"}}, 422, "invalid-parameter"),
        ({"files": [("files", ("a", b"x"))], "params": {"max_faces": "0"}}, 422, "invalid-parameter"),
        ({"files": [("files", ("a", b"x"))], "params": {"threshold": ["0.5", "0.9"]}}, 422, "invalid-parameter"),
    ],
)
def test_what_cannot_be_answered_is_a_problem_document(http, send, status, kind):
    answer = http.post("/v1/predict", **send)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    problem = answer.json()
    assert problem["type"] == f"/problems/{kind}"
    assert problem["status"] == status
    assert problem["detail"]
    assert problem["expected"]
    assert http.get(problem["type"]).json()["title"] == problem["title"]


@pytest.mark.parametrize(
    ("send", "status", "word"),
    [
        ({"files": [("files", ("a", b"x"))], "params": {"treshold": "0.9"}}, 422, "'treshold'"),
        ({"files": [("files", ("a", b"x"))], "params": {"threshold": "0.9", "Explain": "true"}}, 422, "'Explain'"),
        ({"files": [("files", ("a", b"x"))], "data": {"threshold": "0.9"}}, 400, "'threshold'"),
        ({"json": {"pictures": [{"data": ""}], "threshold": 0.9}}, 400, "'threshold'"),
        ({"json": {"pictures": [{"data": "", "title": "x"}]}}, 400, "'pictures.0.title'"),
    ],
)
def test_a_misspelt_or_misplaced_word_is_refused_and_the_known_ones_are_named(http, send, status, word):
    answer = http.post("/v1/predict", **send)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    problem = answer.json()
    assert word in problem["detail"]
    assert "threshold, explain, max_faces" in problem["expected"]


def test_a_form_that_is_cut_short_is_refused(http, encoded):
    request = http.build_request("POST", "/v1/predict", files=files(("a", encoded(0))))
    cut = request.read()[:-10]
    answer = http.post("/v1/predict", content=cut, headers={"Content-Type": request.headers["content-type"]})
    assert answer.status_code == 400
    assert "cut short" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/predict", 405), ("GET", "/v2", 404), ("GET", "/problems/x", 404)]
)
def test_other_addresses_and_methods_are_problems_too(http, method, path, status):
    answer = http.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd"]
)
def test_only_the_pages_own_files_are_served(http, path):
    assert http.get(path).status_code == 404


def test_the_page_may_load_nothing_from_elsewhere(http):
    for path in ("/", "/static/app.js", "/v1/models", "/no/such"):
        headers = http.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers


def test_the_page_is_small_and_names_no_other_origin(root):
    static = [path for path in (root / "src/perceived/server/static").iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in static) < 100_000
    for path in static:
        assert "https://" not in path.read_text(encoding="utf-8")
        assert "http://" not in path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")


def test_request_ids_are_kept_where_harmless(http):
    assert http.get("/healthz", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert len(http.get("/healthz", headers={"X-Request-ID": "a b\tc"}).headers["x-request-id"]) == 32
    for length, kept in ((64, 64), (65, 32)):
        assert len(http.get("/healthz", headers={"X-Request-ID": "a" * length}).headers["x-request-id"]) == kept


def test_logs_are_json_without_names_or_pictures(http, encoded, caplog):
    with caplog.at_level("INFO", logger="perceived.server"):
        http.post("/v1/predict", files=files(("secret-name.png", encoded(0)), ("other-secret.txt", b"private words")))
    from perceived.server.logs import JsonLines

    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "perceived.server"]
    assert lines[-1].items() >= {"route": "/v1/predict", "status": 200, "pictures": 2, "errors": 1, "faces": 1}.items()
    text = json.dumps(lines)
    assert "secret" not in text
    assert "private" not in text
    assert "127.0.0.1" not in text


def test_a_key_is_asked_for_under_any_prefix(tiny_model):
    """As Ray Serve and other mounts hand a request on: the prefix stands in the path, and in root_path too."""
    from perceived.server import app, service, settings

    chosen = settings.Settings(model=str(tiny_model), detect=False, api_key="sesame")
    application = app.create_app(service.Service(chosen, service.open_predictor(chosen)))
    transport = httpx2.ASGITransport(application, root_path="/faces")

    async def ask(path, **headers):
        async with httpx2.AsyncClient(transport=transport, base_url="http://here") as http:
            return (await http.get(path, headers=headers)).status_code

    async def asked():
        return [
            *[await ask(path) for path in ("/faces/v1/models", "/faces/metrics", "/v1/models")],
            await ask("/faces/v1/models", **{"X-API-Key": "sesame"}),
        ]

    assert asyncio.run(asked()) == [401, 401, 401, 200]


def test_a_line_that_is_not_ours_is_json_too(tmp_path):
    """What other packages log goes by way of the last resort otherwise, as bare words that a caller may provoke."""
    code = """if True:
        import logging
        from perceived.server import logs
        logs.configure()
        logging.getLogger("python_multipart").warning("Expected boundary character")
        logging.getLogger("uvicorn.access").warning("127.0.0.1 asked")
        logging.getLogger("uvicorn.error").info("Started")
        logging.getLogger("other").warning("%d", "no number")
        logging.getLogger("other").warning("thing", extra={"fields": 3})
        logs.event("ours", thing={1})
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    assert said == ["Expected boundary character", "Started", "%d", "thing", "ours"]


def test_a_key_opens_the_api_and_not_the_page(start_server, encoded):
    with start_server(api_key="sesame-1") as url, httpx2.Client(base_url=url) as http:
        refused = [http.get("/v1/models"), http.get("/metrics"), http.get("/v1/models", headers={"X-API-Key": "opens"})]
        assert {answer.status_code for answer in refused} == {401}
        assert refused[0].json()["type"] == "/problems/unauthorized"
        assert http.get("/v1/models", headers={"X-API-Key": "sesame-1"}).is_success
        assert http.get("/v1/models", headers={"Authorization": "bearer sesame-1"}).is_success
        assert {http.get(path).status_code for path in ("/", "/healthz", "/readyz")} == {200}
        assert "sesame-1" not in repr(url)


def test_other_origins_are_let_in_only_where_named(start_server):
    asks = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    with start_server() as url:
        assert "access-control-allow-origin" not in httpx2.options(f"{url}/v1/predict", headers=asks).headers
    with start_server(cors_origins=["https://app.example"]) as url:
        answer = httpx2.options(f"{url}/v1/predict", headers=asks)
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        for name in ("Authorization", "X-API-Key", "X-Request-ID", "Content-Type"):
            sent = httpx2.options(f"{url}/v1/predict", headers={**asks, "Access-Control-Request-Headers": name})
            assert sent.is_success, f"a page may send {name}"
        read = httpx2.get(f"{url}/healthz", headers={"Origin": "https://app.example"})
        assert read.headers["access-control-expose-headers"] == "Retry-After, X-Request-ID"
        other = httpx2.get(f"{url}/healthz", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_a_page_elsewhere_can_read_why_it_is_refused(start_server):
    with start_server(cors_origins=["https://app.example"], api_key="sesame") as url:
        answer = httpx2.get(f"{url}/v1/models", headers={"Origin": "https://app.example"})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "https://app.example"


def test_a_fault_of_ours_is_a_problem_and_its_traceback_has_the_requests_id(start_server, encoded, tiny_model, caplog):
    class Broken(Predictor):
        def prepare_one(self, picture, **options):
            if picture.shape[:2] == (40, 30):
                raise ZeroDivisionError
            return super().prepare_one(picture, **options)

    with start_server(Broken(tiny_model, detect=False)) as url, caplog.at_level("ERROR", logger="perceived.server"):
        answer = httpx2.post(f"{url}/v1/predict", files=files(("a", encoded(0))), headers={"X-Request-ID": "abc-1"})
        after = httpx2.post(f"{url}/v1/predict", files=files(("a", encoded(0, size=(50, 50)))))
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert after.is_success
    (record,) = (record for record in caplog.records if record.name == "perceived.server")
    assert record.perceived_fields == {"request_id": "abc-1"}
    assert record.exc_info[0] is ZeroDivisionError


def test_the_largest_faces_are_answered():
    from perceived.server.answers import largest
    from perceived.types import Box, Face, Picture, Prediction

    def answer(side: int) -> Prediction:
        box = Box(x0=0, y0=0, x1=side, y1=side)
        return Prediction(face=Face(box=box), perceived_gender="male", confidence=1, probability={"male": 1})

    picture = Picture(source="a", faces=tuple(map(answer, (5, 30, 10, 20))), model="tiny", model_sha256="")
    assert [face.face.box.x1 for face in largest(picture, 2).faces] == [30, 20]
    assert largest(picture, None) == picture


def test_sixteen_callers_with_pictures_of_their_own_get_their_own_answers(start_server, tmp_path):
    """The shipped model over faces of nobody: a sample of the load that benchmarks/serve.py makes."""
    from perceived import demo_faces

    paths = sorted(demo_faces.write(tmp_path / "demo", count=48, seed=5).rglob("*.jpg"))
    predictor = Predictor()
    expected = {picture.source: picture.to_dict() for picture in predictor.stream(map(str, paths))}
    assert sum(len(picture["faces"]) for picture in expected.values()) > 30
    with start_server(Predictor(threads=1)) as url, ThreadPoolExecutor(16) as pool:

        def ask(path: Path) -> dict[str, Any]:
            answer = httpx2.post(f"{url}/v1/predict", files=files((str(path), path.read_bytes())), timeout=120)
            return answer.json()["pictures"][0]

        found = list(pool.map(ask, paths * 2))
    assert found == [expected[str(path)] for path in paths * 2]


def test_an_address_with_a_slash_too_many_leads_nowhere_else(http, encoded):
    answer = http.post("/v1/predict/", files={"files": encoded(9)}, headers={"Host": "elsewhere.example"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "location" not in answer.headers


def test_a_body_that_is_packed_is_refused(http, encoded):
    headers = {"Content-Type": "image/png", "Content-Encoding": "gzip"}
    answer = http.post("/v1/predict", content=gzip.compress(encoded(9)), headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (415, "The Content-Encoding is 'gzip'.")


def test_an_empty_list_is_told_by_the_name_of_its_member(http):
    assert http.post("/v1/predict", json={"pictures": []}).json()["expected"] == "one or more in the field 'pictures'"


def test_faces_of_nobody_are_drawn_where_nothing_can_be_written(http, monkeypatch, tmp_path):
    from perceived.server import demo

    demo.sheet.cache_clear()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    answer = http.get("/demo.jpg")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")


def test_the_scheme_of_a_key_is_written_in_any_case(start_server):
    with start_server(api_key="sesame") as url:
        for scheme in ("Bearer", "bearer", "BEARER"):
            assert httpx2.get(f"{url}/v1/models", headers={"Authorization": f"{scheme} sesame"}).is_success
            assert httpx2.get(f"{url}/v1/models", headers={"Authorization": f"{scheme} Sesame"}).status_code == 401


def test_an_answer_is_kept_by_nobody_on_its_way(http, encoded):
    answered = http.post("/v1/predict", files=files(("a", encoded(0))))
    refused = http.post("/v1/predict", files=files(("a", b"x")), params={"threshold": "2"})
    assert (answered.status_code, refused.status_code) == (200, 422)
    assert {answer.headers["cache-control"] for answer in (answered, refused)} == {"no-store"}


def test_a_browser_asks_each_time_whether_the_page_has_changed(http):
    assert http.get("/").headers["cache-control"] == "no-cache"


def test_pictures_are_counted_by_what_became_of_them(start_server, metric, encoded):
    with start_server() as url:
        names = [f'perceived_pictures_total{{outcome="{outcome}"}}' for outcome in ("answered", "error")]
        before = [metric(url, name) for name in names]
        httpx2.post(f"{url}/v1/predict", files=files(("a", encoded(0)), ("b", b"?"), ("c", encoded(9))))
        assert [metric(url, name) - count for name, count in zip(names, before, strict=True)] == [2, 1]
