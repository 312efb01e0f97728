"""What nodes say to each other once they have greeted. Names and fields are the paper's (figure 2) and the
dissertation's.

Every message carries its sender's term. Times are durations in milliseconds, never instants: clocks are not compared.
"""

from enum import IntEnum
from typing import TypeAlias

import msgspec

from raftq_k8s.raft.types import Incarnation, Index, MemberId, Milliseconds, Term


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


class AppendResponse(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="append!"):
    """`success`: everything up to `index` is the leader's and on stable storage here. Otherwise `index` is the previous
    index that did not match, and the hint is the last position that may match (a whole term is skipped at a time)."""

    source: MemberId
    destination: MemberId
    term: Term
    round: int
    success: bool
    index: Index
    hint_index: Index
    hint_term: Term
    window: Milliseconds
    """From the moment this answer's request arrived, the voter refuses votes for so long."""


Message: TypeAlias = VoteRequest | VoteResponse | AppendEntries | AppendResponse
