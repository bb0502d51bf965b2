"""Logs: one JSON document per line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import Queue
from typing import Any, TextIO

LOGGER = logging.getLogger("fashioncnn.serving")
"""Records have their values in the attribute `values`; the message is the event."""
QUEUE_LENGTH = 10_000
"""Lines that wait to be written. When a reader of the log is too slow, further ones are dropped,
since the server must not wait for it."""
LEVELS = {
    "fashioncnn.serving": logging.INFO,
    "uvicorn.error": logging.WARNING,
    "asyncio": logging.WARNING,
    "python_multipart": logging.ERROR,  # malformed forms, which are answered
}
"""Loggers that are written, and their levels; Python would write to stderr what has no handler."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        time = datetime.fromtimestamp(record.created, UTC)
        document: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "values", {}),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document)


def log(event: str, level: int = logging.INFO, **values: object) -> None:
    """Write one line.

    Args:
        event: what happened.
        level: of `logging`.
        values: further keys of the document.
    """
    LOGGER.log(level, event, extra={"values": values}, exc_info=level >= logging.ERROR)


def start_logging(stream: TextIO | None = None) -> QueueListener:
    """Write the logs of the service and of uvicorn to a stream; the caller stops the listener.

    Args:
        stream: default stdout.
    """
    queue: Queue[logging.LogRecord] = Queue(QUEUE_LENGTH)
    writer = _Writer(stream or sys.stdout)
    writer.setFormatter(JsonFormatter())
    handler = _Handler(queue)
    for name, level in LEVELS.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    listener = QueueListener(queue, writer)
    listener.start()
    return listener


class _Handler(QueueHandler):
    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Keep the traceback, which the writer formats."""
        return record

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop the line: the queue is full."""


class _Writer(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop the line: the disk is full, or the reader of the log has exited."""
