"""Callers that put, delete and read, on any node, and remember when they asked and what they heard.

A caller waits for its answer, or until its node dies or stays silent for too long: then it does not know. It never
repeats a command whose fate it does not know; one that was refused it may repeat, for that provably did nothing. How
they read is `readers.py`.
"""

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from raftq_k8s.node.forwarding import Outcome, Refused, Unknown
from raftq_k8s.node.submissions import Token
from raftq_k8s.raft.types import Instant, Milliseconds
from raftq_k8s.sim.dice import Dice
from raftq_k8s.sim.events import Events
from raftq_k8s.sim.history import History
from raftq_k8s.sim.invariants import Invariants
from raftq_k8s.sim.linearizability import Kind, Operation
from raftq_k8s.sim.readers import Readers
from raftq_k8s.sim.violation import EXACTLY_ONCE, Violation
from raftq_k8s.state.commands import Applied, Put, encode

if TYPE_CHECKING:
    from raftq_k8s.sim.machine import Machine

GIVES_UP: Milliseconds = 6000.0
BURSTS = (1, 1, 1, 1, 8)
"""How many commands a client sends at once; it goes on when the first of them has its answer."""


class Call:
    """One command on its way, and what its caller knows of it."""

    __slots__ = ("client", "deadline", "machine", "operation")

    def __init__(self, client: "Client", operation: Operation, machine: "Machine", deadline: Instant) -> None:
        self.client = client
        self.operation = operation
        self.machine = machine
        self.deadline = deadline


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
            self._write(client, key, machine, waits)

    def _write(self, client: Client, key: str, machine: "Machine", waits: bool) -> None:
        client.number += 1
        value = f'"{client.name}-{client.number}"'
        if client.dice.chance(0.85):
            command = encode(Put(key, value.encode()))
            operation = Operation(Kind.PUT, value.encode(), self._events.now, command)
        else:
            # Told from other deletes by a field that no release knows, and every release passes over.
            command = msgspec.msgpack.encode(["delete", key, value])
            operation = Operation(Kind.DELETE, None, self._events.now, command)
        operation.let_go = not waits
        self.history.add(key, operation)
        self._call(client, operation, machine)

    def _call(self, client: Client, operation: Operation, machine: "Machine") -> None:
        self._tokens += 1
        token = Token(self._tokens)
        patience = client.dice.between(500.0, 3000.0)
        self._open[token] = Call(client, operation, machine, self._events.now + GIVES_UP)
        self._invariants.attempts[operation.command] = "open"
        self._events.after(GIVES_UP, self._give_up, token)
        machine.submit(token, operation.command, patience)

    # ---------------------------------------------------------------------------------------------------------- answers

    def resolved(self, machine: "Machine", token: Token, outcome: Outcome) -> None:
        call = self._open.pop(token, None)
        if call is None:
            raise Violation(EXACTLY_ONCE, f"{machine.name} answers a caller twice, or one that never asked")
        self._invariants.answered(call.operation.command, outcome)
        operation, client = call.operation, call.client
        match outcome:
            case Applied():
                operation.returned = self._events.now
                operation.existed = outcome.existed
            case Refused():
                if client.retries and not operation.let_go:
                    self._events.after(client.think, self._retry, call)
                    return
            case Unknown():
                pass
            case _:
                raise Violation(EXACTLY_ONCE, f"nobody asked for what ends as {outcome}")
        if not operation.let_go:
            self.begin(client)

    def _retry(self, call: Call) -> None:
        machine = call.client.dice.one_of(self._machines)
        if self.stopped or not machine.up:
            self.begin(call.client)
            return
        self._call(call.client, call.operation, machine)

    def crashed(self, machine: "Machine") -> None:
        """Whoever waited for an answer of that process will not get it."""
        self.readers.crashed(machine)
        for token, call in list(self._open.items()):
            if call.machine is machine:
                del self._open[token]
                self._invariants.attempts[call.operation.command] = "unknown"
                if not call.operation.let_go:
                    self.begin(call.client)

    def _give_up(self, token: Token) -> None:
        call = self._open.get(token)
        if call is not None and not call.operation.let_go:
            call.operation.let_go = True
            self.begin(call.client)

    # -------------------------------------------------------------------------------------------------------- reckoning

    def everybody_was_answered(self) -> None:
        self.readers.everybody_was_answered()
        for call in self._open.values():
            if call.machine.had_time_since(call.deadline):
                raise Violation(EXACTLY_ONCE, f"{call.client.name} was never answered by {call.machine.name}")
