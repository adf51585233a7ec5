"""Beyond one machine: predicting, training and serving on a Ray cluster, each a thin wrapper around the stage itself.

Ray reports nothing about its use to anybody from here, unless the caller's environment says otherwise.
"""

from __future__ import annotations

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported, which reads both once
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters is raised, and told in words of ours
