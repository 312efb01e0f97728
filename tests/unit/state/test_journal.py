"""The latest changes, and where they end."""

import pytest

from raftq_k8s.raft.types import Index
from raftq_k8s.state.commands import Delete, Elapse, Put, Transaction, encode
from raftq_k8s.state.journal import BYTES_LIMIT, CHANGES_LIMIT, Change, Compacted, Journal
from raftq_k8s.state.machine import StateMachine


def revisions(journal: Journal, after: int) -> list[int]:
    return [change.revision for change in journal.since(after)]


def compacted_at(journal: Journal, after: int) -> int:
    with pytest.raises(Compacted) as refused:
        journal.since(after)
    return refused.value.oldest


def test_a_change_says_what_became_of_which_key() -> None:
    state = StateMachine()
    state.apply(Index(1), encode(Put("a", b"1")))
    state.apply(Index(2), encode(Delete("b")))  # which is not there
    state.apply(Index(3), encode(Transaction((), (Put("b", b"2"), Delete("a")))))
    assert state.journal.since(0) == (
        Change(Index(1), "a", b"1"),
        Change(Index(3), "b", b"2"),
        Change(Index(3), "a", None),
    )
    assert state.journal.since(1) == state.journal.since(0)[1:]
    assert state.journal.since(3) == state.journal.since(99) == ()


def test_it_keeps_no_more_changes_than_its_bound() -> None:
    journal = Journal()
    for revision in range(1, CHANGES_LIMIT + 3):
        journal.add(Index(revision), "a", b"1")
    assert journal.oldest == 2
    assert len(journal.since(2)) == CHANGES_LIMIT
    assert compacted_at(journal, 1) == 2


def test_it_keeps_no_more_bytes_than_its_bound() -> None:
    journal = Journal()
    journal.add(Index(1), "a", b"1" * (BYTES_LIMIT - 1))
    assert revisions(journal, 0) == [1]
    journal.add(Index(2), "b", None)
    assert compacted_at(journal, 0) == 1
    assert revisions(journal, 1) == [2]
    journal.add(Index(3), None, b"1" * (BYTES_LIMIT + 1))
    assert compacted_at(journal, 2) == 3
    assert revisions(journal, 3) == []


def test_a_transaction_that_is_cut_is_not_told_in_part() -> None:
    journal = Journal()
    journal.add(Index(1), "a", b"1" * (BYTES_LIMIT - 3))
    journal.add(Index(1), "b", b"1")
    journal.add(Index(2), "c", b"1")
    assert compacted_at(journal, 0) == 1
    assert revisions(journal, 1) == [2]


def test_after_a_snapshot_it_begins_with_what_the_snapshot_does_not_hold() -> None:
    first = StateMachine()
    first.apply(Index(1), encode(Put("a", b"1")))
    first.apply(Index(2), encode(Elapse(1)))
    second = StateMachine()
    restoring = second.restoring()
    for part in first.freeze().parts(1 << 16):
        restoring.feed(part)
    second.install(restoring)
    assert compacted_at(second.journal, 0) == 1
    second.apply(Index(3), encode(Put("b", b"1")))
    assert revisions(second.journal, 1) == [3]
