"""Snapshots of this node's own state: when one is taken, how it gets to the volume, and how it comes back from there.

**Taking.** A log that is never cut fills the volume, and at a start all of it is applied again. So when enough was
applied since the last snapshot, the state is frozen as it is and written down slice by slice, the next one when the
one before is on stable storage: writes of the log pass between any two of them, and nothing stalls. What is enough is a
bound of bytes or entries; and no less than the last snapshot took, so that a large state is not written again and
again for a short log.

The volume puts one snapshot together at a time. Whatever begins another one, a leader that sends its own, ends this
one; only when its seal is with the volume already it stands.

**Restoring.** At a start with a snapshot, and when a leader's was installed, the state is read from the volume, slice
by slice too, and takes the place of the old one at once. What is committed waits meanwhile; so do reads, for the state
that answers them has not applied the log up to their index.
"""

from collections.abc import Iterator
from zlib import crc32

import msgspec

from raftq_k8s.node.actions import Actions, Loaded, SliceReceipt, SliceWanted
from raftq_k8s.raft.consensus import Consensus
from raftq_k8s.raft.log import ENTRY_BYTES
from raftq_k8s.raft.membership import Membership
from raftq_k8s.raft.messages import Entry, SnapshotMark
from raftq_k8s.raft.persistence import SnapshotPart, Write
from raftq_k8s.raft.types import NO_INDEX, Index, Instant, Term
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.state.snapshot import Restoring

PATIENCE = 4
"""So many times over its bound a log may grow while the last snapshot is on its way to a peer, which would have to
begin anew with the next."""


class SnapshotBounds(msgspec.Struct, frozen=True):
    """How much is applied, at the least, between two snapshots: whichever of the first two is reached first."""

    after_bytes: int = 16 << 20
    after_entries: int = 1 << 18
    slice_bytes: int = 1 << 16

    def __post_init__(self) -> None:
        if min(self.after_bytes, self.after_entries, self.slice_bytes) < 1:
            raise ValueError("bounds of snapshots must be at least 1")


BOUNDS = SnapshotBounds()


class _Taking:
    def __init__(self, index: Index, term: Term, membership: Membership, slices: Iterator[bytes]) -> None:
        self.index = index
        self._term = term
        self._membership = membership
        self._slices = slices
        self._size = 0
        self._checksum = 0
        self.mark: SnapshotMark | None = None
        """Once its seal was handed over."""

    def next_write(self) -> Write:
        data = next(self._slices, None)
        if data is None:
            self.mark = SnapshotMark(self.index, self._term, self._membership, self._size, self._checksum)
            return Write(seal=self.mark)
        part = SnapshotPart(self.index, self._size, data)
        self._size, self._checksum = self._size + len(data), crc32(data, self._checksum)
        return Write(part=part)


class _Restoring:
    def __init__(self, mark: SnapshotMark, state: Restoring) -> None:
        self.mark = mark
        self.state = state
        self.size = 0
        """Bytes that were read."""
        self.asked = False


class Snapshots:
    def __init__(self, state: StateMachine, bounds: SnapshotBounds) -> None:
        self._state = state
        self._bounds = bounds
        self._last: SnapshotMark | None = None
        self._entries_since = 0
        self._bytes_since = 0
        self._taking: _Taking | None = None
        self._last_receipt = SliceReceipt(0)
        self._waits_for_disk = False
        self._restoring: _Restoring | None = None

    @property
    def index(self) -> Index:
        """Of the last one that is complete."""
        return self._last.index if self._last is not None else NO_INDEX

    # ---------------------------------------------------------------------------------------------------------- taking

    def applied(self, entries: tuple[Entry, ...]) -> None:
        self._entries_since += len(entries)
        self._bytes_since += ENTRY_BYTES * len(entries) + sum([len(entry.command) for entry in entries])

    def keep(self, consensus: Consensus, index: Index, term: Term, actions: Actions, now: Instant) -> None:
        """What is to be done now, where the state has applied the log up to `index`, an entry of that term."""
        if self.is_due() and self._may_be_taken(consensus, index, now):
            self.take(index, term, consensus.membership_at(index))
        if write := self.next_write():
            actions.writes.append(write)
        if load := self.next_load():
            actions.loads.append(load)

    def _may_be_taken(self, consensus: Consensus, index: Index, now: Instant) -> bool:
        """Not of a state that a leader's snapshot is about to replace, nor while one is arriving, or leaving."""
        last = consensus.snapshot
        if consensus.receives_snapshot or (last is not None and last.index >= index):
            return False
        return self.is_overdue() or not consensus.sends_snapshot(now)

    def is_due(self) -> bool:
        return self._is_enough(1) and self._taking is None and self._restoring is None

    def is_overdue(self) -> bool:
        """Due even though a peer is getting on with the last one."""
        return self._is_enough(PATIENCE)

    def _is_enough(self, times: int) -> bool:
        entries, size, bounds = self._entries_since, self._bytes_since, self._bounds
        if entries < times * bounds.after_entries and size < times * bounds.after_bytes:
            return False
        return self._last is None or size >= times * self._last.size

    def take(self, index: Index, term: Term, membership: Membership) -> None:
        """Begin one of the state as it is now, which has applied the log up to `index`."""
        self._taking = _Taking(index, term, membership, self._state.freeze().parts(self._bounds.slice_bytes))
        self._entries_since = self._bytes_since = 0

    def next_write(self) -> tuple[SliceReceipt, Write] | None:
        """What is next for the volume, if the last is there by now."""
        if self._taking is None or self._waits_for_disk:
            return None
        self._waits_for_disk = True
        self._last_receipt = SliceReceipt(self._last_receipt.number + 1)
        return self._last_receipt, self._taking.next_write()

    def persisted(self, receipt: SliceReceipt) -> SnapshotMark | None:
        """The snapshot's mark, once all of it is on stable storage."""
        if receipt != self._last_receipt:
            return None  # of one that was given up
        self._waits_for_disk = False
        if self._taking is None or self._taking.mark is None:
            return None
        self._last, self._taking = self._taking.mark, None
        return self._last

    def give_up(self) -> None:
        """Another one is begun on the volume."""
        if self._taking is not None and self._taking.mark is None:
            self._taking = None
            self._waits_for_disk = False

    # ------------------------------------------------------------------------------------------------------- restoring

    def restore(self, mark: SnapshotMark) -> None:
        """The state is to become that of the volume's snapshot, which is this one by now."""
        self._last = mark
        self._entries_since = self._bytes_since = 0
        self._restoring = _Restoring(mark, self._state.restoring())

    def next_load(self) -> SliceWanted | None:
        restoring = self._restoring
        if restoring is None or restoring.asked:
            return None
        restoring.asked = True
        return SliceWanted(restoring.mark.index, restoring.size, self._bounds.slice_bytes)

    def loaded(self, wanted: SliceWanted, data: Loaded) -> SnapshotMark | None:
        """The mark, once the state is that of the snapshot. Raises `SnapshotDamaged`."""
        restoring = self._restoring
        if restoring is None or (wanted.index, wanted.offset) != (restoring.mark.index, restoring.size):
            return None
        if not isinstance(data, bytes):
            return None  # a later one has taken its place, and is about to be restored
        restoring.asked = False
        restoring.size += len(data)
        restoring.state.feed(data)
        if restoring.size < restoring.mark.size:
            return None
        self._state.install(restoring.state)
        self._restoring = None
        return restoring.mark
