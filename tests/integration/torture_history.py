"""What the clients of a torture did and heard, and what has to hold of it.

Each line of the file is one operation, for any checker: `client, op, key, value, expected, read, call_ns, return_ns,
result`. `return_ns` is null for an operation whose outcome its client never learned.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from raftq_k8s.sim.linearizability import FOREVER, Kind, Operation, is_explained_by_likely_places, is_linearizable

Op = Literal["put", "get", "delete", "cas"]
Result = Literal["ok", "mismatch", "fail", "unknown"]


class Event(msgspec.Struct):
    client: str
    op: Op
    key: str
    value: str | None
    expected: str | None
    read: str | None
    call_ns: int
    return_ns: int | None
    result: Result


class Done(msgspec.Struct):
    """An event, and what else its answer said."""

    event: Event
    existed: bool | None = None
    revision: int | None = None
    """Of a write: its place in the log. Of what only looked: how far what it saw reached, at least."""


class Judgement(msgspec.Struct):
    keys: int = 0
    not_linearizable: list[str] = []
    undecided: list[str] = []
    """Keys with so much at once that the search was given up."""

    @property
    def sound(self) -> bool:
        return not self.not_linearizable and not self.undecided


class History:
    def __init__(self) -> None:
        self.done: list[Done] = []

    def add(self, done: Done) -> None:
        self.done.append(done)

    def write(self, file: Path) -> None:
        encode = msgspec.json.Encoder().encode
        with file.open("wb") as lines:
            for done in sorted(self.done, key=lambda each: each.event.call_ns):
                lines.write(encode(done.event) + b"\n")

    def of_key(self, key: str) -> list[Done]:
        return [done for done in self.done if done.event.key == key]

    def judge(self) -> Judgement:
        """Key by key: is there one order that explains every answer?"""
        by_key: defaultdict[str, list[Done]] = defaultdict(list)
        for done in self.done:
            if done.event.result != "fail":
                by_key[done.event.key].append(done)
        judgement = Judgement(keys=len(by_key))
        for key, all_of_it in by_key.items():
            verdict = _is_explained(all_of_it)
            if verdict is False:
                judgement.not_linearizable.append(key)
            elif verdict is None:
                judgement.undecided.append(key)
        return judgement

    def counts(self) -> Mapping[str, int]:
        counts: defaultdict[str, int] = defaultdict(int)
        for done in self.done:
            counts[f"{done.event.op} {done.event.result}"] += 1
        return dict(sorted(counts.items()))


def _is_explained(all_of_it: Iterable[Done]) -> bool | None:
    seen_at = {done.event.read: done.revision for done in all_of_it if done.event.read is not None}
    writes = sorted(place for done in all_of_it if _writes(done) and (place := _place(done, seen_at)) is not None)
    certain, never_seen = [], []
    for done in all_of_it:
        operation = _operation(done)
        place = _place(done, seen_at)
        if place is None:
            never_seen.append(operation)
            continue
        # Whoever only looks stands behind the last write that it may have seen.
        operation.likely_place = 2 * place if _writes(done) else 2 * _last(writes, place) + 1
        certain.append(operation)
    if is_explained_by_likely_places(certain):
        return True
    after_all = max((operation.likely_place for operation in certain), default=0) + 1
    for operation in never_seen:
        operation.likely_place = after_all
    return is_linearizable(certain + never_seen)


def _writes(done: Done) -> bool:
    return done.event.op != "get" and done.event.result != "mismatch"


def _place(done: Done, seen_at: Mapping[str | None, int | None]) -> int | None:
    """A write whose client never heard stands where its value was seen, if it was seen."""
    return done.revision if done.revision is not None else seen_at.get(done.event.value)


def _last(writes: list[int], reach: int) -> int:
    position = bisect_right(writes, reach)
    return writes[position - 1] if position else 0


def _operation(done: Done) -> Operation:
    event = done.event
    written = event.read if event.op == "get" else event.value
    operation = Operation(Kind(event.op), _bytes(written), event.call_ns)
    operation.expected = _bytes(event.expected)
    operation.existed = done.existed
    if event.return_ns is not None:
        operation.returned = event.return_ns
        if event.op == "cas":
            operation.succeeded = event.result == "ok"
    else:
        operation.returned = FOREVER
    return operation


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
