"""Logs as JSON lines: what happened, to whom and how long it took, never what was said."""

import json
import logging
import sys
import time
from typing import Any, TextIO

LOG = logging.getLogger("del_audit.serving")
FIELDS = ("user", "route", "status", "code", "tokens", "seconds", "kind", "why")
"""What a line may say beside its time, level and event; nothing else gets into it."""


class JsonLines(logging.Formatter):
    """One line of JSON per record."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line; the traceback of an error is left out, since it may quote a text."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        said: dict[str, Any] = {"at": f"{at}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}
        event = record.msg if record.name.startswith(LOG.name) else record.name
        said["event"] = str(event)
        said |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        return json.dumps(said, ensure_ascii=True)


def log_to(stream: TextIO = sys.stderr) -> None:
    """Sends the lines of this package and the warnings of all others to a stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOG.setLevel(logging.INFO)
