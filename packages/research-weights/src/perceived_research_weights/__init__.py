"""The model ``research`` of perceived, for non-commercial research only: see LICENSE."""

from __future__ import annotations
