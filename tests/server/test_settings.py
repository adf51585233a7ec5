"""Where settings come from, and what is said of impossible ones."""

from __future__ import annotations

import resource

import pytest

pytest.importorskip("fastapi", reason="needs the extra perceived[serve]")

from perceived.errors import ConfigError
from perceived.prefetch import processors
from perceived.server.run import allow_files
from perceived.server.service import open_predictor
from perceived.server.settings import Settings, load


def test_flags_win_over_the_environment_and_it_over_the_file(monkeypatch, tmp_path):
    file = tmp_path / "serve.env"
    file.write_text("PERCEIVED_SERVE_PORT=1\nPERCEIVED_SERVE_QUEUE=101\nPERCEIVED_SERVE_MAX_FILES=11\n")
    monkeypatch.setenv("PERCEIVED_SERVE_PORT", "2")
    monkeypatch.setenv("PERCEIVED_SERVE_QUEUE", "102")
    chosen = load(file, port=3, host=None)
    assert (chosen.port, chosen.queue, chosen.max_files, chosen.host) == (3, 102, 11, "127.0.0.1")


def test_nobody_outside_this_machine_is_let_in_unless_asked_for():
    chosen = Settings()
    assert (chosen.host, chosen.cors_origins, chosen.api_key) == ("127.0.0.1", [], None)


def test_a_key_is_never_shown(monkeypatch):
    monkeypatch.setenv("PERCEIVED_SERVE_API_KEY", "sesame")
    chosen = load()
    assert chosen.api_key is not None
    assert chosen.api_key.get_secret_value() == "sesame"
    assert "sesame" not in repr(chosen)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"port": 70_000}, "port"),
        ({"threshold": 2.0}, "threshold"),
        ({"max_files": 500, "queue": 100}, "more than the queue holds"),
        ({"max_body": 2**40}, "more than max_memory"),
        ({"wokers": 2}, "wokers"),
        ({"max_body": 64}, "max_body: .*64 bytes hold no picture; .* 64 MiB are 67108864"),
        ({"max_file": 20}, "max_file: .*20 bytes"),
    ],
)
def test_impossible_settings_are_sentences(flags, says):
    with pytest.raises(ConfigError, match=says) as caught:
        load(**flags)
    assert "default factory" not in caught.value.what


@pytest.mark.parametrize(("device", "says"), [("gpu", "'gpu' is unknown"), ("openvino", "cannot use openvino")])
def test_a_device_that_is_not_here_is_told_before_anybody_listens(tiny_model, device, says):
    with pytest.raises(ConfigError, match=says):
        open_predictor(load(model=str(tiny_model), device=device))


def test_what_kubernetes_says_of_a_service_is_no_setting(monkeypatch, tmp_path):
    for name in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8000_TCP", "PORT_8000_TCP_ADDR"):
        monkeypatch.setenv(f"PERCEIVED_SERVE_SVC_{name}", "tcp://10.0.0.1:80" if name == "PORT" else "10.0.0.1")
    monkeypatch.setenv("PERCEIVED_SERVE_PORT", "tcp://10.0.0.1:80")
    assert load().port == 8000
    (tmp_path / "server.env").write_text("PERCEIVED_SERVE_PORT=9002\n")
    assert load(tmp_path / "server.env").port == 9002
    monkeypatch.setenv("PERCEIVED_SERVE_PORT", "9001")
    assert load().port == 9001
    monkeypatch.setenv("PERCEIVED_SERVE_LISTEN_PORT", "9000")
    with pytest.raises(ConfigError, match="names no setting"):
        load()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PERCEIVED_SERVE_CORS_ORIGINS", "https://app.example", r"cors_origins.*\n.*JSON in what is a list"),
        ("PERCEIVED_SERVE_THREDS", "4", r"PERCEIVED_SERVE_THREDS names no setting.*\n.*PERCEIVED_SERVE_THREADS$"),
        ("PERCEIVED_SERVE_XYZ", "4", "one of PERCEIVED_SERVE_HOST"),
        ("PERCEIVED_SERVE_API_KEY", "Schlüssel", "ASCII"),
        ("PERCEIVED_SERVE_API_KEY", "open sesame", "without spaces"),
        ("PERCEIVED_SERVE_HOST", "", "host"),
        ("PERCEIVED_SERVE_API_KEY", "", "an empty key would let everybody in"),
    ],
)
def test_impossible_variables_are_sentences(monkeypatch, name, value, says):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"(?m){says}"):
        load()


def test_a_line_without_the_prefix_is_not_passed_over(tmp_path):
    (tmp_path / "server.env").write_text("POSTGRES=1\nAPI_KEY=secret\n")
    with pytest.raises(ConfigError, match=r"sets API_KEY[\s\S]*PERCEIVED_SERVE_API_KEY"):
        load(tmp_path / "server.env")


def test_workers_share_the_processors():
    assert Settings().threads == processors()
    assert Settings(workers=2).threads == max(1, processors() // 2)
    assert Settings(workers=64).threads == 1
    assert Settings(workers=64, threads=3).threads == 3


def test_a_misspelt_line_or_a_missing_file_is_not_passed_over(tmp_path):
    file = tmp_path / "serve.env"
    file.write_text("PERCEIVED_SERVE_QUEUEE=101\n")
    with pytest.raises(ConfigError, match=r"(?i)queuee"):
        load(file)
    with pytest.raises(ConfigError, match="There is no file"):
        load(tmp_path / "gone.env")
    file.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(file)


@pytest.mark.parametrize("line", ["API_KEY: secret", "API_KEY='secret", "API_KEY", "API_KEY=${SECRET}"])
def test_a_line_that_sets_nothing_is_refused(tmp_path, line):
    file = tmp_path / "server.env"
    file.write_text(f"# the port\n\nPERCEIVED_SERVE_PORT=9000\nPERCEIVED_SERVE_{line}\n")
    with pytest.raises(ConfigError, match=r"Line 4 of .*server\.env cannot be read"):
        load(file)


@pytest.mark.parametrize("name", ["drain", "answer_timeout"])
def test_for_ever_is_no_time(name):
    with pytest.raises(ConfigError, match="finite"):
        load(**{name: float("inf")})


def test_a_server_lets_itself_open_a_file_for_each_connection(monkeypatch):
    limits = [256, 4096]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: limits.__setitem__(slice(None), both))
    allow_files(200)
    assert limits == [256, 4096]
    allow_files(600)
    assert limits == [600, 4096]
    allow_files(4096)
    assert limits == [4096, 4096]
    with pytest.raises(ConfigError, match="allows 4096 open files"):
        allow_files(5000)
