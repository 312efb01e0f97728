"""What the core wants done: to be carried out by the driver, in this order: write, send, apply.

Nothing in `messages` waits for the write beside it: what rests on bytes not yet synced (a vote, an acknowledgement)
stays inside the core until `persisted` was called with the receipt of those bytes, and leaves with a later output.
"""

from typing import TypeAlias

import msgspec

from raftq_k8s.raft.membership import Identity, Refusal
from raftq_k8s.raft.messages import Entry, Message, SnapshotMark
from raftq_k8s.raft.pending_reads import ConfirmedRead, FailedRead
from raftq_k8s.raft.persistence import Receipt, Write
from raftq_k8s.raft.types import Index, Instant, MemberId, Milliseconds, Term


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """This process of a peer may talk to us, and what must be remembered of it is synced."""

    identity: Identity


class Refused(msgspec.Struct, frozen=True, gc=False):
    identity: Identity
    refusal: Refusal


class EntriesWanted(msgspec.Struct, frozen=True, gc=False, tag="entries"):
    """Entries of this node's volume that are not in memory, to be given to `entries_loaded`: as many from `first` on as
    fit `max_bytes`, at least one, and none after `last`."""

    first: Index
    last: Index
    max_bytes: int


class ChunkWanted(msgspec.Struct, frozen=True, gc=False, tag="chunk"):
    """A piece of this volume's snapshot at `index`, for that peer, to be given to `snapshot_chunk`."""

    peer: MemberId
    index: Index
    offset: int
    max_bytes: int


Wanted: TypeAlias = EntriesWanted | ChunkWanted


class Output(msgspec.Struct, frozen=True):
    receipt: Receipt | None = None
    """Set when `write` is: pass it to `persisted` once the write is on stable storage."""
    write: Write | None = None
    messages: tuple[Message, ...] = ()
    committed: tuple[Entry, ...] = ()
    """To apply, in order, each exactly once. A majority has them on stable storage; this node's own may lag behind."""
    install: SnapshotMark | None = None
    """Before `committed` is applied, the state becomes that of this volume's snapshot, which is sealed by now."""
    wanted: tuple[Wanted, ...] = ()
    greetings: tuple[Accepted | Refused, ...] = ()
    reads: tuple[ConfirmedRead, ...] = ()
    """To be answered from a state that has applied the log up to their index."""
    failed_reads: tuple[FailedRead, ...] = ()


NO_OUTPUT = Output()


class Standing(msgspec.Struct, frozen=True):
    """Who leads, as this node sees it. Two are equal exactly when nothing about it changed."""

    role: str
    """`follower`, `pre-candidate`, `candidate` or `leader`."""
    term: Term
    leader: MemberId | None
    established: bool
    """This node leads, and an entry of its own term is committed: from here on it may be labelled."""


class FollowerView(msgspec.Struct, frozen=True, gc=False):
    """What a leader knows of another member: for people."""

    match: Index
    """It holds the leader's log up to here on stable storage."""
    heard_at: Instant
    """When it answered last; until it did, when the leader began to listen."""
    round_trip: Milliseconds | None
    """How long its first answer to the last round took that it answered."""
