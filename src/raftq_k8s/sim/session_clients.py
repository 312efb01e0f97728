"""Callers that repeat everything: each keeps a session, and sends what it was not answered again, on any node.

What has an answer is sometimes sent again as well, and a session is sometimes left, closed or not, or slept away. What
must hold of each try is in `session_watch.py`.
"""

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from raftq_k8s.node.forwarding import Outcome, Refused, Unknown
from raftq_k8s.raft.types import Instant, Milliseconds
from raftq_k8s.sim.clients import Clients, Then
from raftq_k8s.sim.dice import Dice
from raftq_k8s.sim.events import Events
from raftq_k8s.sim.requests import Request, a_request
from raftq_k8s.sim.session_watch import IDLE_MS, Once, Session, SessionWatch
from raftq_k8s.state.commands import (
    Applied,
    InSession,
    NoSuchSession,
    NotAsExpected,
    SessionOpened,
    Transacted,
    encode,
)

if TYPE_CHECKING:
    from raftq_k8s.sim.machine import Machine

BURSTS = (1, 1, 1, 5)


class _Task:
    """One command, and how often it was sent."""

    __slots__ = ("once", "request", "tries", "waits")

    def __init__(self, once: Once, request: Request, waits: bool) -> None:
        self.once, self.request, self.waits = once, request, waits
        self.tries = 0


class SessionClient:
    def __init__(
        self,
        name: str,
        dice: Dice,
        think: Milliseconds,
        clients: Clients,
        watch: SessionWatch,
        events: Events,
        machines: "list[Machine]",
    ) -> None:
        self._name, self._dice, self._think = name, dice, think
        self._clients, self._watch, self._events, self._machines = clients, watch, events, machines
        self._session: Session | None = None
        self._opened = 0
        self._sequence = 0
        self._values = 0

    def begin(self) -> None:
        self._events.after(self._dice.between(0.0, 2 * self._think), self._act)

    def _act(self) -> None:
        if self._clients.stopped:
            return
        machine = self._dice.one_of(self._machines)
        if not machine.up:
            self.begin()
        elif self._session is None:
            self._open(machine)
        elif self._dice.chance(0.03):
            self._leave(self._session, machine)
        elif self._dice.chance(0.02):
            self._events.after(self._dice.between(0.5, 2.0) * IDLE_MS, self._act)
        else:
            for waits in [True] + [False] * (self._dice.one_of(BURSTS) - 1):
                self._change(self._session, machine, waits)

    # ---------------------------------------------------------------------------------------------------- the session

    def _open(self, machine: "Machine") -> None:
        self._opened += 1
        command = msgspec.msgpack.encode(["open-session", f"{self._name}-{self._opened}"])
        self._send(command, machine, partial(self._is_opened, self._opened, self._events.now))

    def _is_opened(self, number: int, sent_at: Instant, outcome: Outcome) -> None:
        if number != self._opened or self._session is not None:
            return  # it was not waited for; so it is left
        if isinstance(outcome, SessionOpened):
            self._session = Session(outcome.session, sent_at)
            self._sequence = 0
        self.begin()

    def _leave(self, session: Session, machine: "Machine") -> None:
        self._session = None
        if self._dice.chance(0.5):
            session.closed = True
            self._opened += 1
            command = msgspec.msgpack.encode(["close-session", session.id, f"{self._name}-{self._opened}"])
            self._send(command, machine, lambda _: None)
        self.begin()

    # --------------------------------------------------------------------------------------------------- its commands

    def _change(self, session: Session, machine: "Machine", waits: bool) -> None:
        self._values += 1
        self._sequence += 1
        value, keys = f'"{self._name}-{self._values}"', self._clients.history.keys
        request = a_request(self._dice, keys, value, machine.state.document, self._events.now)
        self._clients.history.add_all(request)
        self._try(_Task(Once(session, self._sequence), request, waits), machine)

    def _try(self, task: _Task, machine: "Machine") -> None:
        task.tries += 1
        once = task.once
        command = _told_apart(InSession(once.session.id, once.sequence, task.request.command), task.tries)
        self._watch.sent(command, once)
        if task.tries == 1:
            task.request.stands_as(command)
        self._send(command, machine, partial(self._ended, task, task.tries))

    def _try_again(self, task: _Task) -> None:
        machine = self._dice.one_of(self._machines)
        if self._clients.stopped:
            return
        if machine.up:
            self._try(task, machine)
        else:
            self._events.after(self._think, self._try_again, task)

    def _ended(self, task: _Task, number: int, outcome: Outcome) -> None:
        match outcome:
            case Applied() | Transacted() | NotAsExpected() if not task.request.is_answered:
                task.request.answered(outcome, self._events.now)
            case _:
                pass
        if number != task.tries:
            return  # the answer to a try that was given up: another one is on its way
        match outcome:
            case Refused() | Unknown():
                self._events.after(self._dice.between(0.0, 2 * self._think), self._try_again, task)
                return
            case Applied() | Transacted() if self._dice.chance(0.2):
                self._events.after(self._dice.between(0.0, 500.0), self._try_again, task)
            case NoSuchSession() if self._session is task.once.session:
                self._session = None
            case _:
                pass
        if task.waits:
            task.waits = False
            self.begin()

    def _send(self, command: bytes, machine: "Machine", then: Then) -> None:
        self._clients.send(self._name, command, machine, self._dice, then)


def _told_apart(command: InSession, number: int) -> bytes:
    """The tries of one command are told from each other by a field that no release knows, and every release passes
    over."""
    return msgspec.msgpack.encode([*msgspec.msgpack.decode(encode(command)), number])
