"""The driver that notes down whatever goes into it, and a digest of what comes out (`trace.py`).

It is the same driver: each door is wrapped, and nothing else. A node without a trace has the plain one, and pays
nothing. What is asked of `connected` while nobody is in a door (`wake_at`, `status`) changes nothing and is not noted.
"""

import zlib
from collections.abc import Callable
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from raftq_k8s.node.driver import Driver
from raftq_k8s.node.given import Node
from raftq_k8s.node.trace import LIMIT_BYTES, Call, Ending, Started, Trace
from raftq_k8s.raft.types import Instant, MemberId
from raftq_k8s.state.machine import StateMachine

DOORS = (
    "greet",
    "receive",
    "lost",
    "refused",
    "change",
    "depart",
    "submit",
    "read",
    "may_read_by_lease",
    "transfer",
    "hand_over",
    "set_eligible",
    "room_changed",
    "tick",
    "persisted",
    "loaded",
    "observe_term",
    "witnessed",
    "ignore",
    "end",
    "next_actions",
)
"""Every method of the driver that changes it. Its arguments are given by position, and are what msgspec can write and
read again by their annotations."""

READINGS = ("hello", "standing", "caught_up", "history", "members", "status", "wake_at", "birth", "wish")
"""The rest: they change nothing."""

_encode = msgspec.msgpack.Encoder().encode


class Outputs:
    """The digest of everything that came out of a driver so far, asked connections included: CRC-32 of CRC-32, which a
    difference at one call changes at all later ones, too."""

    def __init__(self) -> None:
        self.digest = 0

    def returned(self, value: object, asked: tuple[tuple[MemberId, bool], ...]) -> None:
        self.digest = zlib.crc32(_encode((value, asked)), self.digest)

    def raised(self, error: Exception, asked: tuple[tuple[MemberId, bool], ...]) -> None:
        self.digest = zlib.crc32(_encode((type(error).__name__, str(error), asked)), self.digest)


class RecordedDriver(Driver):
    def __init__(
        self,
        node: Node,
        state: StateMachine,
        connected: Callable[[MemberId], bool],
        now: Instant,
        file: Path,
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        """Raises `TraceUnusable`."""
        bounds = state.document.limit_bytes, state.sessions.limit, state.sessions.idle_ms
        started = _as_read(Started(version("raftq_k8s"), node, *bounds, now))
        self._trace = Trace(file, started, limit_bytes)
        self._outputs = Outputs()
        self._asked_whether = connected
        self._asked: list[tuple[MemberId, bool]] = []
        self._in_a_door = False
        super().__init__(started.node, state, self._ask, started.now)

    def _ask(self, peer: MemberId) -> bool:
        answer = self._asked_whether(peer)
        self._asked.append((peer, answer))
        return answer

    def _enter(self, door: str, method: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if self._in_a_door:  # one door that leads through another
            return method(self, *arguments)
        given = msgspec.Raw(_encode(arguments))
        self._in_a_door = True
        self._asked.clear()
        try:
            returned = method(self, *arguments)
        except Exception as error:
            self._outputs.raised(error, tuple(self._asked))
            raise
        else:
            self._outputs.returned(returned, tuple(self._asked))
            return returned
        finally:
            self._in_a_door = False
            self._trace.note(Call(door, given, tuple(self._asked), self._outputs.digest))
            if door == "end":
                self._trace.end(Ending.STOPPED)
            elif door == "next_actions":
                self._trace.flush()


def _as_read(started: Started) -> Started:
    """As the trace will tell it, where an int that stands for a float has become one."""
    return msgspec.msgpack.decode(_encode(started), type=Started)


def _recorded(door: str) -> Callable[..., Any]:
    method = getattr(Driver, door)

    @wraps(method)
    def recorded(self: RecordedDriver, *arguments: Any) -> Any:
        return self._enter(door, method, arguments)

    return recorded


for _door in DOORS:
    setattr(RecordedDriver, _door, _recorded(_door))
