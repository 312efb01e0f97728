"""Majorities, against what the words mean: try every subset of the members, and ask which could decide."""

from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raftq_k8s.raft.configuration import Configuration, of
from raftq_k8s.raft.membership import (
    AddLearner,
    Change,
    ChangeRefused,
    Member,
    Membership,
    Promote,
    Remove,
    ReplaceVoters,
    changed,
    without_outgoing,
)
from raftq_k8s.raft.quorum import (
    NEVER,
    Tally,
    acknowledged_round,
    committed_index,
    is_majority,
    majority,
    promised_until,
    tally,
)
from raftq_k8s.raft.types import NO_INDEX, Incarnation, Index, MemberId

NAMES = [MemberId(name) for name in "abcdefg"]
names = st.sampled_from(NAMES)


def member(name: MemberId) -> Member:
    return Member(name, Incarnation(f"i-{name}"))


def members(chosen: set[MemberId]) -> tuple[Member, ...]:
    return tuple(member(name) for name in sorted(chosen))


def deciding(configuration: Configuration) -> list[frozenset[MemberId]]:
    """Every set of members that holds more than half of each half, found by trying them all."""
    everybody = configuration.voting
    subsets = chain.from_iterable(combinations(everybody, size) for size in range(len(everybody) + 1))
    return [
        frozenset(subset)
        for subset in subsets
        if all(2 * len(set(half) & set(subset)) > len(half) for half in configuration.halves)
    ]


class Majorities(RuleBasedStateMachine):
    """Voters answer, acknowledge and promise while the configuration goes from one to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.membership = Membership(voters=members({MemberId("a"), MemberId("b"), MemberId("c")}))
        self.before = of(self.membership)
        self.held: dict[MemberId, Index] = {}
        self.votes: dict[MemberId, bool] = {}
        self.promises: dict[MemberId, float] = {}
        self.heard: dict[MemberId, int] = {}

    @property
    def configuration(self) -> Configuration:
        return of(self.membership)

    def change(self, change: Change) -> None:
        try:
            after = changed(self.membership, change)
        except ChangeRefused:
            return
        self.before, self.membership = self.configuration, after

    @rule(name=names, index=st.integers(0, 9))
    def acknowledge(self, name: MemberId, index: int) -> None:
        self.held[name] = Index(max(index, self.held.get(name, NO_INDEX)))

    @rule(name=names, granted=st.booleans())
    def vote(self, name: MemberId, granted: bool) -> None:
        self.votes.setdefault(name, granted)

    @rule(name=names, until=st.floats(0, 1000))
    def promise(self, name: MemberId, until: float) -> None:
        self.promises[name] = until

    @rule(name=names, number=st.integers(1, 9))
    def hear(self, name: MemberId, number: int) -> None:
        self.heard[name] = max(number, self.heard.get(name, 0))

    @precondition(lambda self: not self.membership.outgoing)
    @rule(name=names)
    def add(self, name: MemberId) -> None:
        self.change(AddLearner(member(name)))

    @precondition(lambda self: not self.membership.outgoing)
    @rule(name=names)
    def promote(self, name: MemberId) -> None:
        self.change(Promote(member(name)))

    @precondition(lambda self: not self.membership.outgoing)
    @rule(name=names)
    def remove(self, name: MemberId) -> None:
        self.change(Remove(member(name)))

    @precondition(lambda self: not self.membership.outgoing)
    @rule(chosen=st.sets(names, min_size=1))
    def replace_all(self, chosen: set[MemberId]) -> None:
        self.change(ReplaceVoters(members(chosen)))

    @precondition(lambda self: self.membership.outgoing)
    @rule()
    def end_the_joint_one(self) -> None:
        self.before, self.membership = self.configuration, without_outgoing(self.membership)

    @rule()
    def forget_the_dead(self) -> None:
        """Tombstones are for real clusters: here seven names have to last."""
        self.membership = Membership(self.membership.voters, self.membership.outgoing, self.membership.learners)

    @invariant()
    def an_index_is_committed_when_some_majority_holds_it(self) -> None:
        best = max(min(self.held.get(name, NO_INDEX) for name in group) for group in deciding(self.configuration))
        assert committed_index(self.held, self.configuration) == best

    @invariant()
    def a_round_is_confirmed_when_some_majority_acknowledged_it(self) -> None:
        best = max(min(self.heard.get(name, 0) for name in group) for group in deciding(self.configuration))
        assert acknowledged_round(self.heard, self.configuration) == best

    @invariant()
    def a_vote_is_won_by_a_majority_and_lost_when_none_is_left(self) -> None:
        groups = deciding(self.configuration)
        won = any(all(self.votes.get(name) for name in group) for group in groups)
        possible = any(all(self.votes.get(name, True) for name in group) for group in groups)
        expected = Tally.WON if won else Tally.UNDECIDED if possible else Tally.LOST
        assert tally(self.votes, self.configuration) is expected

    @invariant()
    def nobody_can_be_elected_before_the_promised_time(self) -> None:
        """Nor by the configuration before: the rival may not have heard of this one."""
        until = promised_until(self.promises, self.configuration)
        for group in (*deciding(self.configuration), *deciding(self.before)):
            assert max(self.promises.get(name, NEVER) for name in group) >= until

    @invariant()
    def whoever_decides_after_a_change_shares_a_voter_with_whoever_decided_before(self) -> None:
        before, after = deciding(self.before), deciding(self.configuration)
        assert all(one & other for one in before for other in after)

    @invariant()
    def a_group_decides_or_not(self) -> None:
        groups = deciding(self.configuration)
        everybody = self.configuration.voting
        for size in range(len(everybody) + 1):
            group = everybody[:size]
            assert is_majority(group, self.configuration) == (frozenset(group) in groups)

    @invariant()
    def the_membership_is_a_possible_one(self) -> None:
        assert self.membership.is_possible


TestMajorities = Majorities.TestCase


@pytest.mark.parametrize(("voters", "more_than_half"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (9, 5)])
def test_a_majority_is_more_than_half(voters: int, more_than_half: int) -> None:
    assert majority(voters) == more_than_half


@given(st.sets(names, min_size=1), st.sets(names, min_size=1), st.dictionaries(names, st.booleans()))
def test_a_joint_configuration_elects_only_whom_both_halves_elect(
    incoming: set[MemberId], outgoing: set[MemberId], votes: dict[MemberId, bool]
) -> None:
    joint = of(Membership(voters=members(incoming), outgoing=members(outgoing)))
    both = [tally(votes, of(Membership(voters=members(half)))) for half in (incoming, outgoing)]
    assert (tally(votes, joint) is Tally.WON) == (both == [Tally.WON, Tally.WON])
