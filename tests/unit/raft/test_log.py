"""The log against a model: a disk that ends its writes late and in order must never hold less than the log calls
stable."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raftq_k8s.raft.log import Log
from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.persistence import Receipt
from raftq_k8s.raft.types import Index, Term


class LogAndDisk(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.log = Log([])
        self.model: list[Entry] = []
        self.disk: list[Entry] = []
        self.under_way: list[tuple[Receipt, tuple[Entry, ...]]] = []
        self.receipt = Receipt(0)
        self.term = Term(1)

    @rule(count=st.integers(1, 4), raise_term=st.booleans())
    def append(self, count: int, raise_term: bool) -> None:
        self.term = Term(self.term + raise_term)
        news = [Entry(Index(len(self.model) + i), self.term, EntryKind.COMMAND, b"x" * i) for i in range(1, count + 1)]
        self.log.append(news)
        self.model.extend(news)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), count=st.integers(1, 3))
    def overwrite(self, data: st.DataObject, count: int) -> None:
        """Write other entries over the end; their term may be an older one than the removed ones had."""
        first = data.draw(st.integers(1, len(self.model)))
        floor = self.model[first - 2].term if first > 1 else 1
        term = Term(data.draw(st.integers(floor, max(floor, self.term))))
        news = [Entry(Index(first + i), term, EntryKind.COMMAND, b"y") for i in range(count)]
        self.log.overwrite(news)
        self.model[first - 1 :] = news

    @precondition(lambda self: self.log.has_unwritten)
    @rule()
    def hand_over(self) -> None:
        self.receipt = Receipt(self.receipt + 1)
        self.under_way.append((self.receipt, self.log.hand_over(self.receipt)))

    @precondition(lambda self: self.under_way)
    @rule(count=st.integers(1, 3))
    def sync(self, count: int) -> None:
        """The disk ends a few writes, and says only the last one's receipt."""
        receipt = Receipt(0)
        for _ in range(min(count, len(self.under_way))):
            receipt, entries = self.under_way.pop(0)
            del self.disk[entries[0].index - 1 :]
            self.disk.extend(entries)
        self.log.persisted(receipt)

    @invariant()
    def what_is_called_stable_is_on_disk_and_stays_there(self) -> None:
        stable = self.log.stable
        assert self.disk[:stable] == self.model[:stable]
        later = list(self.disk)
        for _, entries in self.under_way:
            del later[entries[0].index - 1 :]
            later.extend(entries)
            assert later[:stable] == self.model[:stable], "a write under way would take back what is stable"
        if not self.log.has_unwritten and not self.under_way:
            assert stable == len(self.model)

    @invariant()
    def look_ups_agree(self) -> None:
        assert self.log.last_index == len(self.model)
        for position in range(len(self.model) + 2):
            expected = 0 if position == 0 else self.model[position - 1].term if position <= len(self.model) else None
            assert self.log.term_at(Index(position)) == expected
        for term in range(self.term + 1):
            for index in range(len(self.model) + 3):
                found, its_term = self.log.last_possible_match(Index(index), Term(term))
                allowed = [0, *(e.index for e in self.model[:index] if e.term <= term)]
                assert found == allowed[-1]
                assert its_term == self.log.term_at(found)


LogAndDisk.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestLogAndDisk = LogAndDisk.TestCase
