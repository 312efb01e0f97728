"""Majorities, against what the words mean: try every subset."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from raftq_k8s.raft.configuration import Configuration
from raftq_k8s.raft.quorum import Tally, committed_index, majority, promised_until, tally
from raftq_k8s.raft.types import Index, MemberId

VOTERS = [MemberId(name) for name in "abcdefg"]
sizes = st.integers(1, 7)


def configuration(size: int) -> Configuration:
    return Configuration(tuple(VOTERS[:size]), {})


def majorities(size: int) -> list[tuple[MemberId, ...]]:
    return list(combinations(VOTERS[:size], majority(size)))


@given(sizes, st.dictionaries(st.sampled_from(VOTERS), st.integers(0, 20).map(Index)))
def test_an_index_is_committed_when_some_majority_holds_it(size: int, held: dict[MemberId, Index]) -> None:
    best = max(min(held.get(voter, 0) for voter in group) for group in majorities(size))
    assert committed_index(held, configuration(size)) == best


@given(sizes, st.dictionaries(st.sampled_from(VOTERS), st.floats(0, 1000)))
def test_nobody_can_be_elected_before_the_promised_time(size: int, promises: dict[MemberId, float]) -> None:
    """A rival needs a majority whose promises are over; before the promised time every majority holds one that is
    not."""
    until = promised_until(promises, configuration(size))
    for group in majorities(size):
        assert max(promises.get(voter, float("-inf")) for voter in group) >= until


@given(sizes, st.dictionaries(st.sampled_from(VOTERS), st.booleans()))
def test_a_vote_is_won_by_a_majority_and_lost_when_none_is_left(size: int, votes: dict[MemberId, bool]) -> None:
    outcome = tally(votes, configuration(size))
    won = any(all(votes.get(voter) for voter in group) for group in majorities(size))
    possible = any(all(votes.get(voter, True) for voter in group) for group in majorities(size))
    assert outcome is (Tally.WON if won else Tally.UNDECIDED if possible else Tally.LOST)
