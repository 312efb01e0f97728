"""The replicated log of one node: what of it is in memory, where it begins, and how much is on stable storage.

**Where it begins.** A snapshot makes the entries that it covers needless, and they are removed (*compaction*, paper
§7): the log then begins after its `base`, of which only the term is still known. Everything up to the base is
committed; so by leader completeness it is what every later leader holds there, and it matches whatever a leader says of
it. Where a snapshot of another node is *installed*, the whole log gives way to it.

**What is in memory.** Only the tail: what is not applied or not yet stable, and of the rest so many bytes as slow peers
may soon ask for. Older entries are on the volume, and whoever needs one has it loaded. The terms of all of them stay
in memory, for terms come in runs: they are kept as the index at which each begins. So a term is found by bisection
however long the log is, and nothing that happens in a turn takes time in proportion to the log: memory is let go a
bounded step at a time, with every few entries that are applied, and a compaction moves the base and drops some runs.

**What is stable.** Entries are handed to storage in writes that end later, in order. A truncation may overtake a write
that is still on its way: entries written, truncated and written again have the same index and perhaps the same term (A,
B, A), so neither tells whether the disk holds what the log holds. Each write under way therefore remembers up to where
it still speaks for the log; a truncation shortens that, and only what is left counts when the write ends. An
installation is a truncation too, down to what was committed, and its own write speaks for everything that the snapshot
covers.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.persistence import Compaction, Receipt, TermStart
from raftq_k8s.raft.types import NO_INDEX, NO_TERM, Index, Term

ENTRY_BYTES = 24
"""What an entry weighs on a wire besides its command, at the most: runs of empty entries have a bound too."""

TRIM_STEP = 1024
"""So many entries at the most are weighed, and twice as many let go, at a time."""

COMPACTION_STEP = 1 << 14
"""So many entries are removed by one write, so that no other write waits long for it."""

TRIM_SHARE = 16
"""Of what is in memory, the part that is worth moving the rest for."""


def weight(entries: Sequence[Entry]) -> int:
    """Bytes that entries take on a wire, at the most."""
    return ENTRY_BYTES * len(entries) + sum([len(entry.command) for entry in entries])


class Log:
    """`entries` are the last ones; `term_starts` tells of those between the base and them."""

    __slots__ = (
        "_entries",
        "_handed",
        "_spare",
        "_starts",
        "_terms",
        "_under_way",
        "_weighed",
        "_weight",
        "base",
        "last_index",
        "oldest",
        "stable",
    )

    def __init__(
        self,
        entries: list[Entry],
        base: Index = NO_INDEX,
        base_term: Term = NO_TERM,
        term_starts: Sequence[TermStart] = (),
    ) -> None:
        self.base = base
        """The log begins after it."""
        self._starts = [base]
        """Where runs of one term begin; the first one at the base, whether the entries after it are of its term or
        not."""
        self._terms = [base_term]
        for start in term_starts:
            self._note_term(start.index, start.term)
        self._entries = entries
        self.oldest = entries[0].index if entries else Index(base + 1)
        """The first entry in memory, where there is any. It may be one that was compacted since."""
        for entry in entries:
            self._note_term(entry.index, entry.term)
        self.last_index = Index(self.oldest + len(entries) - 1)
        self.stable = self.last_index
        self._handed = self.last_index
        self._under_way: deque[tuple[Receipt, Index]] = deque()
        self._weighed = Index(self.oldest - 1)
        """Up to here entries were found to be applied and stable, and weighed."""
        self._spare = self._weighed
        """Up to here the volume alone is to hold them."""
        self._weight = 0
        """Of those between the two."""

    def _note_term(self, index: Index, term: Term) -> None:
        if term != self._terms[-1]:
            self._starts.append(index)
            self._terms.append(term)

    # --------------------------------------------------------------------------------------------------------- look-ups

    @property
    def base_term(self) -> Term:
        return self._terms[0]

    @property
    def last_term(self) -> Term:
        return self._terms[-1]

    def term_at(self, index: Index) -> Term | None:
        """`None` past the end, and before the base; the base of a log that was never compacted has term 0."""
        if not self.base <= index <= self.last_index:
            return None
        if index >= self._starts[-1]:
            return self._terms[-1]
        return self._terms[bisect_right(self._starts, index) - 1]

    def matches(self, index: Index, term: Term) -> bool:
        """Whether this log agrees with a leader's up to `index`, where the leader's entry is of `term`."""
        return index < self.base or self.term_at(index) == term

    def is_up_to_date(self, last_index: Index, last_term: Term) -> bool:
        """Whether a candidate with that end of its log may have this node's vote (§5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def last_possible_match(self, index: Index, term: Term) -> tuple[Index, Term]:
        """The last position at or before `index` whose term is not above `term`: later ones cannot match an entry of
        that term. Terms never fall along a log, so it is found by bisection, and whole terms are skipped at a time.
        The base, where that lies before it: no more is known."""
        runs = bisect_right(self._terms, term)
        end = self.last_index if runs == len(self._terms) else self._starts[runs] - 1
        found = Index(max(self.base, min(index, end)))
        return found, self._terms[bisect_right(self._starts, found) - 1]

    def first_conflict(self, entries: Sequence[Entry]) -> int:
        """How many of `entries` the log holds already, from the first one on."""
        if not entries or entries[0].index > self.last_index:
            return 0
        if self.matches(entries[-1].index, entries[-1].term):
            return len(entries)
        return next(count for count, entry in enumerate(entries) if not self.matches(entry.index, entry.term))

    def slice(self, first: Index, max_bytes: int) -> tuple[Entry, ...]:
        """Entries from `first` on that fit `max_bytes`; always at least one, when there is one. They are in memory."""
        entries, size = self._entries, 0
        begin = end = first - self.oldest
        while end < len(entries):
            size += len(entries[end].command) + ENTRY_BYTES
            if size > max_bytes and end > begin:
                break
            end += 1
        return tuple(entries[begin:end])

    def between(self, first: Index, last: Index) -> tuple[Entry, ...]:
        """They are in memory."""
        return tuple(self._entries[first - self.oldest : last + 1 - self.oldest])

    # ---------------------------------------------------------------------------------------------------------- changes

    def append(self, entries: Sequence[Entry]) -> None:
        """Put entries at the end; the first one's index follows the last."""
        self._entries.extend(entries)
        self.last_index = Index(self.last_index + len(entries))
        if entries and entries[-1].term != self._terms[-1]:
            for entry in entries:
                self._note_term(entry.index, entry.term)

    def overwrite(self, entries: Sequence[Entry]) -> None:
        """Remove whatever stands at or after the first of `entries`, and put them there."""
        keep = Index(entries[0].index - 1)
        if keep < self.last_index:
            self._forget_unsynced(keep)
            runs = bisect_right(self._starts, keep)
            del self._starts[runs:], self._terms[runs:]
            del self._entries[max(0, keep + 1 - self.oldest) :]
            self.last_index = keep
            if keep + 1 < self.oldest:
                self._begin_memory_after(keep)
        self.append(entries)

    def _forget_unsynced(self, keep: Index) -> None:
        """What stands after `keep` is gone: nothing that is written, or is under way, speaks for what comes there."""
        self.stable = min(self.stable, keep)
        self._handed = min(self._handed, keep)
        self._under_way = deque((receipt, min(last, keep)) for receipt, last in self._under_way)

    def _begin_memory_after(self, index: Index) -> None:
        self._weighed = self._spare = index
        self._weight = 0
        self.oldest = Index(index + 1)

    def next_compaction(self, needless: Index) -> Compaction | None:
        """The next step towards a log that begins after `needless`, if it does not begin there, or cannot."""
        index = min(needless, Index(self.base + COMPACTION_STEP))
        term = self.term_at(index)
        if index <= self.base or term is None:
            return None
        return Compaction(index, term, keep_rest=True)

    def compact(self, index: Index) -> None:
        """The volume has removed everything up to `index`: the log begins after it, if it does not begin later."""
        if index <= self.base:
            return
        runs = bisect_right(self._starts, index) - 1
        del self._starts[:runs], self._terms[:runs]
        self._starts[0] = self.base = index

    def install(self, index: Index, term: Term, committed: Index) -> None:
        """A snapshot that ends with that entry takes the place of the whole log, which lacks the entry. What was
        written of the old one is right up to `committed`, and nothing is written of the new one yet: that goes with
        the write handed over next."""
        self._forget_unsynced(committed)
        self.base = self.last_index = self._handed = index
        self._starts, self._terms, self._entries = [index], [term], []
        self._begin_memory_after(index)

    def trim(self, applied: Index, max_bytes: int) -> None:
        """Let go of the oldest entries that are applied and stable, as far as those weigh more than `max_bytes`: the
        volume has them. A bounded step at a time, and not before there are enough to be worth it."""
        weighed = min(applied, self.stable, self._weighed + TRIM_STEP)
        if weighed > self._weighed:
            self._weight += weight(self._entries[self._weighed + 1 - self.oldest : weighed + 1 - self.oldest])
            self._weighed = Index(weighed)
        elif self._weight <= max_bytes:
            return
        last = min(self._weighed, self._spare + 2 * TRIM_STEP)
        while self._weight > max_bytes and self._spare < last:
            self._spare = Index(self._spare + 1)
            self._weight -= len(self._entries[self._spare - self.oldest].command) + ENTRY_BYTES
        spared = self._spare + 1 - self.oldest
        if spared >= TRIM_STEP or spared * TRIM_SHARE > len(self._entries):
            del self._entries[:spared]
            self.oldest = Index(self._spare + 1)

    # ---------------------------------------------------------------------------------------------------------- storage

    @property
    def unsynced(self) -> int:
        """How many entries are not on stable storage yet."""
        return self.last_index - self.stable

    @property
    def has_unwritten(self) -> bool:
        return self._handed < self.last_index

    def hand_over(self, receipt: Receipt) -> tuple[Entry, ...]:
        """What no write has been given yet; it goes with the write of that receipt."""
        entries = tuple(self._entries[self._handed + 1 - self.oldest :])
        self._handed = self.last_index
        self._under_way.append((receipt, self._handed))
        return entries

    def persisted(self, receipt: Receipt) -> None:
        """That write, and therefore every earlier one, is on stable storage."""
        while self._under_way and self._under_way[0][0] <= receipt:
            self.stable = max(self.stable, self._under_way.popleft()[1])
