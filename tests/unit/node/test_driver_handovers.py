"""Changes of members and of leadership that somebody waits for: each ends once, and says what came of it."""

import pytest
from driver_cluster import SETTINGS, DriverCluster, member

from raftq_k8s.node.forwarding import Refused, Unknown
from raftq_k8s.node.handovers import HandedOver
from raftq_k8s.node.submissions import Token
from raftq_k8s.raft.consensus import NotLeader, TransferRefused
from raftq_k8s.raft.membership import ChangeRefused, Member, Remove
from raftq_k8s.state.commands import Noted

ASKED = Token(7)


def led(*names: str) -> tuple[DriverCluster, str]:
    cluster = DriverCluster(*(names or ("a", "b", "c")))
    leader = cluster.elect()
    cluster.advance(3 * SETTINGS.maximum_election)
    return cluster, leader


def handed_over(cluster: DriverCluster, name: str) -> list[tuple[Token, HandedOver]]:
    return [each for actions in cluster[name].history for each in actions.handed_over]


def transfer(cluster: DriverCluster, leader: str, target: str | None, patience: float = 5_000.0) -> None:
    named = member(target) if target is not None else None
    cluster[leader].driver.transfer(ASKED, named, cluster.now + patience, cluster.now)


def removal(cluster: DriverCluster, name: str) -> Remove:
    return Remove(Member(member(name), cluster[name].driver.identity.incarnation))


def test_whoever_asked_for_a_transfer_hears_who_leads_then() -> None:
    cluster, leader = led()
    target = cluster.others(leader)[1]
    transfer(cluster, leader, target)
    cluster.advance(200)
    assert handed_over(cluster, leader) == [(ASKED, target)]


def test_a_transfer_to_nobody_in_particular_goes_to_a_voter_that_is_connected() -> None:
    cluster, leader = led()
    away, there = cluster.others(leader)
    cluster[leader].connected.remove(away)
    transfer(cluster, leader, None)
    cluster.advance(200)
    assert handed_over(cluster, leader) == [(ASKED, there)]


def test_a_transfer_is_refused_where_nobody_is_connected_or_the_target_cannot_lead() -> None:
    cluster, leader = led()
    other = cluster.others(leader)[0]
    cluster[leader].connected.clear()
    with pytest.raises(TransferRefused, match="no other voter is connected"):
        transfer(cluster, leader, None)
    with pytest.raises(TransferRefused, match="no voter of this cluster"):
        transfer(cluster, leader, "z")
    with pytest.raises(NotLeader) as refused:
        transfer(cluster, other, None)
    assert refused.value.leader == leader


def test_a_transfer_that_its_target_does_not_take_ends_with_nobody() -> None:
    cluster, leader = led()
    target = cluster.others(leader)[0]
    cluster.cut = {target}
    transfer(cluster, leader, target)
    cluster.advance(SETTINGS.maximum_election / 2)
    assert handed_over(cluster, leader) == []
    cluster.advance(SETTINGS.maximum_election)
    assert handed_over(cluster, leader) == [(ASKED, None)]
    assert cluster[leader].driver.standing.established


def test_a_transfer_ends_at_the_latest_when_its_caller_has_no_more_time() -> None:
    cluster, leader = led()
    target = cluster.others(leader)[0]
    cluster.cut = {target}
    transfer(cluster, leader, target, patience=100)
    cluster.advance(100)
    assert handed_over(cluster, leader) == [(ASKED, None)]


def test_a_change_is_answered_when_it_is_committed() -> None:
    cluster, leader = led()
    gone, other = cluster.others(leader)
    cluster.cut = {gone, other}
    cluster[leader].driver.change(ASKED, removal(cluster, gone), cluster.now + 5000, cluster.now)
    cluster.settle()
    assert ASKED not in cluster[leader].resolved
    cluster.cut = {gone}
    cluster.advance(SETTINGS.heartbeat)
    assert isinstance(cluster[leader].resolved[ASKED], Noted)
    assert cluster[leader].driver.status(cluster.now).voters == tuple(sorted({leader, other}))


def test_a_change_that_makes_no_sense_is_refused_at_once() -> None:
    cluster, leader = led()
    with pytest.raises(ChangeRefused, match="no member of this cluster"):
        cluster[leader].driver.change(ASKED, Remove(Member(member("z"), "i")), cluster.now + 5000, cluster.now)  # type: ignore[arg-type]
    cluster.advance(6000)
    assert ASKED not in cluster[leader].resolved


def test_a_change_that_is_not_committed_in_time_may_or_may_not_take_effect() -> None:
    cluster, leader = led()
    gone, other = cluster.others(leader)
    cluster.cut = {gone, other}
    cluster[leader].driver.change(ASKED, removal(cluster, gone), cluster.now + 100, cluster.now)
    cluster.advance(100)
    assert cluster[leader].resolved[ASKED] == Unknown()


def test_a_change_that_another_leader_wrote_over_is_known_to_be_lost() -> None:
    cluster, old = led()
    gone, other = cluster.others(old)
    cluster.cut = {old}
    cluster[old].driver.change(ASKED, removal(cluster, gone), cluster.now + 60_000, cluster.now)
    cluster.elect()
    cluster.cut.clear()
    cluster.advance(1000)
    assert cluster[old].resolved[ASKED] == Refused("not-leader")
    assert cluster[other].driver.status(cluster.now).voters == ("a", "b", "c")


def test_what_a_leader_knows_of_the_members_nobody_else_does() -> None:
    cluster, leader = led()
    slow, other = cluster.others(leader)
    cluster.cut = {slow}
    cluster[leader].connected.remove(slow)
    cluster.submit(leader, b"\x93\xa3put\xa1a\xc4\x011", b"\x93\xa3put\xa1b\xc4\x011")
    cluster.advance(150)
    told = {status.name: status for status in cluster[leader].driver.members(cluster.now)}
    assert [*told] == ["a", "b", "c"]
    assert (told[slow].lag, told[other].lag, told[leader].lag) == (2, 0, None)
    assert [told[name].connected for name in (slow, other, leader)] == [False, True, True]
    assert told[slow].heard_ms == pytest.approx(150, abs=SETTINGS.heartbeat)
    assert told[other].heard_ms is not None
    assert told[other].heard_ms <= SETTINGS.heartbeat
    assert told[other].rtt_ms == 0.0
    assert told[other].match_index == cluster[leader].driver.status(cluster.now).last_index
    assert {status.kind for status in told.values()} == {"voter"}
    assert told[other].incarnation == f"volume-{other}"
    for status in cluster[other].driver.members(cluster.now):
        assert (status.match_index, status.lag, status.rtt_ms, status.heard_ms) == (None, None, None, None)
    assert DriverCluster("a", initialised=False, disks_end=False)["a"].driver.members(0.0) == ()


def test_whoever_is_not_eligible_does_not_stand_also_once_it_is_born() -> None:
    cluster = DriverCluster("a", "b", initialised=False, disks_end=False)
    cluster["a"].driver.set_eligible(False, cluster.now)
    for name in "ab":
        cluster[name].disk_ends = True
    cluster.settle()
    assert cluster.elect() == "b"
    cluster["b"].driver.set_eligible(False, cluster.now)
    cluster["a"].driver.set_eligible(True, cluster.now)
    cluster.advance(1000)
    assert cluster["b"].driver.standing.established, "a leader goes on leading"
