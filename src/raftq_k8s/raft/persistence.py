"""What must survive a crash, and how the core asks for it to be written.

The storage keeps one contract: writes end in the order in which they were given, each as a whole or not at all, and a
write that ended is on stable storage. What was not ended may be there after a crash, or not.
"""

from typing import NewType

import msgspec

from raftq_k8s.raft.membership import BirthRecord
from raftq_k8s.raft.messages import Entry, SnapshotMark
from raftq_k8s.raft.types import (
    NO_INDEX,
    NO_TERM,
    BootId,
    Generation,
    Incarnation,
    Index,
    MemberId,
    Milliseconds,
    Term,
)

Receipt = NewType("Receipt", int)
"""Names one write of one `Consensus` object; never used twice."""


class SeenPeer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The youngest process of a peer that was ever listened to."""

    member: MemberId
    incarnation: Incarnation
    generation: Generation
    boot: BootId


class HardState(msgspec.Struct, frozen=True, array_like=True):
    term: Term = NO_TERM
    vote: MemberId | None = None
    promised_window: Milliseconds = 0.0
    """The longest time this voter ever promised to refuse votes after it heard a leader: a restart forgets when it
    heard one, so it waits that long before it votes."""
    peers: tuple[SeenPeer, ...] = ()


class SnapshotPart(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A piece of a snapshot that is being put together. Offset 0 begins it, and drops whatever other one was begun and
    not sealed; a piece that does not follow the last one of the snapshot begun is passed over."""

    index: Index
    """Of the last entry that the snapshot covers."""
    offset: int
    data: bytes


class Compaction(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Every entry up to `index` is removed from the log; what follows stays, unless `keep_rest` is false: then the log
    held another history, and all of it goes. The log begins after (`index`, `term`) from then on."""

    index: Index
    term: Term
    keep_rest: bool


class Write(msgspec.Struct, frozen=True):
    """One transaction, done in the order of the fields. `None` and an empty tuple mean: nothing to write of that kind.

    The first of `entries` says where they begin: whatever stands in the log at or after its index is removed first.
    Indices follow each other without a gap.
    """

    birth: BirthRecord | None = None
    hard_state: HardState | None = None
    part: SnapshotPart | None = None
    seal: SnapshotMark | None = None
    """The parts of the snapshot begun last, at that index, are complete: it is the snapshot of this volume from here
    on, and the one before it is gone."""
    compaction: Compaction | None = None
    entries: tuple[Entry, ...] = ()


class TermStart(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """From `index` on, up to the next one of these, the entries of a log are of `term`."""

    index: Index
    term: Term


class Restored(msgspec.Struct, frozen=True):
    """What a volume holds when it is opened. Its log begins after (`base`, `base_term`); of a long one only the tail
    comes along as `entries`, without a gap up to its end, and the rest can be loaded."""

    member: MemberId
    incarnation: Incarnation
    generation: Generation
    birth: BirthRecord | None
    hard_state: HardState
    entries: list[Entry]
    base: Index = NO_INDEX
    base_term: Term = NO_TERM
    term_starts: tuple[TermStart, ...] = ()
    """Of the entries after `base` that are not among `entries`."""
    configurations: tuple[Entry, ...] = ()
    """The `CONFIGURATION` entries among those."""
    snapshot: SnapshotMark | None = None
    """Its bytes are read from the volume. It covers `base` at the least."""
