"""Drivers of processes that join, leave and are turned away."""

import msgspec
import pytest
from driver_cluster import DriverCluster, Held

from raftq_k8s.node import forwarding
from raftq_k8s.node.actions import BirthReceipt
from raftq_k8s.node.submissions import Token
from raftq_k8s.raft.consensus import NotLeader
from raftq_k8s.raft.membership import ChangeRefused, Hello, Member, Refusal, ReplaceVoters
from raftq_k8s.raft.messages import JoinResponse
from raftq_k8s.raft.output import Refused
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import BootId, Generation, Incarnation, MemberId, Term
from raftq_k8s.state.commands import Pause, Put, Resume, encode

ABC = ("a", "b", "c")
RED = encode(Put("colour", b'"red"'))


def greet_all(cluster: DriverCluster, name: str) -> None:
    for other in cluster.names:
        if other != name:
            cluster.greet(name, other)
            cluster.greet(other, name)


def voters(held: Held, now: float) -> str:
    return "".join(held.driver.status(now).voters)


def test_57_a_blank_node_asks_is_added_and_catches_up() -> None:
    cluster = DriverCluster(*ABC)
    cluster.elect()
    cluster.submit("a", RED)
    d = cluster.add("d")
    assert d.driver.status(cluster.now).waiting_for == "waiting to hear of a cluster from a member of one"
    greet_all(cluster, "d")
    cluster.advance(1000)
    assert d.driver.identity.cluster == cluster["a"].driver.identity.cluster
    assert d.document.get("colour") == cluster["a"].document.get("colour")
    assert voters(d, cluster.now) == voters(cluster["a"], cluster.now) == "abcd"
    assert any(actions.announce for actions in d.history)
    said = [note for actions in cluster["a"].history for note in actions.notes if "voters are" in note]
    assert [note.partition(" the ")[2] for note in said] == ["voters are a, b, c; learning: d", "voters are a, b, c, d"]


def test_66_who_greets_by_a_new_connection_before_the_old_one_is_lost_stays_present() -> None:
    """After a stall both are there in one turn. Who took the loss for that of the new connection was deaf to the peer
    from its birth on, or never relied on it again, for nobody greets twice on one connection."""
    cluster = DriverCluster(*ABC)
    cluster.elect()
    d = cluster.add("d")
    for name in ABC:
        d.driver.greet(cluster[name].driver.hello(), cluster.now)
        d.driver.lost(MemberId(name), cluster.now)
        cluster[name].driver.greet(d.driver.hello(), cluster.now)
        cluster[name].driver.lost(MemberId("d"), cluster.now)
        cluster.settle()
    cluster.advance(1000)
    assert "stranger" not in d.driver.status(cluster.now).ignored_messages
    assert voters(d, cluster.now) == voters(cluster["a"], cluster.now) == "abcd"


def test_57_it_belongs_to_no_cluster_before_its_record_is_on_the_disk() -> None:
    cluster = DriverCluster(*ABC)
    cluster.elect()
    d = cluster.add("d")
    d.disk_ends = False
    greet_all(cluster, "d")
    cluster.advance(1000)
    ((written, write),) = d.writes
    assert isinstance(written, BirthReceipt)
    assert write.birth == cluster["a"].driver.hello().birth
    assert d.driver.identity.cluster is None
    assert d.driver.status(cluster.now).learners == ()
    assert cluster["a"].driver.status(cluster.now).learners == ("d",), "but a learner waits for it"
    assert voters(cluster["a"], cluster.now) == "abc", "that has not caught up"
    d.disk_ends = True
    cluster.advance(1000)
    assert voters(d, cluster.now) == "abcd"


def test_a_process_that_did_not_greet_takes_nobody_in() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    d = cluster.add("d")
    cluster.greet(leader, "d")
    granted = JoinResponse(
        MemberId(leader), MemberId("d"), Term(1), d.driver.identity.incarnation, True, MemberId(leader), ""
    )
    other = cluster.others(leader)[0]
    d.driver.receive(cluster[other].driver.identity, [granted], cluster.now)
    stranger = msgspec.structs.replace(cluster[leader].driver.identity, boot=BootId("another"))
    d.driver.receive(stranger, [granted], cluster.now)
    cluster.settle()
    assert d.driver.identity.cluster is None
    assert d.driver.status(cluster.now).ignored_messages["unborn"] == 2
    d.driver.receive(cluster[leader].driver.identity, [granted], cluster.now)
    cluster.settle()
    assert d.driver.identity.cluster is not None


def test_60_a_member_that_departs_is_removed_turned_away_and_says_so() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    gone, stays = (name for name in ABC if name != leader)
    cluster[leader].driver.depart(MemberId(gone), cluster.now)
    cluster.advance(500)
    assert gone not in voters(cluster[stays], cluster.now)
    verdicts = [verdict for actions in cluster[leader].history for verdict in actions.greetings]
    (refused,) = [verdict for verdict in verdicts if isinstance(verdict, Refused)]
    assert refused.identity.is_process(cluster[gone].driver.identity)
    cluster[gone].driver.refused(cluster[leader].driver.identity, refused.refusal, cluster.now)
    cluster.advance(5000)
    status = cluster[gone].driver.status(cluster.now)
    assert status.waiting_for is not None
    assert status.waiting_for.startswith(f"this process takes no part any more: this incarnation of {gone} was removed")
    assert status.leader is None
    assert cluster[leader].driver.standing.established
    cluster.submit(leader, RED)
    cluster.advance(100)
    assert cluster[stays].document.get("colour") is not None


