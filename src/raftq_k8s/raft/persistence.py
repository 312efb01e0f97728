"""What must survive a crash, and how the core asks for it to be written.

The storage keeps one contract: writes end in the order in which they were given, each as a whole or not at all, and a
write that ended is on stable storage. What was not ended may be there after a crash, or not.
"""

from typing import NewType

import msgspec

from raftq_k8s.raft.membership import BirthRecord
from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.types import NO_TERM, BootId, Generation, Incarnation, MemberId, Milliseconds, Term

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


class Write(msgspec.Struct, frozen=True):
    """One transaction. `None` and an empty tuple mean: nothing to write of that kind.

    The first of `entries` says where they begin: whatever stands in the log at or after its index is removed first.
    Indices follow each other without a gap.
    """

    birth: BirthRecord | None = None
    hard_state: HardState | None = None
    entries: tuple[Entry, ...] = ()


class Restored(msgspec.Struct, frozen=True):
    """What a volume holds when it is opened; `entries` from index 1 on, without a gap."""

    member: MemberId
    incarnation: Incarnation
    generation: Generation
    birth: BirthRecord | None
    hard_state: HardState
    entries: list[Entry]
