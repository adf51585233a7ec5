"""Logs as one JSON object a line. They hold no picture, no file name, no address and no key."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

LOGGER = logging.getLogger("perceived.server")
FIELDS = "perceived_fields"


class JsonLines(logging.Formatter):
    """Renders a record as one line of JSON; what its :data:`FIELDS` hold stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": _message(record),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _message(record: logging.LogRecord) -> str:
    """Return what a record says; of one whose arguments do not fit its words, the words."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)


def configure() -> None:
    """Send the logs of this process, whoever writes them, and warnings, to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.captureWarnings(True)
    logging.getLogger().handlers = [handler]
    for name in ("perceived.server", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.access").disabled = True  # its lines hold addresses


def fault(message: str, **fields: object) -> None:
    """Write one line with the traceback of the exception that is being handled."""
    LOGGER.exception(message, extra={FIELDS: fields})


def event(message: str, **fields: object) -> None:
    """Write one line."""
    LOGGER.info(message, extra={FIELDS: fields})
