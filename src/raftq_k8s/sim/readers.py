"""Callers that only read, and remember when they asked and what they heard.

A *linearizable* read is asked of any node, followers included, through the door that `node/runtime.py` uses: when the
driver says that its state may answer, the state is read at that moment. A *lease read* is asked of whoever leads, and
asks nobody else. Both are held against everything that was written, by the clock on the wall.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from raftq_k8s.node.forwarding import Refused
from raftq_k8s.node.read_queue import ReadOutcome
from raftq_k8s.node.submissions import Token
from raftq_k8s.raft.types import Instant
from raftq_k8s.sim.dice import Dice
from raftq_k8s.sim.events import Events
from raftq_k8s.sim.history import History
from raftq_k8s.sim.linearizability import Kind, Operation
from raftq_k8s.sim.violation import EXACTLY_ONCE, Violation

if TYPE_CHECKING:
    from raftq_k8s.sim.machine import Machine

Then = Callable[[], None]


class _Question:
    __slots__ = ("asked_at", "deadline", "key", "machine", "then")

    def __init__(self, key: str, machine: "Machine", asked_at: Instant, deadline: Instant, then: Then) -> None:
        self.key, self.machine, self.asked_at, self.deadline, self.then = key, machine, asked_at, deadline, then


class Readers:
    def __init__(self, events: Events, history: History) -> None:
        self.answered = 0
        self.leased = 0
        self._events, self._history = events, history
        self._open: dict[Token, _Question] = {}
        self._tokens = 0

    def ask(self, key: str, machine: "Machine", dice: Dice, then: Then) -> None:
        """A linearizable read; `then` is called when its fate is known."""
        self._tokens += 1
        token = Token(self._tokens)
        patience = dice.between(500.0, 3000.0)
        now = self._events.now
        self._open[token] = _Question(key, machine, now, now + 2 * patience, then)
        machine.read(token, patience)

    def resolved(self, machine: "Machine", token: Token, outcome: ReadOutcome) -> None:
        question = self._open.pop(token, None)
        if question is None:
            raise Violation(EXACTLY_ONCE, f"{machine.name} answers a reader twice, or one that never asked")
        if not isinstance(outcome, Refused):
            self.answered += 1
            self._note(question.key, machine, question.asked_at)
        question.then()

    def crashed(self, machine: "Machine") -> None:
        for token, question in list(self._open.items()):
            if question.machine is machine:
                del self._open[token]
                question.then()

    def lease_read(self, key: str, machine: "Machine") -> None:
        if machine.leased_read():
            self.leased += 1
            self._note(key, machine, self._events.now)

    def _note(self, key: str, machine: "Machine", asked_at: Instant) -> None:
        held = machine.state.document.get(key)
        operation = Operation(Kind.GET, None if held is None else held[0], asked_at)
        operation.returned = self._events.now
        operation.likely_place = machine.state.document.applied_index
        self._history.add(key, operation)

    def everybody_was_answered(self) -> None:
        for question in self._open.values():
            if question.machine.had_time_since(question.deadline):
                raise Violation(EXACTLY_ONCE, f"{question.machine.name} never answered a reader")
