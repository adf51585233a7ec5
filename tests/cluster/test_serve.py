"""The server's own app in Ray Serve: its answers, its health, and a new one in the place of the old."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType

import httpx2
import pytest

pytest.importorskip("ray", reason="needs the extra perceived[cluster]")

from perceived import Predictor
from perceived.cluster import connection
from perceived.errors import ClusterError, ConfigError
from perceived.server.answers import Answerer, Question
from perceived.server.settings import Settings
from perceived.server.uploads import Upload


@pytest.fixture(scope="module")
def cluster() -> ModuleType:
    """The module under test, imported here because Ray's own modules warn of themselves while they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from perceived.cluster import serve
    return serve


@pytest.fixture(scope="module")
def port(nodes, new_port) -> Iterator[int]:
    """A free port, for all tests: Ray Serve takes seconds to start. What was deployed is taken down at the end."""
    yield new_port()
    from ray import serve

    with connection.connected(nodes.address):
        serve.shutdown()


@contextmanager
def asked_all_the_while(address, picture):
    """Ask one question after another until the block ends; yield a list that fills with codes and thresholds."""
    answers, over = [], threading.Event()

    def ask():
        with httpx2.Client(base_url=address, timeout=60) as client:
            while not over.is_set():
                answer = client.post("/v1/predict", files={"files": ("grey.png", picture.read_bytes())})
                answers.append((answer.status_code, answer.json().get("threshold")))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield answers
    finally:
        over.set()
        asking.join()


def test_the_same_app_answers_and_is_exchanged(cluster, nodes, port, tiny_model, picture):
    def deploy(threshold: float) -> str:
        said: list[str] = []
        settings = Settings(model=str(tiny_model), detect=False, port=port, workers=1, threshold=threshold)
        cluster.run(settings, address=nodes.grow(1), announce=said.append)
        return said[0]

    grey = picture("grey.png", 130)
    address = deploy(0.5)
    assert address == f"http://127.0.0.1:{port}"
    with httpx2.Client(base_url=address, timeout=60) as client:
        assert client.get("/readyz").json() == {"status": "ok"}
        assert "<html" in client.get("/").text
        answer = client.post("/v1/predict", files={"files": ("grey.png", grey.read_bytes())}).json()
        expected = Predictor(tiny_model, detect=False, threshold=0.5).predict(grey).faces[0]
        assert answer["pictures"][0]["faces"][0]["confidence"] == pytest.approx(expected.confidence, abs=1e-6)
        assert answer["threshold"] == 0.5
        assert client.post("/v1/predict", content=b"x").status_code in (400, 415)
        with asked_all_the_while(address, grey) as answers:
            deploy(0.9)
        assert client.get("/v1/models").json()["models"][0]["threshold"] == 0.9
    assert len(answers) > 3, "the test has seen nothing of the exchange"
    assert {code for code, _ in answers} == {200}, "somebody was turned away"
    assert {threshold for _, threshold in answers} <= {0.5, 0.9}
    with pytest.raises(ClusterError, match=rf":{port} already, and cannot at .*:{port + 1}"):
        cluster.run(Settings(model=str(tiny_model), detect=False, port=port + 1), address=nodes.address)
    with pytest.raises(ClusterError, match=rf":{port} already, and cannot at 0\.0\.0\.0:{port}"):
        cluster.run(Settings(model=str(tiny_model), detect=False, host="0.0.0.0", port=port), address=nodes.address)


def test_pictures_that_wait_for_the_network_go_through_it_together(cluster, tiny_model, picture, monkeypatch):
    """Eight come while the network, which takes four faces at once, is busy with another."""
    deployment = cluster.build({"model": str(tiny_model)})._bound_deployment
    monkeypatch.setattr("ray.serve.get_replica_context", lambda: deployment)  # for the bound on requests at once
    monkeypatch.delattr("ray.serve.batching._BatchQueue.__del__")  # leaves an open event loop where none runs
    held, batches = threading.Event(), []

    class Watched(Predictor):
        def classify(self, batch):
            batches.append(sum(len(one.faces) for one in batch))
            if len(batches) == 1:
                assert held.wait(30)
            return super().classify(batch)

    watched = Watched(tiny_model, detect=False, batch_size=4)
    answerer = Answerer(watched, max_pixels=10**6)
    uploads = [Upload(name=f"{i}.png", data=picture(f"{i}.png", 25 * i).read_bytes()) for i in range(9)]
    begun = [answerer.begin(Question(upload=upload)) for upload in uploads]

    async def ask_all():
        finish = cluster.Gathered(answerer, lanes=1)
        first = asyncio.ensure_future(finish(begun[0]))
        while not batches:
            await asyncio.sleep(0.01)
        others = []
        for one in begun[1:]:  # one after another: Ray Serve alone would make a batch of each
            others.append(asyncio.ensure_future(finish(one)))
            await asyncio.sleep(0.01)
        held.set()
        return await asyncio.gather(first, *others)

    answers = asyncio.run(asyncio.wait_for(ask_all(), 60))
    gc.collect()
    assert [answer.picture.source for answer in answers] == [upload.name for upload in uploads]
    assert batches == [1, 4, 4]
    for answer, upload in zip(answers, uploads, strict=True):
        assert answer == answerer.answer(Question(upload=upload))


