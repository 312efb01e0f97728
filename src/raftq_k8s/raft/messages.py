"""What nodes say to each other once they have greeted. Names and fields are the paper's (figure 2) and the
dissertation's.

Every message carries its sender's term. Times are durations in milliseconds, never instants: clocks are not compared.
"""

from enum import IntEnum
from typing import TypeAlias

import msgspec

from raftq_k8s.raft.membership import Membership
from raftq_k8s.raft.types import NO_TRANSFER, Incarnation, Index, MemberId, Milliseconds, Term, TransferId


class EntryKind(IntEnum):
    NOOP = 0
    """Appended by every leader at its election: only an entry of its own term commits what came before (§5.4.2)."""
    COMMAND = 1
    CONFIGURATION = 2
    """Its command is an encoded `Membership`, in force from the moment it stands in a log (dissertation §4.1)."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    index: Index
    term: Term
    kind: EntryKind
    command: bytes = b""


class SnapshotMark(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot is of, and how to tell it from another: replicas that are at one index make the same bytes."""

    index: Index
    """The last entry that it covers."""
    term: Term
    membership: Membership
    """In force at that index."""
    size: int
    """Bytes."""
    checksum: int
    """CRC-32 of all of them."""


class VoteRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="vote?"):
    """Asks for a vote in `term`, or, as a pre-vote, whether a vote in `term` would be granted (dissertation §9.6)."""

    source: MemberId
    destination: MemberId
    term: Term
    incarnation: Incarnation
    """The voter's, as the candidate's configuration names it: an amnesiac under an old name does not vote."""
    last_index: Index
    last_term: Term
    pre_vote: bool
    transfer: TransferId = NO_TRANSFER
    """Of the leader of the term before, which told the candidate to stand: such a vote passes the voter's window."""


class VoteResponse(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="vote!"):
    """A granted pre-vote carries the term that was asked for; every other answer the voter's own term."""

    source: MemberId
    destination: MemberId
    term: Term
    granted: bool
    pre_vote: bool
    window_left: Milliseconds
    """How long this voter still refuses because it hears a leader; 0 when that is not the reason."""


class AppendEntries(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="append?"):
    source: MemberId
    destination: MemberId
    term: Term
    round: int
    """Counts the leader's rounds; the answer returns it, so that the leader knows how long ago it was surely heard."""
    previous_index: Index
    previous_term: Term
    commit: Index
    entries: tuple[Entry, ...]
    cancelled: TransferId = NO_TRANSFER
    """Transfers of this leader up to that one are given up: votes that they force are to be refused."""


class AppendResponse(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="append!"):
    """`success`: everything up to `index` is the leader's and on stable storage here. Otherwise `index` is the previous
    index that did not match, and the hint is the last position that may match (a whole term is skipped at a time)."""

    source: MemberId
    destination: MemberId
    term: Term
    round: int
    """Of the append that is answered; 0 where that was of an earlier term, and so acknowledges nothing."""
    success: bool
    index: Index
    hint_index: Index
    hint_term: Term
    window: Milliseconds
    """From the moment this answer's request arrived, the voter refuses votes for so long."""


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="timeout-now"):
    """The leader hands over: stand for election at once (dissertation §3.10)."""

    source: MemberId
    destination: MemberId
    term: Term
    transfer: TransferId


class ReadIndexRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="read?"):
    """A follower asks its leader up to where its own state must have applied the log to answer reads (§6.4)."""

    source: MemberId
    destination: MemberId
    term: Term
    ticket: int
    """Chosen by the source; the answer returns it."""


class ReadIndexResponse(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="read!"):
    """`granted`: `index` is the read index. Otherwise the node that was asked does not lead, and `index` is 0."""

    source: MemberId
    destination: MemberId
    term: Term
    ticket: int
    granted: bool
    index: Index


class SnapshotChunk(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="snapshot?"):
    """A piece of the leader's snapshot, for a peer that lacks entries which the leader has no more (paper §7). It
    counts as an append for the peer's window and the leader's round."""

    source: MemberId
    destination: MemberId
    term: Term
    round: int
    mark: SnapshotMark
    offset: int
    data: bytes
    cancelled: TransferId = NO_TRANSFER


class SnapshotResponse(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="snapshot!"):
    """`offset`: so many bytes of the snapshot at `index` are on stable storage here. All of them, and the snapshot is
    installed: then the peer holds everything up to `index`."""

    source: MemberId
    destination: MemberId
    term: Term
    round: int
    index: Index
    offset: int
    installed: bool
    window: Milliseconds


class JoinRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="join?"):
    """A process asks the leader to be made a member under its own incarnation. Its term is 0 while it is blank."""

    source: MemberId
    destination: MemberId
    term: Term
    incarnation: Incarnation


class JoinResponse(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="join!"):
    """`granted`: a committed configuration names that incarnation. Otherwise `reason` is a sentence for people, and
    `leader` is whom to ask, where one is known."""

    source: MemberId
    destination: MemberId
    term: Term
    incarnation: Incarnation
    granted: bool
    leader: MemberId | None
    reason: str


class LeaveRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="leave?"):
    """A member asks the leader to be removed for good. It asks again until a configuration without it is committed."""

    source: MemberId
    destination: MemberId
    term: Term
    incarnation: Incarnation


Message: TypeAlias = (
    VoteRequest
    | VoteResponse
    | AppendEntries
    | AppendResponse
    | TimeoutNow
    | ReadIndexRequest
    | ReadIndexResponse
    | SnapshotChunk
    | SnapshotResponse
    | JoinRequest
    | JoinResponse
    | LeaveRequest
)
