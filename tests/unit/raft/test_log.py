"""The log against a model: plain lists, and a disk that ends its writes late and in order.

What the log calls stable must be on that disk, whatever was truncated, compacted or installed meanwhile; what it says
of terms must be so; and what it lets go of must be what the disk has.
"""

from bisect import bisect_right

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raftq_k8s.raft.log import ENTRY_BYTES, TRIM_SHARE, TRIM_STEP, Log, weight
from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.persistence import Compaction, Receipt, TermStart, Write
from raftq_k8s.raft.types import NO_INDEX, NO_TERM, Index, Term


def entries(first: int, term: int, count: int, command: bytes = b"") -> list[Entry]:
    return [Entry(Index(first + i), Term(term), EntryKind.COMMAND, command) for i in range(count)]


class PlainLog:
    """Entries after a base, and no thought given to time or memory."""

    def __init__(self, base: int = 0, base_term: int = 0, held: list[Entry] | None = None) -> None:
        self.base, self.base_term = base, base_term
        self.held = held or []

    @property
    def last(self) -> int:
        return self.base + len(self.held)

    def term(self, index: int) -> int | None:
        if index == self.base:
            return self.base_term
        return self.held[index - self.base - 1].term if self.base < index <= self.last else None

    def put(self, news: list[Entry] | tuple[Entry, ...]) -> None:
        if news:
            assert self.base < news[0].index <= self.last + 1, "a gap"
            self.held[news[0].index - self.base - 1 :] = news

    def begin_after(self, index: int, term: int, keep_rest: bool) -> None:
        self.held = self.held[index - self.base :] if keep_rest else []
        self.base, self.base_term = index, term

    def carry_out(self, write: Write) -> None:
        if write.compaction is not None:
            self.begin_after(write.compaction.index, write.compaction.term, write.compaction.keep_rest)
        self.put(write.entries)

    def copy(self) -> "PlainLog":
        return PlainLog(self.base, self.base_term, list(self.held))


