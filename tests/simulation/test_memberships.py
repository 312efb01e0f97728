"""The observer of members: which configurations may follow each other, held against every pair of majorities."""

from itertools import chain, combinations

import pytest

from raftq_k8s.raft.membership import Member, Membership
from raftq_k8s.raft.types import Incarnation, MemberId
from raftq_k8s.sim.memberships import always_meet, halves, is_quorum


def voters(names: str) -> tuple[Member, ...]:
    """A capital letter is another incarnation of the same name."""
    return tuple(sorted((Member(MemberId(name.lower()), Incarnation(name)) for name in names), key=str))


def members(names: str, outgoing: str = "") -> Membership:
    return Membership(voters=voters(names), outgoing=voters(outgoing))


def quorums(membership: Membership) -> list[set[Member]]:
    everybody = sorted(frozenset().union(*halves(membership)), key=str)
    subsets = chain.from_iterable(combinations(everybody, size) for size in range(len(everybody) + 1))
    return [set(subset) for subset in subsets if is_quorum(membership, set(subset).__contains__)]


PAIRS = [
    (members(one, one_out), members(other, other_out))
    for one, one_out in (("a", ""), ("ab", ""), ("abc", ""), ("abcd", ""), ("ade", "abc"))
    for other, other_out in (("a", ""), ("b", ""), ("abc", ""), ("abC", ""), ("abcd", ""), ("cde", ""), ("cde", "abc"))
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_majorities_always_meet_exactly_when_every_two_of_them_do(one: Membership, other: Membership) -> None:
    meet = all(first & second for first in quorums(one) for second in quorums(other))
    # Where two joint ones meet only by different halves together, the observer is stricter than it has to be.
    assert always_meet(one, other) == meet or (meet and one.outgoing and other.outgoing)


def test_a_member_with_another_volume_is_another_voter() -> None:
    assert not always_meet(members("abc"), members("abC"))
    assert always_meet(members("abc"), members("ab"))


def test_of_a_joint_configuration_both_halves_are_asked() -> None:
    joint = members("abc", outgoing="cde")
    assert is_quorum(joint, set(voters("bcd")).__contains__)
    assert not is_quorum(joint, set(voters("abc")).__contains__)
