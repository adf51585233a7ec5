"""``perceived predict --server URL``: the same rows, answered by a running server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from perceived.errors import ConfigError
from perceived.extras import needed_for

if TYPE_CHECKING:
    from perceived.client import Client

KEY = "PERCEIVED_SERVE_API_KEY"
"""Variable that holds the key a server asks for: the one the server itself takes it from."""


def connect(url: str, *, threshold: float | None, local: Mapping[str, Any]) -> Client:
    """Return a client of the server at ``url``; ``local`` are options that only a predictor here could follow.

    Raises:
        ConfigError: one of those was given, or the address is none.
    """
    refuse(local, "--server", mend="leave it out; a server keeps the settings it was started with")
    with needed_for("'perceived predict --server'"):
        from perceived.client import Client
    return Client(url, key=os.environ.get(KEY), threshold=threshold)


def refuse(options: Mapping[str, Any], beside: str, *, mend: str) -> None:
    """Raise :class:`ConfigError` if one of ``options``, by name, was given ``beside`` what cannot follow it."""
    given = [
        f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None and value is not False
    ]
    if given:
        raise ConfigError(f"{', '.join(given)} cannot be used with {beside}.", mend=mend)