class LogAndDisk(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.log = Log([])
        self.model = PlainLog()
        self.disk = PlainLog()
        self.under_way: list[tuple[Receipt, Write]] = []
        self.receipt = Receipt(0)
        self.term = Term(1)
        self.committed = 0
        self.applied = 0
        self.to_install: Compaction | None = None
        self.compacting = False

    @rule(count=st.integers(1, 4), raise_term=st.booleans(), size=st.sampled_from([0, 1, 200]))
    def append(self, count: int, raise_term: bool, size: int) -> None:
        self.term = Term(self.term + raise_term)
        news = entries(self.model.last + 1, self.term, count, b"x" * size)
        self.log.append(news)
        self.model.put(news)

    @rule()
    def append_nothing(self) -> None:
        self.log.append([])

    @precondition(lambda self: self.model.last > self.committed)
    @rule(data=st.data(), count=st.integers(1, 3))
    def overwrite(self, data: st.DataObject, count: int) -> None:
        """Write other entries over the end; their term may be an older one than the removed ones had."""
        first = data.draw(st.integers(self.committed + 1, self.model.last))
        floor = max(1, self.model.term(first - 1) or 0)
        news = entries(first, data.draw(st.integers(floor, max(floor, self.term))), count, b"y")
        self.log.overwrite(news)
        self.model.put(news)

    @precondition(lambda self: self.log.has_unwritten or self.to_install)
    @rule()
    def hand_over(self) -> None:
        self.receipt = Receipt(self.receipt + 1)
        self.under_way.append(
            (self.receipt, Write(compaction=self.to_install, entries=self.log.hand_over(self.receipt)))
        )
        self.to_install = None

    @precondition(lambda self: self.under_way)
    @rule(count=st.integers(1, 3))
    def sync(self, count: int) -> None:
        """The disk ends a few writes, and says only the last one's receipt."""
        receipt = Receipt(0)
        compactions = []
        for _ in range(min(count, len(self.under_way))):
            receipt, write = self.under_way.pop(0)
            self.disk.carry_out(write)
            if write.compaction is not None and write.compaction.keep_rest:
                compactions.append(write.compaction)
        self.log.persisted(receipt)
        for compaction in compactions:
            self.compacting = False
            self.log.compact(compaction.index)
            if compaction.index > self.model.base:
                self.model.begin_after(compaction.index, compaction.term, keep_rest=True)

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        self.committed = data.draw(st.integers(self.committed, self.model.last))

    @rule(data=st.data(), max_bytes=st.sampled_from([0, 30, 500]))
    def apply(self, data: st.DataObject, max_bytes: int) -> None:
        self.applied = data.draw(st.integers(self.applied, self.committed))
        self.log.trim(Index(self.applied), max_bytes)

    @precondition(lambda self: not (self.compacting or self.to_install))
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        may = min(self.applied, self.log.stable)
        if may > self.model.base:
            index = Index(data.draw(st.integers(self.model.base + 1, may)))
            term = self.log.term_at(index)
            assert term is not None
            self.compacting = True
            self.receipt = Receipt(self.receipt + 1)
            write = Write(compaction=Compaction(index, term, True), entries=self.log.hand_over(self.receipt))
            self.under_way.append((self.receipt, write))

    @precondition(lambda self: not self.to_install)
    @rule(data=st.data(), ahead=st.integers(1, 6), raise_term=st.booleans())
    def install(self, data: st.DataObject, ahead: int, raise_term: bool) -> None:
        index = self.committed + ahead
        floor = max(1, self.log.term_at(Index(self.committed)) or 0)
        term = data.draw(st.integers(floor, max(floor, self.term) + raise_term))
        if self.log.matches(Index(index), Term(term)):
            return
        self.term = Term(max(self.term, term))
        self.log.install(Index(index), Term(term), Index(self.committed))
        self.model.begin_after(index, term, keep_rest=False)
        self.to_install = Compaction(Index(index), Term(term), keep_rest=False)
        self.committed = self.applied = index

    @rule(data=st.data(), kept=st.integers(0, 3))
    def crash(self, data: st.DataObject, kept: int) -> None:
        """A prefix of what was under way reached the disk; the log begins again with a tail of what is there."""
        for _, write in self.under_way[:kept]:
            self.disk.carry_out(write)
        disk = self.disk
        self.under_way, self.to_install, self.compacting = [], None, False
        self.model = disk.copy()
        self.committed = self.applied = disk.base
        tail = data.draw(st.integers(min(1, len(disk.held)), len(disk.held)))
        before, after = disk.held[: len(disk.held) - tail], disk.held[len(disk.held) - tail :]
        starts = [
            TermStart(entry.index, entry.term)
            for previous, entry in zip([None, *before], before, strict=False)
            if previous is None or previous.term != entry.term
        ]
        self.log = Log(list(after), Index(disk.base), Term(disk.base_term), starts)

    @invariant()
    def what_is_called_stable_is_on_disk_and_stays_there(self) -> None:
        stable, model = self.log.stable, self.model
        later = self.disk.copy()
        self.holds(later, stable)
        for _, write in self.under_way:
            later.carry_out(write)
            self.holds(later, stable)
        if not (self.log.has_unwritten or self.under_way or self.to_install):
            assert stable == model.last

    def holds(self, disk: PlainLog, stable: int) -> None:
        if stable < self.model.base:
            assert disk.last >= stable, "what was committed before the snapshot is not there"
            return
        first = max(disk.base, self.model.base) + 1
        on_disk = [entry for entry in disk.held if first <= entry.index <= stable]
        assert on_disk == [entry for entry in self.model.held if first <= entry.index <= stable]
        assert disk.last >= stable
        assert disk.base <= max(stable, self.model.base)

    @invariant()
    def look_ups_agree(self) -> None:
        log, model = self.log, self.model
        assert (log.base, log.base_term) == (model.base, model.base_term)
        assert (log.last_index, log.last_term) == (model.last, model.term(model.last))
        for index in range(model.last + 3):
            assert log.term_at(Index(index)) == model.term(index)
            assert log.matches(Index(index), Term(99)) == (index < model.base)
        terms = [model.base_term, *(entry.term for entry in model.held)]
        for term in range(self.term + 1):
            for index in range(model.last + 3):
                found, its_term = log.last_possible_match(Index(index), Term(term))
                last = max(bisect_right(terms, term, hi=max(0, min(index - model.base, len(model.held)) + 1)) - 1, 0)
                assert (found, its_term) == (model.base + last, terms[last])

    @invariant()
    def what_is_in_memory_is_what_the_log_holds(self) -> None:
        log, model = self.log, self.model
        first = Index(max(log.oldest, model.base + 1))
        assert first <= model.last + 1
        rest = tuple(model.held[first - model.base - 1 :])
        assert log.between(first, log.last_index) == rest
        assert log.slice(first, 1 << 30) == rest
        if rest:
            assert log.slice(first, 1) == rest[:1]
            two = log.slice(first, weight(rest[:2]))
            assert two[:2] == rest[:2]
            assert weight(two) == weight(rest[:2])
        assert log.first_conflict(rest) == len(rest)
        other = [Entry(e.index, Term(99), e.kind) for e in rest]
        assert log.first_conflict(other) == 0
        assert log.first_conflict([*rest[:1], *other[1:]]) == min(1, len(rest))
        assert log.first_conflict([Entry(Index(1), Term(1), EntryKind.NOOP)]) == int(log.matches(Index(1), Term(1)))


LogAndDisk.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestLogAndDisk = LogAndDisk.TestCase


def applied_log(count: int, command: bytes = b"") -> Log:
    return Log(entries(1, 1, count, command))


def test_of_what_is_applied_only_so_many_bytes_stay_in_memory() -> None:
    log = applied_log(4000, b"x" * 100)
    size = 100 * (100 + ENTRY_BYTES)
    for applied in range(0, 4001, 10):
        log.trim(Index(applied), size)
    kept = 4000 - log.oldest + 1
    assert 100 <= kept <= 100 + 100 // (TRIM_SHARE - 1) + 1
    assert log.term_at(Index(1)) == 1
    assert log.between(log.oldest, Index(4000)) == tuple(entries(log.oldest, 1, kept, b"x" * 100))


def test_what_is_not_stable_or_not_applied_stays_in_memory_whatever_it_weighs() -> None:
    log = Log([])
    log.append(entries(1, 1, 10))
    log.hand_over(Receipt(1))
    log.append(entries(11, 1, 10))
    log.trim(Index(20), 0)
    assert log.oldest == 1
    log.persisted(Receipt(1))
    log.trim(Index(7), 0)
    assert log.oldest == 8
    log.trim(Index(20), 0)
    assert log.oldest == 11


def test_memory_is_let_go_a_bounded_step_at_a_time() -> None:
    """A log that is found to be far too large in one moment, and a heavy entry that takes the place of many."""
    log = applied_log(20 * TRIM_STEP)
    heavy = Entry(Index(20 * TRIM_STEP + 1), Term(1), EntryKind.COMMAND, b"x" * ENTRY_BYTES * 5 * TRIM_STEP)
    log.append([heavy])
    log.hand_over(Receipt(1))
    log.persisted(Receipt(1))
    steps = []
    for _ in range(40):
        before = log.oldest
        log.trim(heavy.index, ENTRY_BYTES * 5 * TRIM_STEP)
        steps.append(log.oldest - before)
    assert max(steps) <= 3 * TRIM_STEP
    assert log.oldest == heavy.index + 1


def test_weighing_is_bounded_too() -> None:
    log = applied_log(5 * TRIM_STEP)
    steps = []
    for _ in range(6):
        before = log.oldest
        log.trim(log.last_index, 0)
        steps.append(log.oldest - before)
    assert steps == [TRIM_STEP] * 5 + [0]


def test_a_compaction_that_ends_after_an_installation_does_not_bring_the_base_back() -> None:
    log = applied_log(10)
    log.install(Index(20), Term(2), Index(10))
    log.compact(Index(7))
    assert (log.base, log.base_term, log.last_index, log.oldest) == (20, 2, 20, 21)


def test_a_log_that_begins_after_a_snapshot_of_nothing_is_empty() -> None:
    log = Log([])
    assert (log.base, log.last_index, log.last_term, log.term_at(NO_INDEX)) == (NO_INDEX, NO_INDEX, NO_TERM, NO_TERM)
