"""Publishing: what would be sent is shown and checked offline; what is sent is one commit of the same files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perceived import card, push
from perceived.errors import ConfigError, DataError, ModelFileError, ServerError

hub = pytest.importorskip("huggingface_hub", reason="needs the extra perceived[hub]")
errors = pytest.importorskip("huggingface_hub.errors")
TO = "hf://somebody/perceived-tiny"


@pytest.fixture
def ours(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model's own card."""
    path = tmp_path / "MODEL_CARD.md"
    card.write(tiny_model, path, datasets=["demo"])
    return path


class FakeApi:
    """Records what is asked of the hub, or refuses it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._error = error

    def create_repo(self, repo_id: str, **rest: Any) -> None:
        self.asked.append((repo_id, rest))

    def create_commit(self, repo_id: str, **rest: Any) -> None:
        if self._error:
            raise self._error
        self.asked.append((repo_id, rest))


def test_one_commit_holds_the_model_and_its_card(tiny_model: Path, ours: Path) -> None:
    api = FakeApi()
    address = push.send(push.gather(tiny_model, TO, ours), private=True, api=api)
    assert address == "https://huggingface.co/somebody/perceived-tiny"
    (repository, made), (same, sent) = api.asked
    assert repository == same == "somebody/perceived-tiny"
    assert made == {"repo_type": "model", "private": True, "exist_ok": True}
    files = {one.path_in_repo: Path(one.path_or_fileobj) for one in sent["operations"]}
    assert files == {"README.md": ours, "tiny.onnx": tiny_model}
    assert "tiny.onnx" in sent["commit_message"]
    assert hub.ModelCard(ours.read_text()).data.license == "apache-2.0"


def test_a_dry_run_shows_it_all_and_asks_no_network(
    tiny_model: Path, ours: Path, run: Callable[..., SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "HfApi", None)
    monkeypatch.setenv("COLUMNS", "200")
    answer = run("push", tiny_model, "--to", TO, "--card", ours, "--dry-run")
    assert answer.code == 0, answer.err
    for part in ("README.md", "tiny.onnx", str(tiny_model.stat().st_size), "image-classification", "nothing is sent"):
        assert part in answer.out
    assert push.gather(tiny_model, TO, ours).rows()[1][2] in answer.out


def test_the_card_that_ships_can_be_pushed(root: Path) -> None:
    upload = push.gather(Path("default"), "hf://somebody/perceived-default", root / "MODEL_CARD.md")
    assert list(upload.files) == ["README.md", "default.onnx"]
    assert upload.metadata["model-index"][0]["name"] == "default"


def test_a_licence_of_its_own_goes_with_the_model(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "MODEL_CARD.md"
    card.write(tiny_model, path, datasets=["celeba"])
    with pytest.raises(DataError, match="points to the licence LICENSE, which is not beside it"):
        push.gather(tiny_model, TO, path)
    (tmp_path / "LICENSE").write_text("For research that earns nothing.")
    assert push.gather(tiny_model, TO, path).files["LICENSE"] == tmp_path / "LICENSE"
    path.write_text(path.read_text().replace('license_link: "LICENSE"', 'license_link: "../../etc/passwd"'))
    with pytest.raises(DataError, match="not beside it"):
        push.gather(tiny_model, TO, path)


@pytest.mark.parametrize(
    "to", ["somebody/model", "hf://model", "hf://a/b/c", "hf://a/", "hf://a/-b", "hf://a/b--c", "hf://a/" + "b" * 99]
)
def test_what_names_no_repository_is_refused(to: str, tiny_model: Path, ours: Path) -> None:
    with pytest.raises(ConfigError, match="names no repository"):
        push.gather(tiny_model, to, ours)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("---\n", "", "there is none"),
        ('license: "apache-2.0"', "licence: x", "license is missing"),
        ('license: "apache-2.0"', "license: [", "wrong metadata"),
        ('license: "apache-2.0"', "license: other", "without saying which"),
        ('license: "apache-2.0"', 'license: "apache-2.0"\nlicense_link: 5', "are words"),
        ('license: "apache-2.0"', 'license: "apache-2.0"\nlicense_link: README.md', "a file of its own"),
        ('pipeline_tag: "image-classification"', "pipeline_tag: 3", "pipeline_tag is 3"),
        ('tags: ["', 'tags: "', "wrong metadata"),
        ("tags:", 'model-index: [{"name": "tiny", "results": [{}]}]\ntags:', "wrong metadata"),
    ],
)
def test_a_card_the_hub_would_refuse_is_refused_here(
    tiny_model: Path, ours: Path, before: str, after: str, message: str
) -> None:
    text = ours.read_text()
    assert before in text
    ours.write_text(text.replace(before, after))
    with pytest.raises(DataError, match=message):
        push.gather(tiny_model, TO, ours)


def test_another_models_card_and_no_card_are_refused(
    tiny_model: Path, make_model: Callable[..., Path], ours: Path, tmp_path: Path
) -> None:
    other = make_model(tmp_path / "other.onnx", threshold=0.9)
    with pytest.raises(DataError, match="does not describe"):
        push.gather(other, TO, ours)
    with pytest.raises(DataError, match="cannot be read"):
        push.gather(tiny_model, TO, tmp_path / "none.md")
    with pytest.raises(ModelFileError):
        push.gather(ours, TO, ours)


@pytest.mark.parametrize(
    ("error", "message", "mend"),
    [
        (OSError("no route"), "cannot be reached: no route", "connect"),
        (errors.LocalTokenNotFoundError("no token"), "cannot be reached: no token", "sign in"),
    ],
)
def test_what_the_hub_says_is_passed_on(
    tiny_model: Path, ours: Path, error: Exception, message: str, mend: str
) -> None:
    with pytest.raises(ServerError, match=message) as raised:
        push.send(push.gather(tiny_model, TO, ours), api=FakeApi(error))
    assert mend in raised.value.mend


def test_a_refusal_names_the_token(tiny_model: Path, ours: Path) -> None:
    response = SimpleNamespace(status_code=403, headers={}, request=None)
    refused = errors.HfHubHTTPError("403", response=response, server_message="no right to write")
    with pytest.raises(ServerError, match="no right to write") as raised:
        push.send(push.gather(tiny_model, TO, ours), api=FakeApi(refused))
    assert raised.value.mend == "hf auth login"
