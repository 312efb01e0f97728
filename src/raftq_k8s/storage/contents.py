"""What one volume holds, as plain data: the contract of `raft/persistence.py` and `volume.py` in its shortest form.

The volume of tests and the disks of the simulator keep this; the volume of `sqlite.py` is held against it.
"""

from collections.abc import Iterable, Sequence
from zlib import crc32

from raftq_k8s.raft.log import ENTRY_BYTES
from raftq_k8s.raft.membership import BirthRecord
from raftq_k8s.raft.messages import Entry, EntryKind, SnapshotMark
from raftq_k8s.raft.persistence import Compaction, HardState, Restored, SnapshotPart, TermStart, Write
from raftq_k8s.raft.types import NO_INDEX, NO_TERM, Generation, Incarnation, Index, MemberId, Term


class Contents:
    """Of a blank volume, at first. A write that no correct core asks for raises `ValueError`."""

    def __init__(self, member: MemberId, incarnation: Incarnation) -> None:
        self.member = member
        self.incarnation = incarnation
        self.generation = Generation(0)
        self.birth: BirthRecord | None = None
        self.hard_state = HardState()
        self.base: Index = NO_INDEX
        self.base_term: Term = NO_TERM
        self.entries: list[Entry] = []
        """Those after `base`."""
        self.snapshot: SnapshotMark | None = None
        self.sealed = b""
        """The bytes of that snapshot."""
        self._begun: tuple[Index, bytearray] | None = None

    @property
    def last_index(self) -> Index:
        return Index(self.base + len(self.entries))

    @property
    def begun(self) -> tuple[Index, int] | None:
        """Index and size so far of the snapshot that is being put together."""
        return (self._begun[0], len(self._begun[1])) if self._begun is not None else None

    def term_at(self, index: Index) -> Term | None:
        """`None` before the base, and past the end."""
        if index == self.base:
            return self.base_term
        return self.entries[index - self.base - 1].term if self.base < index <= self.last_index else None

    def open(self, tail_bytes: int) -> Restored:
        """What a process finds at its start. A snapshot that was begun and not sealed is forgotten."""
        self._begun = None
        self.generation = Generation(self.generation + 1)
        tail = _begin_of_tail(self.entries, tail_bytes)
        before = self.entries[:tail]
        return Restored(
            self.member,
            self.incarnation,
            self.generation,
            self.birth,
            self.hard_state,
            self.entries[tail:],
            self.base,
            self.base_term,
            term_starts(before),
            tuple(entry for entry in before if entry.kind == EntryKind.CONFIGURATION),
            self.snapshot,
        )

    # Writing

    def keep(self, write: Write) -> None:
        if write.birth is not None:
            self.birth = write.birth
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        if write.part is not None:
            self._add(write.part)
        if write.seal is not None:
            self._seal(write.seal)
        if write.compaction is not None:
            self._compact(write.compaction)
        if write.entries:
            check_follows(write.entries, self.base, self.last_index)
            self.entries[write.entries[0].index - self.base - 1 :] = write.entries

    def _add(self, part: SnapshotPart) -> None:
        if part.offset == 0:
            self._begun = (part.index, bytearray(part.data))
        elif self._begun is not None and (part.index, part.offset) == (self._begun[0], len(self._begun[1])):
            self._begun[1].extend(part.data)

    def _seal(self, mark: SnapshotMark) -> None:
        index, data = self._begun or (NO_INDEX, b"")
        check_complete(mark, index, len(data), crc32(data))
        check_later(mark, self.snapshot)
        self.snapshot, self.sealed, self._begun = mark, bytes(data), None

    def _compact(self, compaction: Compaction) -> None:
        check_covered(compaction, self.base, self.snapshot)
        kept = self.entries[compaction.index - self.base :] if compaction.keep_rest else []
        self.base, self.base_term, self.entries = compaction.index, compaction.term, kept

    # Reading

    def load(self, first: Index, last: Index, max_bytes: int) -> tuple[Entry, ...]:
        if first <= self.base:
            return ()
        return fitting(self.entries[first - self.base - 1 : last - self.base], max_bytes)

    def read_snapshot(self, index: Index, offset: int, max_bytes: int) -> bytes | None:
        if self.snapshot is None or self.snapshot.index != index:
            return None
        return self.sealed[offset : offset + max_bytes]


def fitting(entries: Iterable[Entry], max_bytes: int) -> tuple[Entry, ...]:
    """As many from the first on as fit, and at least one."""
    taken: list[Entry] = []
    size = 0
    for entry in entries:
        size += len(entry.command) + ENTRY_BYTES
        if taken and size > max_bytes:
            break
        taken.append(entry)
    return tuple(taken)


def term_starts(entries: Sequence[Entry]) -> tuple[TermStart, ...]:
    """Where each term of a log begins. Terms never fall along it, so mostly two looks are enough."""
    if not entries:
        return ()
    first, last = entries[0], entries[-1]
    starts = [TermStart(first.index, first.term)]
    if first.term != last.term:
        for entry in entries:
            if entry.term != starts[-1].term:
                starts.append(TermStart(entry.index, entry.term))
    return tuple(starts)


def check_follows(entries: Sequence[Entry], base: Index, last: Index) -> None:
    """Entries are written after a base, without a gap."""
    first = entries[0].index
    if not base < first <= last + 1 or any(entry.index != at for at, entry in enumerate(entries, first)):
        raise ValueError(
            f"entries {first} to {entries[-1].index} leave a gap in a log that begins after {base} and ends at {last}"
        )


def check_complete(mark: SnapshotMark, index: Index, size: int, checksum: int) -> None:
    if (mark.index, mark.size, mark.checksum) != (index, size, checksum):
        raise ValueError(
            f"a snapshot at {mark.index} of {mark.size} bytes is not complete: "
            f"what was begun is at {index}, and has {size} bytes"
        )


def check_later(mark: SnapshotMark, snapshot: SnapshotMark | None) -> None:
    if snapshot is not None and mark.index < snapshot.index:
        raise ValueError(f"a snapshot at {mark.index} cannot take the place of a later one, at {snapshot.index}")


def check_covered(compaction: Compaction, base: Index, snapshot: SnapshotMark | None) -> None:
    covered = snapshot.index if snapshot is not None else NO_INDEX
    if not base <= compaction.index <= covered:
        raise ValueError(
            f"a log that begins after {base} cannot be compacted up to {compaction.index}: "
            f"the snapshot covers it up to {covered}"
        )


def _begin_of_tail(entries: Sequence[Entry], tail_bytes: int) -> int:
    """Where the entries begin that come along at a start: the last ones, at least one."""
    size, position = 0, len(entries)
    while position > 0:
        size += len(entries[position - 1].command) + ENTRY_BYTES
        if size > tail_bytes and position < len(entries):
            break
        position -= 1
    return position
