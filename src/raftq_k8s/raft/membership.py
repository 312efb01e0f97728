"""Who is who: the identity of a process, what it says of itself when it connects, and whom a member listens to.

A member is a name and an incarnation. Each start of its process raises a synced `generation` and draws a boot id, so
that of two processes on one volume the younger fences the older, and a dropped connection of the same process is told
from a restart. A node that belongs to no cluster yet says so by a hello without a cluster.
"""

import msgspec

from raftq_k8s.raft.types import LONGEST_STEP, BootId, ClusterId, Generation, Incarnation, MemberId, Term


class Member(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A voter as the birth record names it."""

    name: MemberId
    incarnation: Incarnation


class BirthRecord(msgspec.Struct, frozen=True, array_like=True):
    """The first configuration of a cluster, written once and adopted by everybody whom it names."""

    cluster: ClusterId
    members: tuple[Member, ...]
    first_term: Term

    @property
    def is_possible(self) -> bool:
        """Whether a correct founder may have written it: each member is named once, and counts once."""
        names = {member.name for member in self.members}
        each_once = len(names) == len(self.members) > 0 and "" not in names
        return each_once and 0 < self.first_term <= LONGEST_STEP

    def names(self, member: MemberId, incarnation: Incarnation) -> bool:
        return Member(member, incarnation) in self.members


class Membership(msgspec.Struct, frozen=True, array_like=True):
    """Who belongs to a cluster, as the log says it: the command of a `CONFIGURATION` entry, and part of a snapshot.

    Every tuple stands in the order of the names. A name appears under one incarnation only; a voter that stays through
    a joint configuration stands in `voters` and in `outgoing`.
    """

    voters: tuple[Member, ...]
    outgoing: tuple[Member, ...] = ()
    """The voters before, while a joint configuration (dissertation §4.3) is in force: both need a majority."""
    learners: tuple[Member, ...] = ()
    """They receive the log, and count for nothing."""
    tombstones: tuple[Member, ...] = ()
    """Incarnations that were removed: they never come back."""
    version: int = 1
    """Of commands and formats: the highest that all members understand. It never falls."""


class Identity(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One process of one member. `cluster` is `None` until its volume knows a birth record."""

    cluster: ClusterId | None
    member: MemberId
    incarnation: Incarnation
    generation: Generation
    boot: BootId

    def is_process(self, other: "Identity") -> bool:
        """Whether both name one process, whatever either knew of its cluster when it said so: an older hello may be
        heard after a newer one, on another connection."""
        return (self.member, self.incarnation, self.generation, self.boot) == (
            other.member,
            other.incarnation,
            other.generation,
            other.boot,
        )


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The first thing a process says on a connection, and says again when its identity changed (it was born)."""

    protocol_min: int
    protocol_max: int
    identity: Identity
    birth: BirthRecord | None
    http_address: str
    """Where people and forwarded requests find this node, `host:port`; empty where there is no HTTP face."""


class Refusal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why a peer is not listened to. `kind` is a metric label, `reason` a sentence for a log."""

    kind: str
    reason: str
