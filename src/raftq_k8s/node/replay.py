"""The life of a driver once more, from its trace: bit for bit, or up to the first call whose outcome differs.

The driver of this release is given what the recorded one was given, call by call. A difference means that the code is
another one, or that something went in which the trace does not hold: either is worth knowing before the history is
believed.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import msgspec

from raftq_k8s.node.actions import Actions
from raftq_k8s.node.driver import Driver
from raftq_k8s.node.recording import DOORS, Outputs
from raftq_k8s.node.trace import Call, Recording, TraceUnreadable
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.types import Index, Instant, MemberId, Milliseconds
from raftq_k8s.state.machine import StateMachine


class Happened(msgspec.Struct, frozen=True):
    """What a person would want to read of one call."""

    call: int
    """Counted from 1."""
    after_ms: Milliseconds
    """Since the start."""
    what: str


class Difference(msgspec.Struct, frozen=True):
    call: int
    after_ms: Milliseconds
    door: str
    arguments: str
    outcome: str
    """What the driver of this release does; of what the other one did, the trace holds the digest alone."""


class Replay:
    """Goes through a recording once; when it was gone through, `calls` and `difference` tell how that went."""

    def __init__(self, recording: Recording) -> None:
        """Raises `TraceUnreadable`."""
        self._recording = recording
        self._readers = {door: _reader(door) for door in DOORS}
        self._outputs = Outputs()
        self._answers: list[tuple[MemberId, bool]] = []
        self._asked: list[tuple[MemberId, bool]] = []
        started = recording.started
        self.now: Instant = started.now
        self.calls = 0
        self.difference: Difference | None = None
        state = StateMachine(started.limit_bytes, started.sessions_limit, started.idle_ms)
        try:
            self.driver = Driver(started.node, state, self._connected, started.now)
        except Exception as error:  # whatever it is that nobody recorded
            raise TraceUnreadable(f"no node starts from it: {error}") from error
        self._committed = self._commit_index()

    def run(self) -> Iterator[Happened]:
        """Raises `TraceUnreadable`."""
        for call in self._recording.calls():
            self.calls += 1
            arguments, now = self._arguments(call)
            if now is not None:
                self.now = now
            self._answers, self._asked = list(call.connected), []
            outcome: object
            try:
                outcome = getattr(self.driver, call.door)(*arguments)
            except Exception as error:  # the recorded one may have raised the same
                outcome = error
                self._outputs.raised(error, tuple(self._asked))
            else:
                self._outputs.returned(outcome, tuple(self._asked))
            self._answers = []
            yield from self._told(outcome)
            if self._outputs.digest != call.digest:
                self.difference = Difference(self.calls, self._after, call.door, repr(arguments), repr(outcome))
                return

    def _arguments(self, call: Call) -> tuple[tuple[Any, ...], Instant | None]:
        if call.door not in self._readers:
            raise TraceUnreadable(f"this release knows no door called {call.door!r}")
        decoder, place_of_now = self._readers[call.door]
        try:
            arguments = decoder.decode(call.arguments)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise TraceUnreadable(f"what went through {call.door} cannot be understood: {error}") from error
        return arguments, None if place_of_now is None else arguments[place_of_now]

    def _connected(self, peer: MemberId) -> bool:
        """As it was answered then; of a question that was not asked then, the digest tells."""
        _, answer = self._answers.pop(0) if self._answers else (peer, False)
        self._asked.append((peer, answer))
        return answer

    @property
    def _after(self) -> Milliseconds:
        return self.now - self._recording.started.now

    def _told(self, outcome: object) -> Iterator[Happened]:
        match outcome:
            case Exception():
                yield self._happened(f"raised {type(outcome).__name__}: {outcome}")
            case Actions(standing=standing, notes=notes):
                if standing is not None:
                    yield self._happened(_of_standing(standing))
                for note in notes:
                    yield self._happened(note)
            case _:
                pass
        committed = self._commit_index()
        if committed != self._committed:
            self._committed = committed
            yield self._happened(f"committed up to {committed}")

    def _happened(self, what: str) -> Happened:
        return Happened(self.calls, self._after, what)

    def _commit_index(self) -> Index:
        return self.driver.status(self.now).commit_index


def _of_standing(standing: Standing) -> str:
    leader = "nobody known to lead" if standing.leader is None else f"{standing.leader} leads"
    established = ", established" if standing.established else ""
    return f"{standing.role} in term {standing.term}, {leader}{established}"


def _reader(door: str) -> tuple["msgspec.msgpack.Decoder[tuple[Any, ...]]", int | None]:
    """What reads the arguments of that door, and which of them is the time."""
    method: Callable[..., Any] = getattr(Driver, door)
    names = list(inspect.signature(method).parameters)[1:]
    hints = get_type_hints(method)
    shape: Any = tuple.__class_getitem__(tuple(hints[name] for name in names))
    return msgspec.msgpack.Decoder(shape), names.index("now") if "now" in names else None
