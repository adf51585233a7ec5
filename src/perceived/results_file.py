"""The JSON files in which evaluations, audits and robustness trials end, as others read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perceived import storage
from perceived.errors import DataError
from perceived.spec import ModelSpec

FILES = {"evaluation": "report.json", "audit": "audit.json", "robustness": "robustness.json"}
SIGNS = {"audit": "groupings", "robustness": "mean_error", "evaluation": "bootstrap"}
"""A key by which what a file holds is known, whatever its name."""
AUDIT_VERSION = 2
"""Of what ``audit.json`` holds."""
_EXPECTED = f"{', '.join(FILES.values())}, or the folder of one of them"


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the kind of a results file, ``evaluation``, ``audit`` or ``robustness``, and what it holds.

    For the folder of a report, that of the file in it.
    """
    path = Path(path)
    inside = [path / name for name in FILES.values() if (path / name).is_file()]
    found = storage.read_json(inside[0] if inside else path, mend=f"give {_EXPECTED}")
    for kind, key in SIGNS.items():
        if isinstance(found, dict) and key in found:
            if kind == "audit" and found.get("audit_version") != AUDIT_VERSION:
                raise DataError(
                    f"{path} is an audit of another version of perceived.", mend="audit the same answers again"
                )
            return kind, found
    raise DataError(
        f"{path} holds no results of a model.",
        expected=_EXPECTED,
    )


def require_of_model(path: Path, found: Mapping[str, Any], spec: ModelSpec, sha256: str) -> None:
    """Refuse results of another model; those of the RUN that the model was exported from are its own.

    What was calibrated, averaged or made to compute in int8 since is another model, though it may have the same
    name. An audit of answers that do not say whose they are is taken at its word.

    Raises:
        DataError: they are of another model.
    """
    scored = found.get("model") or {}
    if "sha256" in scored and scored["sha256"] != sha256 and _exported(scored) != _exported(json.loads(spec.to_json())):
        raise DataError(
            f"{path} is of the model {scored.get('name')!r} ({scored['sha256'][:12]}), "
            f"and the card is of {spec.name!r} ({sha256[:12]}).",
            expected="results of this model, or of the RUN it was exported from",
            mend="evaluate, audit or try the model of the card",
        )


def _exported(specification: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a RUN and the file that was exported from it tell alike of themselves."""
    kept = {key: value for key, value in specification.items() if key not in ("sha256", "name", "always_answer")}
    provenance = {key: value for key, value in kept.get("provenance", {}).items() if key != "export"}
    return {**kept, "provenance": provenance}
