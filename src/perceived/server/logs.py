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
    """Send the logs of this server, of uvicorn and of the event loop, and warnings, to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.captureWarnings(True)
    for name in ("perceived.server", "uvicorn.error", "asyncio", "py.warnings"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.WARNING if name == "asyncio" else logging.INFO)
        logger.propagate = False
    logging.getLogger("uvicorn.access").handlers = []
    logging.getLogger("uvicorn.access").propagate = False


def fault(message: str, **fields: object) -> None:
    """Write one line with the traceback of the exception that is being handled."""
    LOGGER.exception(message, extra={"fields": fields})


def event(message: str, **fields: object) -> None:
    """Write one line."""
    LOGGER.info(message, extra={"fields": fields})
