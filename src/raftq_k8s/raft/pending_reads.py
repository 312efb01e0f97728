"""Reads under way, as data: what a leader has not confirmed yet, and what a follower has asked its leader for.

The rules are in `reads`.
"""

from enum import StrEnum
from typing import NewType, TypeAlias

import msgspec

from raftq_k8s.raft.quorum import FOREVER
from raftq_k8s.raft.types import Generation, Index, Instant, MemberId

ReadContext = NewType("ReadContext", int)
"""Chosen by the caller of `read`; the answer returns it."""


class ReadFailure(StrEnum):
    """Why a read was not answered. It did nothing, so it may always be asked again."""

    NO_LEADER = "no-leader"
    """Nobody is known who could be asked."""
    NOT_LEADER = "not-leader"
    """Whoever was asked does not lead, or has too much to do."""
    LEADERSHIP_LOST = "leadership-lost"
    """This node led when the read came in, and no longer does."""
    UNANSWERED = "unanswered"
    """The leader was asked again and again, for a maximum election time."""
    OVERLOADED = "overloaded"
    """Too many reads wait already."""


class ConfirmedRead(msgspec.Struct, frozen=True, gc=False):
    """A state that has applied everything up to `index` contains all that was acknowledged before the read came in."""

    context: ReadContext
    index: Index


class FailedRead(msgspec.Struct, frozen=True, gc=False):
    context: ReadContext
    reason: ReadFailure


class PeersRead(msgspec.Struct, frozen=True, gc=False):
    """A follower asks for its own reads, and hears the index under its ticket."""

    peer: MemberId
    ticket: int


ReadOrigin: TypeAlias = ReadContext | PeersRead


class PendingRead(msgspec.Struct, frozen=True, gc=False):
    """Of a leader. Confirmed once a quorum acknowledged that round, the first one sent after the read came in."""

    origin: ReadOrigin
    index: Index
    round: int


class AskedRead(msgspec.Struct, frozen=True, gc=False):
    """Of a follower. Answered by the answer to that ticket, the first one sent after the read came in, or a later
    one."""

    context: ReadContext
    ticket: int
    give_up_at: Instant


class Reads:
    """Of one node: what it has asked its leader, and the answers that the next output takes along."""

    __slots__ = ("ask_again_at", "asked", "confirmed", "failed", "last_ticket")

    def __init__(self, generation: Generation) -> None:
        """A late answer to an earlier process of this member says nothing about reads of this one: tickets of no two
        of them are alike."""
        self.last_ticket = generation << 32
        self.asked: list[AskedRead] = []
        """In the order of their tickets."""
        self.ask_again_at: Instant = FOREVER
        self.confirmed: list[ConfirmedRead] = []
        self.failed: list[FailedRead] = []

    def fail(self, context: ReadContext, reason: ReadFailure) -> None:
        self.failed.append(FailedRead(context, reason))

    def take_confirmed(self) -> tuple[ConfirmedRead, ...]:
        confirmed, self.confirmed = self.confirmed, []
        return tuple(confirmed)

    def take_failed(self) -> tuple[FailedRead, ...]:
        failed, self.failed = self.failed, []
        return tuple(failed)
