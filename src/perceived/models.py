"""Models by name: those that ship with the package, and those that other packages bring."""

from __future__ import annotations

import os
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path

from perceived.errors import ConfigError, DataError, ModelFileError
from perceived.storage import read_json, sha256_file, sha256_json, write_text

SHIPPED = Path(__file__).parent / "weights"
DETECTORS = "face_detection*"
"""Files beside the models that find faces and answer nothing."""
SUMS = "SHA256SUMS"
"""Beside the models of a package: their hashes, as ``sha256sum`` writes and checks them."""
ENTRY_POINTS = "perceived.models"
"""Group of entry points by which a package brings a model: the model's name, and the module beside ``NAME.onnx``."""
PACKAGES = {"research": "packages/research-weights, from a clone of this project: for non-commercial research only"}
"""Our own packages of models, which not everybody may use."""


def shipped() -> dict[str, Path]:
    """Return the models that ship with this package, by name."""
    return {file.stem: file for file in sorted(SHIPPED.glob("*.onnx")) if not file.match(DETECTORS)}


def installed() -> dict[str, Path]:
    """Return the models that other installed packages bring, by name."""
    return {
        entry.name: Path(str(resources.files(entry.value) / f"{entry.name}.onnx"))
        for entry in entry_points(group=ENTRY_POINTS)
    }


def sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files in a folder of weights, by name, as its ``SHA256SUMS`` has them."""
    listed = folder / SUMS
    lines = listed.read_text(encoding="utf-8", errors="replace").splitlines() if listed.is_file() else ()
    return {name[1:]: digest for digest, _, name in (line.partition(" ") for line in lines)}  # " " or "*" before it


def write_sum(file: Path) -> None:
    """Put the SHA-256 of a file of weights into the ``SHA256SUMS`` beside it, in place of the one it had."""
    listed = sums(file.parent) | {file.name: sha256_file(file)}
    write_text(file.parent / SUMS, "".join(f"{digest}  {name}\n" for name, digest in listed.items()))


def _whole(model: Path) -> Path:
    """Return a model that was installed if it is what was packed; a package without sums is taken at its word."""
    packed = sums(model.parent).get(model.name)
    if packed is not None and (found := sha256_file(model)) != packed:
        raise ModelFileError(
            f"{model} has the hash {found[:12]}: it is damaged, or was changed.",
            expected=f"{packed[:12]}, as it was packed",
            mend="install the package again",
        )
    return model


def model_file(path: Path, *, made_of: Path | None = None) -> Path:
    """Return where a model file is to be written; ``made_of`` is the model it is made of.

    Raises:
        ConfigError: a folder has that name, it is no name for a model, or it is ``made_of``'s own.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder.", expected="the name of an ONNX file", mend=f"{path}/model.onnx")
    if path.suffix.lower() != ".onnx":
        raise ConfigError(
            f"{path} is no name for a model.",
            expected="a name that ends with .onnx",
            mend=f"{path.with_suffix('.onnx')}",
        )
    if made_of is not None and path.exists() and path.samefile(made_of):
        raise ConfigError(
            f"{path} is the model itself, which would be lost.", expected="another name", mend="choose another --out"
        )
    return path


def beside(model: str | Path, ending: str) -> Path:
    """Return where what is made of a model goes: beside its file, or here for one that is given by its name.

    Raises:
        ModelFileError: as :func:`find_model`.
    """
    path = find_model(model)
    return (path.parent if path == Path(model) else Path()) / f"{path.stem}-{ending}.onnx"


def report_folder(model: str | Path, kind: str, work: str | Path, record: str) -> Path:
    """Return where a report on a model goes unless told otherwise: into a run, or beside an ONNX file.

    For a model that is given by its name, that is here. Where a report on another workspace than ``work`` stands
    there, as its file ``record`` tells, the name of this one is added.

    Raises:
        ConfigError, ModelFileError: as :func:`find_trained`.
    """
    path, here = Path(model), Path(work).resolve()
    folder = path / kind if find_trained(model).is_dir() else path.with_name(f"{path.stem}-{kind}")
    other = folder.with_name(f"{folder.name}-{here.name}")
    distinct = other.with_name(f"{other.name}-{sha256_json(str(here))[:8]}")  # of several workspaces of one name
    return next((place for place in (folder, other) if _told_of(place / record) in (None, str(here))), distinct)


def _told_of(record: Path) -> str | None:
    """Return the workspace that a report says it is of; ``None`` where there is no report."""
    try:
        told = read_json(record).get("workspace")
    except (DataError, AttributeError):  # none, or nothing of ours
        return None
    return None if told is None else str(told)


def find_trained(model: str | Path) -> Path:
    """Return the folder of a run given by path, or what :func:`find_model` finds.

    Raises:
        ConfigError: a run lies here under the name of a model that is installed.
        ModelFileError: as :func:`find_model`.
    """
    path = Path(model)
    if not path.is_dir() or str(path) not in shipped() | installed():
        return path if path.is_dir() else find_model(model)
    if (path / "best").is_dir():
        raise ConfigError(
            f"{path} is a run in this folder, and also the name of a model that is installed.",
            mend=f"rename the run, or give its whole path: {path.resolve()}",
        )
    return find_model(model)


def find_model(model: str | Path) -> Path:
    """Return the file of a model given by path, or by the name of one that is installed.

    What lies here under the name of a model that ships, as ``./default`` would say, does not hide it, and a folder
    hides none at all: no folder is a model file.

    Raises:
        ModelFileError: there is neither such a file nor such a name, or the model of that name is damaged.
    """
    if not isinstance(model, str | os.PathLike):
        raise ModelFileError(f"A value of type {type(model).__name__} is no model.", expected="a path or a name")
    path, name = Path(model), str(model)
    known = shipped()
    if name in known:
        return _whole(known[name])
    if name and os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112 -- Path's raise for long names
        return path
    known |= installed()
    if name in known:
        return _whole(known[name])
    if name and os.path.isdir(path):  # noqa: PTH112
        return path
    if name == "default" and not known:
        raise ModelFileError(
            f"The package's own weights are missing: {SHIPPED} holds no model.",
            mend="install perceived again; a bundle made with PyInstaller needs --collect-all perceived",
        )
    names = f", or one of the names {', '.join(known)}" if known else ""
    raise ModelFileError(
        f"There is no model {name!r}.",
        expected=f"the path of an ONNX file that 'perceived export' wrote{names}",
        mend=f"pip install {PACKAGES[name]}"
        if name in PACKAGES
        else "check the path, or make the file: perceived export RUN MODEL.onnx",
    )
