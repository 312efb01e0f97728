"""Log lines on stderr: for people, or one JSON object each.

Every line says which member wrote it, and in which term and role that member stood.
"""

import json
import logging
import sys
import time
from collections.abc import Callable

from pythonjsonlogger.json import JsonFormatter

from raftq_k8s.agent.settings import LogFormat, LogLevel
from raftq_k8s.raft.output import Standing


class Place(logging.Filter):
    """Adds the member to each record, and its term and role from when they are known."""

    def __init__(self, member: str) -> None:
        super().__init__()
        self._member = member
        self._standing: Callable[[], Standing] | None = None

    def follow(self, standing: Callable[[], Standing]) -> None:
        self._standing = standing

    def filter(self, record: logging.LogRecord) -> bool:
        record.member = self._member
        if self._standing is not None:
            standing = self._standing()
            record.term, record.role = standing.term, standing.role
        return True


def begin(member: str, form: LogFormat, level: LogLevel) -> Place:
    place = Place(member)
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(place)
    handler.setFormatter(_json() if form == "json" else _Plain())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    return place


class _Plain(logging.Formatter):
    """`07:31:04.512 INFO    raftq-0 term 3 leader · message`"""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        place = str(vars(record).get("member", "-"))
        if "term" in vars(record):
            place += f" term {vars(record)['term']} {vars(record)['role']}"
        return f"{moment}.{int(record.msecs):03d} {record.levelname:<7} {place} · {record.message}"


def _json() -> logging.Formatter:
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp="time",
        json_ensure_ascii=False,
        json_serializer=json.dumps,
    )
