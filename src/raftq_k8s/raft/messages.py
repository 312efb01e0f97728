"""What nodes say to each other once they have greeted. Names and fields are the paper's (figure 2) and the
dissertation's.

Every message carries its sender's term. Times are durations in milliseconds, never instants: clocks are not compared.
"""

from enum import IntEnum
from typing import TypeAlias

import msgspec

from raftq_k8s.raft.types import NO_TRANSFER, Incarnation, Index, MemberId, Milliseconds, Term, TransferId


class EntryKind(IntEnum):
    NOOP = 0
    """Appended by every leader at its election: only an entry of its own term commits what came before (§5.4.2)."""
    COMMAND = 1


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    index: Index
    term: Term
    kind: EntryKind
    command: bytes = b""


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


Message: TypeAlias = (
    VoteRequest | VoteResponse | AppendEntries | AppendResponse | TimeoutNow | ReadIndexRequest | ReadIndexResponse
)
