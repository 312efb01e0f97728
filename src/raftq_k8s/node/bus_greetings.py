"""Greetings over the bus: hellos, and the verdicts on them.

Where nodes have connections, a hello opens one. The bus has none, so a hello is a message like any other, and rides
where requests for votes do; its answer rides on the answer to those (`bus_votes`). When to say hello, and what follows
from a verdict, is the business of `bus_transport`; whether a process is listened to, the core's.
"""

import msgspec

from raftq_k8s.node.bus_envelope import AnyIndex, AnyTerm, Count, Part
from raftq_k8s.raft.membership import BirthRecord, Hello, Identity, Refusal
from raftq_k8s.raft.types import NO_INDEX, NO_TERM, MemberId


class Greeting(msgspec.Struct, frozen=True):
    """A hello that asks for an answer."""

    hello: Hello


class Verdict(msgspec.Struct, frozen=True):
    """The answer to a hello: one's own, and whether the other is listened to."""

    hello: Hello
    judged: Identity
    """The process that this is said of: under its name there may be another one by now."""
    refusal: Refusal | None


class HelloPart(Part, frozen=True):
    """A hello without whose it is: that is said by the envelope."""

    protocol_min: Count
    protocol_max: Count
    birth: BirthRecord | None
    http_address: str
    term: AnyTerm = NO_TERM
    vote: MemberId | None = None
    last_index: AnyIndex = NO_INDEX
    full: bool = False

    @classmethod
    def of(cls, hello: Hello) -> "HelloPart":
        return cls(
            hello.protocol_min,
            hello.protocol_max,
            hello.birth,
            hello.http_address,
            hello.term,
            hello.vote,
            hello.last_index,
            hello.full,
        )

    def hello(self, sender: Identity) -> Hello:
        return Hello(
            self.protocol_min,
            self.protocol_max,
            sender,
            self.birth,
            self.http_address,
            self.term,
            self.vote,
            self.last_index,
            self.full,
        )
