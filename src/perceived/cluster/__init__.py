"""Beyond one machine: predicting, training and serving on a Ray cluster, each a thin wrapper around the stage itself.

Ray takes these settings from the environment, once, when it is imported; what the caller has set stays.
"""

from __future__ import annotations

import os

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # tell nobody what is done here
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # what matters is raised, and told in words of ours
    "RAY_raylet_start_wait_time_s": "120",  # a busy machine is slow to start a node; Ray's own is 30 s
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",  # for room for all workers, before another attempt; 60 s
}

for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)