def test_what_cannot_be_read_and_what_is_explained_do_not_wait_for_others(tiny_model, picture):
    answerer = Answerer(Predictor(tiny_model, detect=False), max_pixels=10**6)
    damaged = answerer.begin(Question(upload=Upload(name="damaged.png", data=b"no picture")))
    assert damaged.picture.error.startswith("damaged.png is not a picture")
    upload = Upload(name="grey.png", data=picture("grey.png", 90).read_bytes())
    explained = answerer.begin(Question(upload=upload, explain=True))
    assert explained == answerer.answer(Question(upload=upload, explain=True))
    (finished,) = answerer.finish([answerer.begin(Question(upload=upload))])
    assert explained.picture == finished.picture


def test_an_app_that_finds_no_room_is_not_waited_for_for_ever(cluster, nodes, port, tiny_model, monkeypatch):
    monkeypatch.setattr(cluster, "START_SECONDS", 3)
    settings = Settings(model=str(tiny_model), detect=False, port=port, threads=99)
    with pytest.raises(ClusterError, match="does not answer after 3 s"):
        cluster.run(settings, address=nodes.grow(1))


def test_replicas_are_asked_for_their_health_and_follow_the_load(cluster, tiny_model):
    settings = {"model": str(tiny_model), "workers": 7, "threads": 2}
    deployment = cluster.build(settings)._bound_deployment
    scaling = deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (1, 7, 4)
    assert deployment._deployment_config.health_check_period_s == cluster.HEALTH_PERIOD
    assert deployment.ray_actor_options == {"num_cpus": 2, "num_gpus": 0}
    on_cards = cluster.build({**settings, "device": "cuda"})._bound_deployment
    assert on_cards.ray_actor_options == {"num_cpus": 2, "num_gpus": 1}
    with pytest.raises(ConfigError, match="nonsense"):
        cluster.build({"nonsense": 1})


def test_cards_that_no_node_has_are_not_waited_for(cluster, nodes, port, tiny_model):
    with pytest.raises(ClusterError, match="no graphics card"):
        cluster.run(Settings(model=str(tiny_model), port=port, device="cuda"), address=nodes.grow(1))


def test_a_free_port_cannot_be_had(cluster, tiny_model):
    with pytest.raises(ConfigError, match="free port"):
        cluster.run(Settings(model=str(tiny_model), port=0), address="local")


def test_what_is_under_way_is_answered_before_the_app_is_taken_down(
    cluster, nodes, port, tiny_model, picture, wait_until, metric
):
    settings = Settings(model=str(tiny_model), detect=False, port=port, workers=1)
    address = nodes.grow(1)
    cluster.run(settings, address=address, announce=lambda _: None)
    large = picture("large.png", 130, size=(6000, 4000)).read_bytes()
    files = [("files", (f"{i}.png", large)) for i in range(8)]
    with ThreadPoolExecutor(1) as pool, connection.connected(address):
        asked = pool.submit(httpx2.post, f"http://127.0.0.1:{port}/v1/predict", files=files, timeout=120)
        wait_until(lambda: metric(f"http://127.0.0.1:{port}", "perceived_held_bytes") > 0)
        cluster.stop()
        answer = asked.result()
    assert answer.status_code == 200
    assert [one["error"] for one in answer.json()["pictures"]] == [None] * len(files)


def test_an_address_that_another_program_has_leaves_nothing_behind(cluster, nodes, new_port, tiny_model):
    with connection.connected(nodes.address):
        cluster.serve.shutdown()
    for _ in range(2):  # what an attempt leaves on the cluster would refuse the next address in other words
        with socket.create_server(("127.0.0.1", new_port())) as other:
            taken = other.getsockname()[1]
            with pytest.raises(ConfigError, match=f"Cannot listen on 127.0.0.1:{taken}"):
                cluster.run(Settings(model=str(tiny_model), port=taken), address=nodes.address)
