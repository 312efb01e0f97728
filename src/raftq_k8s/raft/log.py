"""The replicated log of one node, and how much of it is on stable storage.

Entries are handed to storage in writes that end later, in order. A truncation may overtake a write that is still on its
way: entries written, truncated and written again have the same index and perhaps the same term (A, B, A), so neither
tells whether the disk holds what the log holds. Each write under way therefore remembers up to where it still speaks
for the log; a truncation shortens that, and only what is left counts when the write ends.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.persistence import Receipt
from raftq_k8s.raft.types import NO_INDEX, NO_TERM, Index, Term

ENTRY_BYTES = 24
"""What an entry weighs on a wire besides its command, at the most: runs of empty entries have a bound too."""


def _term_of(entry: Entry) -> Term:
    return entry.term


class Log:
    """In this release the whole log stays in memory; entry `i` stands at position `i - 1`."""

    __slots__ = ("_entries", "_handed", "_under_way", "stable")

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries
        self.stable = self.last_index
        self._handed = self.last_index
        self._under_way: deque[tuple[Receipt, Index]] = deque()

    @property
    def last_index(self) -> Index:
        return Index(len(self._entries))

    @property
    def last_term(self) -> Term:
        return self._entries[-1].term if self._entries else NO_TERM

    def term_at(self, index: Index) -> Term | None:
        """`None` past the end; the position before the first entry has term 0."""
        if index == NO_INDEX:
            return NO_TERM
        return self._entries[index - 1].term if index <= len(self._entries) else None

    def matches(self, index: Index, term: Term) -> bool:
        return self.term_at(index) == term

    def is_up_to_date(self, last_index: Index, last_term: Term) -> bool:
        """Whether a candidate with that end of its log may have this node's vote (§5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def last_possible_match(self, index: Index, term: Term) -> tuple[Index, Term]:
        """The last position at or before `index` whose term is not above `term`: later ones cannot match an entry of
        that term. Terms never fall along a log, so it is found by bisection, and whole terms are skipped at a time."""
        found = Index(bisect_right(self._entries, term, hi=min(index, len(self._entries)), key=_term_of))
        return found, self._entries[found - 1].term if found else NO_TERM

    def first_conflict(self, entries: Sequence[Entry]) -> int:
        """How many of `entries` the log holds already, from the first one on."""
        for position, entry in enumerate(entries):
            if self.term_at(entry.index) != entry.term:
                return position
        return len(entries)

    def slice(self, first: Index, max_bytes: int) -> tuple[Entry, ...]:
        """Entries from `first` on that fit `max_bytes`; always at least one, when there is one."""
        last, size = first - 1, 0
        while last < len(self._entries):
            size += len(self._entries[last].command) + ENTRY_BYTES
            if size > max_bytes and last >= first:
                break
            last += 1
        return tuple(self._entries[first - 1 : last])

    def between(self, first: Index, last: Index) -> tuple[Entry, ...]:
        return tuple(self._entries[first - 1 : last])

    def append(self, entries: Sequence[Entry]) -> None:
        """Put entries at the end; the first one's index follows the last."""
        self._entries.extend(entries)

    def overwrite(self, entries: Sequence[Entry]) -> None:
        """Remove whatever stands at or after the first of `entries`, and put them there."""
        keep = Index(entries[0].index - 1)
        if keep < self.last_index:
            del self._entries[keep:]
            self.stable = min(self.stable, keep)
            self._handed = min(self._handed, keep)
            self._under_way = deque((receipt, min(last, keep)) for receipt, last in self._under_way)
        self.append(entries)

    @property
    def unsynced(self) -> int:
        """How many entries are not on stable storage yet."""
        return self.last_index - self.stable

    @property
    def has_unwritten(self) -> bool:
        return self._handed < len(self._entries)

    def hand_over(self, receipt: Receipt) -> tuple[Entry, ...]:
        """What no write has been given yet; it goes with the write of that receipt."""
        entries = tuple(self._entries[self._handed :])
        self._handed = self.last_index
        self._under_way.append((receipt, self._handed))
        return entries

    def persisted(self, receipt: Receipt) -> None:
        """That write, and therefore every earlier one, is on stable storage."""
        while self._under_way and self._under_way[0][0] <= receipt:
            self.stable = max(self.stable, self._under_way.popleft()[1])
