"""A model and its card, put where others find them: a repository of models on the Hugging Face hub.

Everything that can be checked is checked before anything is sent: the file is a model of ours, its card
is of this model and has the metadata the hub wants, and a licence that the card points to is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from perceived import storage
from perceived.classifier import Classifier
from perceived.errors import ConfigError, DataError, ServerError
from perceived.models import find_model

SCHEME = "hf://"
CARD = "README.md"
"""The name under which the hub shows a card."""
_REPOSITORY = re.compile(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?/[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?")
_MOST_NAME = 96
"""Characters that the hub allows in a repository's name."""
_WANTED: Mapping[str, tuple[type, str]] = {
    "license": (str, "apache-2.0"),
    "library_name": (str, "onnx"),
    "pipeline_tag": (str, "image-classification"),
    "tags": (list, "[perceived-gender]"),
}


@dataclass(frozen=True, slots=True)
class Upload:
    """What goes to ``repository``: local files by the names they get there, and the card's checked metadata."""

    repository: str
    files: Mapping[str, Path]
    metadata: Mapping[str, Any]

    def rows(self) -> list[tuple[str, int, str]]:
        """Return name, bytes and SHA-256 of every file."""
        return [(name, path.stat().st_size, storage.sha256_file(path)) for name, path in self.files.items()]


class Api(Protocol):
    """The part of ``huggingface_hub.HfApi`` that sends."""

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> Any: ...
    def create_commit(self, repo_id: str, *, operations: Any, commit_message: str, repo_type: str) -> Any: ...


def gather(model: str | Path, to: str, card: Path) -> Upload:
    """Return what an upload would send; nothing is sent, and no network is asked.

    Raises:
        ConfigError: ``to`` names no repository.
        ModelFileError: there is no such model, or it is not one of ours.
        DataError: the card is missing, of another model, or not what the hub accepts.
    """
    repository, card = _repository(to), Path(card)
    file = find_model(model)
    Classifier(file)
    metadata = read_card(card)
    if storage.sha256_file(file) not in card.read_text(encoding="utf-8"):
        raise DataError(
            f"{card} does not describe {file}: it names another SHA-256.",
            expected="the card of this very file",
            mend=f"perceived card {file} RESULTS.json --datasets … --out {card}",
        )
    files = {CARD: card, file.name: file}
    licence = metadata.get("license_link", "")
    if licence in files:
        raise DataError(f"The card {card} points to {licence} as the licence.", expected="a file of its own")
    if licence and "://" not in licence:
        files[licence] = _licence(card, licence)
    return Upload(repository, files, metadata)


def read_card(path: Path) -> dict[str, Any]:
    """Return a card's metadata, checked as far as can be without the hub.

    Raises:
        DataError: it is missing, no YAML, or lacks what the hub or a reader needs.
    """
    from huggingface_hub import ModelCard

    mend = f"perceived card MODEL RESULTS.json --datasets … --out {path}"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The card {path} cannot be read: {error}.", expected="a model's card", mend=mend) from error
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    try:
        metadata: dict[str, Any] = _yaml(front[1] if front else "")
        ModelCard(text)
    except ValueError as error:
        raise DataError(f"The card {path} has wrong metadata: {error}.", expected="the hub's", mend=mend) from error
    for key, (kind, example) in _WANTED.items():
        if not isinstance(metadata.get(key), kind) or not metadata[key]:
            found = repr(metadata[key]) if key in metadata else "missing"
            raise DataError(
                f"The card {path} has wrong metadata: {key} is {found}.", expected=f"{key}: {example}", mend=mend
            )
    named = [metadata.get(key, "") for key in ("license_name", "license_link")]
    if not all(isinstance(value, str) for value in named):
        raise DataError(f"The card {path} has wrong metadata: license_name and license_link are words.", mend=mend)
    if metadata["license"] == "other" and not all(named):
        raise DataError(
            f"The card {path} has the licence 'other' without saying which.",
            expected="license_name and license_link beside it",
            mend=mend,
        )
    return metadata


def send(upload: Upload, *, private: bool = False, api: Api | None = None) -> str:
    """Make the repository where there is none, send all files as one commit, and return its address.

    The token is the one of ``hf auth login`` or of the variable ``HF_TOKEN``. ``api`` is by default
    ``huggingface_hub.HfApi()``.

    Raises:
        ServerError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    sender: Api = HfApi() if api is None else api
    operations = [CommitOperationAdd(name, str(path)) for name, path in upload.files.items()]
    try:
        sender.create_repo(upload.repository, repo_type="model", private=private, exist_ok=True)
        sender.create_commit(
            upload.repository, operations=operations, repo_type="model",
            commit_message=f"Upload {', '.join(upload.files)} with perceived",
        )  # fmt: skip
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise ServerError(
            f"The hub refuses {upload.repository}: {error.server_message or status}.",
            expected="a token that may write there" if status in (401, 403) else "",
            mend="hf auth login" if status in (401, 403) else "try again later",
        ) from error
    except (HTTPError, OSError) as error:
        raise ServerError(f"The hub cannot be reached: {error}.", mend="connect, sign in and try again") from error
    return f"https://huggingface.co/{upload.repository}"


def _repository(to: str) -> str:
    name = to.removeprefix(SCHEME)
    parts = _REPOSITORY.fullmatch(name)
    if not to.startswith(SCHEME) or not parts or len(name) > _MOST_NAME or "--" in name or ".." in name:
        raise ConfigError(
            f"{to!r} names no repository.", expected="hf://OWNER/NAME, such as hf://somebody/perceived-default"
        )
    return name


def _licence(card: Path, link: str) -> Path:
    """Return the file that a card's licence is to be found in, which goes with it."""
    path = card.parent / link
    if Path(link).name != link or not path.is_file():
        raise DataError(
            f"The card {card} points to the licence {link}, which is not beside it.",
            expected=f"the text of the licence at {path}",
            mend="write it there: who may use the model, and for what, as its training data asks",
        )
    return path


def _yaml(text: str) -> dict[str, Any]:
    """Read YAML front matter; raise ``ValueError`` if it is not valid."""
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(found, dict):
        raise ValueError("there is none")
    return found
