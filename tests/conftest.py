"""Fixtures and switches that every test may use."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest

import perceived

hypothesis.settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("unhurried")

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # before anybody imports torch: the processors are shared out
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

ROOT = Path(__file__).resolve().parents[1]
"""The repository."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run the tests marked 'full' (make test-full)")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test the source tree where the installed wheel is meant to be tested."""
    from_source = Path(perceived.__file__).is_relative_to(ROOT / "src")
    if os.environ.get("PERCEIVED_TESTED") == "wheel" and from_source:
        raise pytest.UsageError(f"the wheel should be tested, but perceived comes from {perceived.__file__}")


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which a single process does without
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file, and all of the cluster's, in one process: they share what takes long to make."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = PurePosixPath(nodeid.partition("::")[0])
            return str(path.parent if path.parent.name == "cluster" else path)

    config.option.loadscopereorder = False  # the longest come first as they are
    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the full counts unless they are asked for."""
    if config.getoption("--full"):
        return
    skip = pytest.mark.skip(reason="runs full counts: make test-full")
    for item in items:
        if "full" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's own folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real pictures that stand beside a developer's clone, or a skip that says so.

    The folder is ``../shared/data``; the environment variable ``PERCEIVED_SHARED_DATA`` names another.
    """
    folder = Path(os.environ.get("PERCEIVED_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real pictures at {folder}: set PERCEIVED_SHARED_DATA to a folder that has them")
    return folder.resolve()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    """A function that writes a tiny model file of ours, or one that is wrong in the way it is told.

    The model answers by brightness alone: with ``m`` the mean of all pixels, its logits are
    ``(128 - m) / 32`` for female and ``(m - 128) / 32`` for male. Its input is 6 × 4 pixels.
    """
    return write_model


def write_model(
    path: Path,
    *,
    metadata: dict[str, str] | None = None,
    inputs: str = "pixels",
    outputs: str = "logits",
    opset: int = 20,
    height: int = 6,
    width: int = 4,
    **spec: Any,
) -> Path:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from perceived.preprocess import Preprocessing
    from perceived.spec import METADATA_KEY, ModelSpec

    framing = Preprocessing(height=6, width=4, mean=(0, 0, 0), std=(1, 1, 1))
    ours = ModelSpec(
        **{"name": "tiny", "backbone": "none", "labels": ("female", "male"), "preprocessing": framing, **spec}
    )
    weights = np.array([[-1 / 32, 1 / 32]], np.float32)
    constants = {"axes": np.array([1, 2, 3]), "flat": np.array([-1, 1]), "slope": weights, "offset": -128 * weights[0]}
    graph = helper.make_graph(
        [
            helper.make_node("Cast", [inputs], ["float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=1),
            helper.make_node("Reshape", ["mean", "flat"], ["column"]),
            helper.make_node("Gemm", ["column", "slope", "offset"], [outputs]),
        ],
        "brightness",
        [helper.make_tensor_value_info(inputs, TensorProto.UINT8, ["n", height, width, 3])],
        [helper.make_tensor_value_info(outputs, TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: ours.to_json()} if metadata is None else metadata)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of ours that answers by brightness; see :func:`make_model`."""
    return write_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., SimpleNamespace]:
    """A function that runs the command line here and returns its exit code, output and messages."""
    from perceived import cli

    def run_here(*arguments: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["perceived", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return SimpleNamespace(code=ended.value.code or 0, out=captured.out, err=captured.err)

    return run_here


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a picture of one brightness, 30 × 40 pixels unless told otherwise."""
    from PIL import Image

    def write(name: str, brightness: int, size: tuple[int, int] = (30, 40)) -> Path:
        path = tmp_path / name
        Image.new("RGB", size, (brightness,) * 3).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def start_server(tiny_model: Path) -> Callable[..., Any]:
    """A context manager that runs a real server in a thread and gives its address.

    Its model is the tiny one and takes each picture as a face, unless another ``predictor`` is
    given; every other argument is one of the server's settings.
    """
    pytest.importorskip("fastapi", reason="needs the extra perceived[serve]")
    return functools.partial(run_server, tiny_model)


@contextlib.contextmanager
def run_server(model: Path, predictor: Any = None, **chosen: Any) -> Iterator[str]:
    import uvicorn

    from perceived.server import app, run, service, settings

    ours = settings.Settings(**{"model": str(model), "detect": False, "threads": 2, "port": 0, **chosen})
    at_work = service.Service(ours, predictor or service.open_predictor(ours))
    server = uvicorn.Server(run.configuration(ours, app.create_app(at_work)))
    with run.bind(ours.host, ours.port) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), name="server under test")
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], object]], None]:
    """A function that returns when something is true, which must be within a minute."""

    def wait(holds: Callable[[], object]) -> None:
        ends = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < ends, "not within a minute"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def metric() -> Callable[[str, str], float]:
    """A function that returns what a server counts under a name, labels and all: 0 where it has counted nothing yet."""
    import httpx2

    def read(url: str, name: str) -> float:
        text = httpx2.get(f"{url}/metrics", timeout=60).text
        assert f"# TYPE {name.partition('{')[0]} " in text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0

    return read


SPLIT_COUNTS = {"train": 48, "val": 20, "test": 20}


@pytest.fixture(scope="session")
def tiny_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of 88 noisy pictures, 32 × 32 pixels, in which female is lighter above and male below."""
    import numpy as np
    import polars as pl
    from PIL import Image

    work = tmp_path_factory.mktemp("tiny")
    random = np.random.default_rng(0)
    rows = []
    for split, count in SPLIT_COUNTS.items():
        for index in range(count):
            label = ("female", "male")[index % 2]
            pixels = random.integers(0, 160, (32, 32, 3), dtype=np.uint8)
            half = slice(0, 16) if label == "female" else slice(16, 32)
            pixels[half] += 90
            path = work / "pictures" / f"{split}-{index:03d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
            rows.append({"id": path.name, "path": str(path), "label": label, "identity": index // 2, "split": split})
    table = pl.DataFrame(rows)
    table.write_parquet(work / "split.parquet")
    table.rename({"split": "partition"}).write_parquet(work / "examples.parquet")
    return work


TINY = (
    "backbone=resnet10t",
    "weights=none",
    "sizes=[[0, 32, 32]]",
    "frozen=[]",
    "batch_size=8",
    "epochs=3",
    "validate_every=0",
)
"""Overrides that turn any recipe into one for :func:`tiny_work`."""


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    return TINY


@pytest.fixture(scope="session")
def settings(tiny: tuple[str, ...]) -> list[str]:
    """Settings of small networks of any kind, in numbers that every processor has."""
    return [*tiny, "precision=fp32"]


@pytest.fixture(scope="session")
def as_flags() -> Callable[[Iterable[str]], list[str]]:
    """A function that returns settings as a command takes them: each after ``--set``."""
    return lambda settings: [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="session")
def tiny_run(tiny_work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learnt from :func:`tiny_work` by the recipe ``fast``, as :data:`TINY` has it."""
    from perceived import recipes, train

    out = tmp_path_factory.mktemp("runs") / "tiny"
    train.train(tiny_work, recipes.get("fast", TINY), out, quiet=True)
    return out