def test_while_the_cluster_is_paused_the_leader_leaves_the_members_alone() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    gone = cluster.others(leader)[0]
    cluster.submit(leader, encode(Pause("disks")))
    cluster.advance(100)
    cluster[leader].driver.depart(MemberId(gone), cluster.now)
    cluster.advance(1000)
    assert gone in voters(cluster[leader], cluster.now)
    heir = cluster.others(leader)[1]
    cluster[leader].driver.transfer(Token(0), MemberId(heir), 1e9, cluster.now)
    cluster.advance(500)
    cluster[heir].driver.depart(MemberId(gone), cluster.now)
    cluster.advance(1000)
    assert gone in voters(cluster[heir], cluster.now), "a new leader knows it from the log"
    cluster.submit(heir, encode(Resume()))
    cluster.advance(500)
    assert gone not in voters(cluster[heir], cluster.now)


def test_59_a_fenced_leader_leads_no_longer_and_its_callers_hear_of_it() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    other = cluster.others(leader)[0]
    cluster[leader].driver.refused(
        cluster[other].driver.identity, Refusal("older-process", "a younger one was seen"), cluster.now
    )
    cluster.settle()
    assert cluster[leader].driver.standing.leader is None
    token = cluster.submit(leader, RED, patience=300.0)
    cluster.advance(1000)
    assert cluster[leader].resolved[token] == forwarding.Refused("no-leader")
    cluster.advance(3000)
    assert cluster[other].driver.standing.leader not in (None, leader)


def test_a_refusal_means_nothing_to_a_node_without_a_cluster() -> None:
    cluster = DriverCluster(*ABC)
    cluster.elect()
    d = cluster.add("d")
    d.driver.refused(cluster["a"].driver.identity, Refusal("namesake", "d is connected"), cluster.now)
    d.driver.depart(MemberId("d"), cluster.now)
    greet_all(cluster, "d")
    cluster.advance(1000)
    assert voters(d, cluster.now) == "abcd"


def test_58_a_hello_tells_what_the_volume_holds() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    cluster.submit(leader, RED)
    for name in ABC:
        said = cluster[name].driver.hello()
        assert (said.term, said.vote) == (cluster[name].driver.standing.term, leader)
        assert said.last_index == cluster[name].driver.status(cluster.now).last_index > 1
    blank = cluster.add("d").driver.hello()
    assert (blank.term, blank.vote, blank.last_index) == (0, None, 0)


def test_63_a_hello_tells_what_the_node_understands() -> None:
    plain = DriverCluster("a")["a"].driver.hello()
    assert (plain.protocol_min, plain.protocol_max) == (1, 1)
    settings = msgspec.structs.replace(Settings(), versions=type(Settings().versions)(2, 3))
    later = DriverCluster("a", settings=settings)["a"].driver.hello()
    assert (later.protocol_min, later.protocol_max) == (2, 3)


def test_34_a_person_may_replace_several_voters_at_once() -> None:
    settings = Settings(max_voters=1)
    cluster = DriverCluster(*ABC, settings=settings)
    leader = cluster.elect()
    for name in "de":
        cluster.add(name)
        greet_all(cluster, name)
        cluster.advance(1000)
    wanted = tuple(Member(MemberId(name), cluster[name].driver.identity.incarnation) for name in (leader, "d", "e"))
    with pytest.raises(NotLeader):
        cluster["d"].driver.change(Token(0), ReplaceVoters(wanted), 1e9, cluster.now)
    cluster[leader].driver.change(Token(0), ReplaceVoters(wanted), 1e9, cluster.now)
    cluster.advance(500)
    assert voters(cluster["e"], cluster.now) == "".join(sorted((leader, "d", "e")))
    with pytest.raises(ChangeRefused, match="the voters already"):
        cluster[leader].driver.change(Token(0), ReplaceVoters(wanted), 1e9, cluster.now)
    with pytest.raises(NotLeader):
        cluster.add("f").driver.change(Token(0), ReplaceVoters(wanted), 1e9, cluster.now)


def test_61_a_namesake_with_a_younger_volume_is_remembered_in_place_of_the_former() -> None:
    """Its generations begin anew, so they are lower."""
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    lost = cluster.others(leader)[0]
    old = cluster[lost].driver.hello()
    cluster[leader].driver.greet(
        msgspec.structs.replace(
            old, identity=msgspec.structs.replace(old.identity, generation=Generation(9), boot=BootId("later"))
        ),
        cluster.now,
    )
    cluster.settle()
    cluster[leader].driver._phase.peer_lost(MemberId(lost), cluster.now)  # type: ignore[union-attr]
    blank = msgspec.structs.replace(
        old,
        identity=msgspec.structs.replace(old.identity, cluster=None, incarnation=Incarnation("new"), boot=BootId("n")),
        birth=None,
        http_address="elsewhere:80",
    )
    cluster[leader].driver.greet(blank, cluster.now)
    cluster.settle()
    assert cluster[leader].driver._peers.http_address(MemberId(lost)) == "elsewhere:80"


def test_61_a_connection_that_ended_before_its_hello_was_answered_keeps_no_namesake_away() -> None:
    """The transport tells only of connections that were in use that they are lost."""
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    gone = cluster.others(leader)[0]
    old = cluster[gone].driver.hello()
    blank = msgspec.structs.replace(
        old,
        identity=msgspec.structs.replace(old.identity, cluster=None, incarnation=Incarnation("new"), boot=BootId("n")),
        birth=None,
    )
    assert verdict_on(cluster, leader, blank) == "namesake"
    cluster[leader].connected.discard(gone)
    assert verdict_on(cluster, leader, blank) == "accepted"


def verdict_on(cluster: DriverCluster, name: str, hello: Hello) -> str:
    cluster[name].driver.greet(hello, cluster.now)
    cluster.settle()
    verdicts = [verdict for actions in cluster[name].history for verdict in actions.greetings]
    return verdicts[-1].refusal.kind if isinstance(verdicts[-1], Refused) else "accepted"
