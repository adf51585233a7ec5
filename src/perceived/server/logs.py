"""Logs as one JSON object a line. They hold no picture, no file name, no address and no key."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

LOGGER = logging.getLogger("perceived.server")


class JsonLines(logging.Formatter):
    """Renders a record as one line of JSON; what ``extra={"fields": …}`` holds stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


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
    LOGGER.exception(message, extra={"fields": fields})


def event(message: str, **fields: object) -> None:
    """Write one line."""
    LOGGER.info(message, extra={"fields": fields})
