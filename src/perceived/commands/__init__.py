"""The command line's larger commands, one module each; :mod:`perceived.cli` puts them together."""

from __future__ import annotations
