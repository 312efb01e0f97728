"""What a node has seen of who leads: each change of leader, why it came, and how long it took."""

import pytest
from driver_cluster import SETTINGS, DriverCluster, member

from raftq_k8s.node.leadership import REMEMBERED, Failover
from raftq_k8s.node.submissions import Token
from raftq_k8s.raft.types import MemberId

NOON = 1_000_000.0
"""Seconds since the epoch."""


def history(cluster: DriverCluster, name: str) -> tuple[Failover, ...]:
    return cluster[name].driver.history(cluster.now, NOON)


def led() -> tuple[DriverCluster, str]:
    cluster = DriverCluster("a", "b", "c")
    leader = cluster.elect()
    cluster.advance(3 * SETTINGS.maximum_election)
    return cluster, leader


def last(cluster: DriverCluster, name: str) -> tuple[MemberId | None, MemberId, str]:
    failover = history(cluster, name)[-1]
    return failover.from_, failover.to, failover.reason


def test_the_first_leader_is_told_by_everybody() -> None:
    cluster, leader = led()
    for name in "abc":
        [first] = history(cluster, name)
        assert (first.from_, first.to, first.reason) == (None, leader, "first")
        assert first.term == cluster[name].driver.standing.term
        assert first.at == pytest.approx(NOON - 3 * SETTINGS.maximum_election / 1000, abs=0.2)


def test_a_leader_whose_connection_died_and_one_that_is_merely_not_heard_are_told_apart() -> None:
    cluster, old = led()
    notices, hears_nothing = cluster.others(old)
    cluster.cut = {old}
    cluster[notices].driver.lost(member(old), cluster.now)
    new = cluster.elect()
    assert last(cluster, notices) == (old, new, "connection-lost")
    assert last(cluster, hears_nothing) == (old, new, "silent")
    for name in (notices, hears_nothing):
        assert SETTINGS.minimum_election / 2 <= history(cluster, name)[-1].duration_ms <= SETTINGS.maximum_election
    cluster.cut.clear()
    cluster.advance(500)
    assert last(cluster, old) == (old, new, "quorum-lost")


def test_a_connection_that_came_back_is_no_reason_any_more() -> None:
    cluster, old = led()
    other = cluster.others(old)[0]
    cluster[other].driver.lost(member(old), cluster.now)
    cluster.greet(old, other)
    cluster.advance(SETTINGS.heartbeat)
    cluster.cut = {old}
    new = cluster.elect()
    assert last(cluster, other) == (old, new, "silent")


def test_a_leader_that_is_deposed_by_a_later_term_says_so() -> None:
    cluster, old = led()
    cluster[old].driver.observe_term(cluster[old].driver.standing.term + 3, cluster.now)
    new = cluster.elect()
    assert last(cluster, old) == (old, new, "deposed")


def test_a_transfer_is_told_as_one_by_everybody() -> None:
    cluster, old = led()
    target, other = cluster.others(old)
    cluster[old].driver.transfer(Token(1), member(target), cluster.now + 5000, cluster.now)
    cluster.advance(200)
    for name in (old, target, other):
        assert last(cluster, name) == (old, target, "transfer")
        assert history(cluster, name)[-1].duration_ms <= SETTINGS.heartbeat


def test_a_transfer_that_came_to_nothing_is_no_reason_later() -> None:
    cluster, old = led()
    target, other = cluster.others(old)
    cluster.cut = {target}
    cluster[old].driver.transfer(Token(1), member(target), cluster.now + 5000, cluster.now)
    cluster.advance(2 * SETTINGS.maximum_election)
    cluster.cut = {old}
    cluster.advance(3 * SETTINGS.maximum_election)
    cluster.cut.clear()
    new = cluster.elect()
    assert last(cluster, old)[1:] == (new, "quorum-lost")
    assert last(cluster, other)[2] == "silent"


def test_only_the_last_ones_are_remembered() -> None:
    cluster, leader = led()
    for _ in range(REMEMBERED + 2):
        cluster[leader].driver.transfer(Token(1), None, cluster.now + 5000, cluster.now)
        cluster.advance(300)
        leader = cluster.elect()
    assert [len(history(cluster, name)) for name in "abc"] == 3 * [REMEMBERED]
    assert history(cluster, "a")[-1].to == leader
