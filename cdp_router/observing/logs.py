"""Logs: lines for people on a terminal, one JSON object a line anywhere else; both with the request they belong to."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from cdp_router.printable import visible
from cdp_router.rpc.call import current_request_id

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, request_id, and fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current_request_id():
            line["request_id"] = request_id
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return visible(msgspec.json.encode(line, enc_hook=str).decode())


class TextLines(logging.Formatter):
    """A record as text, followed by fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        shown = logging.makeLogRecord({**vars(record), "msg": visible(record.getMessage()), "args": ()})
        line = super().format(shown)  # and a traceback in lines of its own
        return visible(line, lines=True) + visible("".join(f" {key}={value}" for key, value in extra.items()))


def start_logging() -> None:
    """Sends the logs of this process to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(TextLines(_TEXT) if sys.stderr.isatty() else JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
