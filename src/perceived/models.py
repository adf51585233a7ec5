"""Models by name: those that ship with the package, and those that other packages bring."""

from __future__ import annotations

from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path

from perceived.errors import ModelFileError

SHIPPED = Path(__file__).parent / "weights"
DETECTORS = "face_detection*"
"""Files beside the models that find faces and answer nothing."""
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


def find_model(model: str | Path) -> Path:
    """Return the file of a model given by path, or by the name of one that is installed.

    Raises:
        ModelFileError: there is neither such a file nor such a name.
    """
    path, name = Path(model), str(model)
    if path.exists():
        return path
    known = shipped()
    if name not in known:
        known |= installed()
    if name in known:
        return known[name]
    names = f", or one of the names {', '.join(known)}" if known else ""
    raise ModelFileError(
        f"There is no model {name!r}.",
        expected=f"the path of an ONNX file that 'perceived export' wrote{names}",
        mend=f"pip install {PACKAGES[name]}"
        if name in PACKAGES
        else "check the path, or make the file: perceived export RUN MODEL.onnx",
    )
