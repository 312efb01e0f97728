"""Callers that change one key or two, by all commands there are, and read, on any node; they remember when they asked,
and what they heard.

A caller waits for its answer, or until its node dies or stays silent for too long: then it does not know. It never
repeats a command whose fate it does not know; one that was refused it may repeat, for that provably did nothing. What
they ask for is `requests.py`, how they read `readers.py`; those that repeat everything, in sessions, are
`session_clients.py`.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from raftq_k8s.node.forwarding import Outcome, Refused, Unknown
from raftq_k8s.node.submissions import Token
from raftq_k8s.raft.types import Instant, Milliseconds
from raftq_k8s.sim.dice import Dice
from raftq_k8s.sim.events import Events
from raftq_k8s.sim.history import History
from raftq_k8s.sim.invariants import Invariants
from raftq_k8s.sim.readers import Readers
from raftq_k8s.sim.requests import Request, a_request
from raftq_k8s.sim.violation import EXACTLY_ONCE, Violation
from raftq_k8s.state.commands import Applied, NotAsExpected, Transacted

if TYPE_CHECKING:
    from raftq_k8s.sim.machine import Machine

GIVES_UP: Milliseconds = 6000.0
BURSTS = (1, 1, 1, 1, 8)
"""How many commands a client sends at once; it goes on when the first of them has its answer."""


Then = Callable[[Outcome], None]


class Call:
    """One command on its way, and who waits for what becomes of it."""

    __slots__ = ("caller", "command", "deadline", "machine", "then")

    def __init__(self, caller: str, command: bytes, machine: "Machine", deadline: Instant, then: Then) -> None:
        self.caller, self.command, self.machine, self.deadline, self.then = caller, command, machine, deadline, then


class Client:
    __slots__ = ("dice", "name", "number", "retries", "think")

    def __init__(self, name: str, dice: Dice, think: Milliseconds, retries: bool) -> None:
        self.name, self.dice, self.think, self.retries = name, dice, think, retries
        self.number = 0


class Clients:
    def __init__(self, events: Events, invariants: Invariants, machines: "list[Machine]", keys: int) -> None:
        self.stopped = False
        self.history = History(invariants, keys)
        self.readers = Readers(events, self.history)
        self._events, self._invariants, self._machines = events, invariants, machines
        self._open: dict[Token, Call] = {}
        self._tokens = 0

    def begin(self, client: Client) -> None:
        self._events.after(client.dice.between(0.0, 2 * client.think), self._act, client)

    def _act(self, client: Client) -> None:
        if self.stopped:
            return
        dice = client.dice
        key = dice.one_of(self.history.keys)
        machine = dice.one_of(self._machines)
        reads = dice.chance(0.3)
        if reads:
            for each in self._machines:
                if each.leads:
                    self.readers.lease_read(key, each)
        if not machine.up:
            self.begin(client)
            return
        if reads:
            self.readers.ask(key, machine, dice, partial(self.begin, client))
            return
        for waits in [True] + [False] * (dice.one_of(BURSTS) - 1):
            client.number += 1
            value, document = f'"{client.name}-{client.number}"', machine.state.document
            request = a_request(dice, self.history.keys, value, document, self._events.now)
            request.let_go = not waits
            self.history.add_all(request)
            self._call(client, request, machine)

    def _call(self, client: Client, request: Request, machine: "Machine") -> None:
        self.send(client.name, request.command, machine, client.dice, partial(self._ended, client, request))

    def send(self, caller: str, command: bytes, machine: "Machine", dice: Dice, then: Then) -> None:
        """`then` hears what becomes of it; after `Unknown`, because it took too long, perhaps once more."""
        self._tokens += 1
        token = Token(self._tokens)
        patience = dice.between(500.0, 3000.0)
        self._open[token] = Call(caller, command, machine, self._events.now + GIVES_UP, then)
        self._invariants.logs.attempts[command] = "open"
        self._events.after(GIVES_UP, self._give_up, token)
        machine.submit(token, command, patience)

    # ---------------------------------------------------------------------------------------------------------- answers

    def resolved(self, machine: "Machine", token: Token, outcome: Outcome) -> None:
        call = self._open.pop(token, None)
        if call is None:
            raise Violation(EXACTLY_ONCE, f"{machine.name} answers a caller twice, or one that never asked")
        self._invariants.answered(call.command, outcome)
        call.then(outcome)

    def _ended(self, client: Client, request: Request, outcome: Outcome) -> None:
        match outcome:
            case Applied() | Transacted() | NotAsExpected():
                request.answered(outcome, self._events.now)
            case Refused():
                if client.retries and not request.let_go:
                    self._events.after(client.think, self._retry, client, request)
                    return
            case Unknown():
                pass
            case _:
                raise Violation(EXACTLY_ONCE, f"nobody asked for what ends as {outcome}")
        if not request.let_go:
            request.let_go = True
            self.begin(client)

    def _retry(self, client: Client, request: Request) -> None:
        machine = client.dice.one_of(self._machines)
        if self.stopped or not machine.up:
            self.begin(client)
            return
        self._call(client, request, machine)

    def crashed(self, machine: "Machine") -> None:
        """Whoever waited for an answer of that process will not get it."""
        self.readers.crashed(machine)
        for token, call in list(self._open.items()):
            if call.machine is machine:
                del self._open[token]
                self._invariants.logs.attempts[call.command] = "unknown"
                call.then(Unknown())

    def _give_up(self, token: Token) -> None:
        if token in self._open:
            self._open[token].then(Unknown())

    # -------------------------------------------------------------------------------------------------------- reckoning

    def everybody_was_answered(self) -> None:
        self.readers.everybody_was_answered()
        for call in self._open.values():
            if call.machine.had_time_since(call.deadline):
                raise Violation(EXACTLY_ONCE, f"{call.caller} was never answered by {call.machine.name}")
