"""Logs as JSON lines on standard error: `ts` (RFC 3339, UTC), `level`, `logger`, `message`, then the extra fields.

One record is one line whatever its text holds. A field that JSON cannot carry is written as its text. Nothing is
masked here: who logs decides what may be read.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")
"""What `configure` takes."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OURS = ("ts", "level", "logger", "message")


class JsonFormatter(logging.Formatter):
    """One record as one line of JSON in ASCII, so that no terminal or collector stumbles over it."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line, without its end."""
        moment = datetime.fromtimestamp(record.created, UTC)
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit the text: the text still says something
            message = f"{record.msg} {record.args!r}"
        line: dict[str, object] = {
            "ts": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in _OURS:
                line[name] = value
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        try:
            return json.dumps(line, default=str)
        except (TypeError, ValueError):  # keys that are no text, or a value that contains itself
            return json.dumps({name: str(value) for name, value in line.items()})


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Send every logger's records of `level` and above to `stream` (standard error) as JSON lines.

    Replaces what the root logger had, so it may be called again with another level. Raises ValueError for a level that
    is not in `LEVELS`.
    """
    if level not in LEVELS:
        raise ValueError(f"log level {level!r}: one of {', '.join(LEVELS)}")
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    # These tell of each connection; who asked for debug gets them.
    chatty = logging.NOTSET if level == "debug" else logging.WARNING
    for name in ("urllib3", "websocket", "kubernetes"):
        logging.getLogger(name).setLevel(chatty)
