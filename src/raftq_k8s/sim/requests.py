"""What simulated callers ask for: one command, and what it does to each key that it names.

A key has a history of its own, so a command that changes two keys stands in both. That it changes both or neither shows
there: where one history needs it and the other cannot have it, no order explains what was heard. No two commands are
the same, for the value that they write tells them apart.
"""

from collections.abc import Sequence

import msgspec

from raftq_k8s.raft.types import Instant
from raftq_k8s.sim.dice import Dice
from raftq_k8s.sim.linearizability import FOREVER, Kind, Operation
from raftq_k8s.state.commands import (
    Applied,
    Condition,
    Delete,
    NotAsExpected,
    Patch,
    Put,
    PutIf,
    Transacted,
    Transaction,
    encode,
)
from raftq_k8s.state.document import Document


class Request:
    """`operations`: one for each key, in the order in which the command carries them out."""

    __slots__ = ("command", "let_go", "operations")

    def __init__(self, command: bytes, operations: dict[str, Operation]) -> None:
        self.command = command
        self.operations = operations
        self.let_go = False
        """Whether its caller went on without waiting for the answer."""
        self.stands_as(command)

    def stands_as(self, command: bytes) -> None:
        """In the log the effect is found under those bytes."""
        for operation in self.operations.values():
            operation.command = command

    @property
    def is_answered(self) -> bool:
        return all(operation.returned != FOREVER for operation in self.operations.values())

    def answered(self, answer: Applied | Transacted | NotAsExpected, now: Instant) -> None:
        operations = tuple(self.operations.values())
        for operation in operations:
            operation.returned = now
            operation.succeeded = not isinstance(answer, NotAsExpected)
        match answer:
            case Applied(existed=existed):
                operations[0].existed = existed
            case Transacted(existed=all_existed):
                for operation, existed in zip(operations, all_existed, strict=True):
                    operation.existed = existed
            case NotAsExpected():
                pass


class PatchRequest(Request):
    """The answer to a patch does not say what it found."""

    __slots__ = ()

    def answered(self, answer: Applied | Transacted | NotAsExpected, now: Instant) -> None:
        for operation in self.operations.values():
            operation.returned = now


def a_request(dice: Dice, keys: Sequence[str], value: str, document: Document, now: Instant) -> Request:
    """Something that may be asked by a caller that has looked at that document before."""
    key, text = dice.one_of(keys), value.encode()
    chance = dice.between(0.0, 1.0)
    if chance < 0.12:
        # Told from other deletes by a field that no release knows, and every release passes over.
        return Request(msgspec.msgpack.encode(["delete", key, value]), {key: Operation(Kind.DELETE, None, now)})
    if chance < 0.4:
        return Request(encode(Put(key, text)), {key: Operation(Kind.PUT, text, now)})
    if chance < 0.7:
        return _compare_and_set(dice, key, text, document, now)
    other = dice.one_of(keys)
    if other == key:
        return PatchRequest(_patch({key: text}), {key: Operation(Kind.PUT, text, now)})
    removes = dice.chance(0.3)
    both = {
        key: Operation(Kind.PUT, text, now),
        other: Operation(Kind.DELETE, None, now) if removes else Operation(Kind.PUT, text, now),
    }
    if chance < 0.85:
        second = Delete(other) if removes else Put(other, text)
        return Request(encode(Transaction((), (Put(key, text), second))), both)
    return PatchRequest(_patch({key: text, other: b"null" if removes else text}), both)


def _compare_and_set(dice: Dice, key: str, text: bytes, document: Document, now: Instant) -> Request:
    expected, revision = document.get(key) or (None, 0)
    operation = Operation(Kind.CAS, text, now)
    operation.expected = expected
    if dice.chance(0.5):
        return Request(encode(PutIf(key, text, revision)), {key: operation})
    return Request(encode(Transaction((Condition(key, (revision,)),), (Put(key, text),))), {key: operation})


def _patch(members: dict[str, bytes]) -> bytes:
    return encode(Patch(b"{%s}" % b",".join([b'"%s":%s' % (key.encode(), value) for key, value in members.items()])))
