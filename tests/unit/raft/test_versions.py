"""Nodes of two releases in one cluster."""

import msgspec
import pytest
from raft_cluster import Cluster, Node

from raftq_k8s.raft.membership import AddLearner, ChangeRefused, RaiseVersion
from raftq_k8s.raft.messages import VoteRequest
from raftq_k8s.raft.output import Accepted, Refused
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import BootId, Generation
from raftq_k8s.raft.versions import Versions

OLD, NEW = Versions(1, 1), Versions(1, 2)


def cluster_of(**versions: Versions) -> Cluster:
    """Each node speaks its own."""
    cluster = Cluster(*versions, settings=Settings(kept_entries=0))
    for name, spoken in versions.items():
        upgrade(cluster, name, spoken)
    return cluster


def upgrade(cluster: Cluster, name: str, spoken: Versions) -> None:
    node = cluster.nodes[name]
    node.crash()
    node.settings = msgspec.structs.replace(node.settings, versions=spoken)
    node.start()


def test_63_mixed_versions() -> None:
    """Members of versions N and N - 1 elect, replicate and snapshot both ways, and nothing of N is used."""
    for leader, laggard in ("ab", "ba"):
        cluster = cluster_of(a=OLD, b=NEW, c=NEW)
        cluster.elect(leader)
        cluster.propose(leader, b"x")
        cluster.advance(200)
        cluster.isolate(laggard)
        cluster.propose(leader, b"y")
        cluster.advance(100)
        cluster.nodes[leader].take_snapshot()
        cluster.advance(200)
        cluster.heal()
        cluster.advance(1000)
        assert cluster.nodes[laggard].installed == 1
        assert cluster.nodes[laggard].commands == [b"x", b"y"]
        assert {cluster[name].version for name in "abc"} == {1}


def test_63_the_version_is_raised_when_all_understand_it_and_not_before() -> None:
    cluster = cluster_of(a=NEW, b=NEW, c=OLD)
    cluster.elect("a")
    cluster.advance(1000)
    assert cluster["a"].version == 1
    upgrade(cluster, "c", NEW)
    cluster.advance(1000)
    assert {cluster[name].version for name in "abc"} == {2}
    with pytest.raises(ChangeRefused, match="the version is 2 already"):
        cluster.change("a", RaiseVersion(2))


def test_63_a_member_that_was_not_heard_holds_the_version_back() -> None:
    cluster = cluster_of(a=NEW, b=NEW, c=NEW)
    cluster.nodes["c"].crash()
    for name in "ab":
        del cluster[name]._core.accepted[cluster.nodes["c"].name]
    cluster.elect("a")
    cluster.advance(1000)
    assert cluster["a"].version == 1


def test_63_whoever_does_not_understand_what_is_in_use_is_refused() -> None:
    cluster = cluster_of(a=NEW, b=NEW, c=NEW)
    cluster.elect("a")
    cluster.advance(1000)
    assert cluster["a"].version == 2
    said = cluster.nodes["c"].hello
    again = msgspec.structs.replace(said.identity, generation=Generation(9), boot=BootId("again"))
    for newest, kind in ((1, "version"), (2, None), (3, None)):
        cluster["a"].step(msgspec.structs.replace(said, protocol_max=newest, identity=again), cluster.now)
        (verdict,) = answers(cluster.nodes["a"])
        assert (verdict.refusal.kind if isinstance(verdict, Refused) else None) == kind


def test_63_whoever_greeted_before_does_not_join_a_cluster_whose_language_it_lacks() -> None:
    """Its hello was accepted while the version was lower: it is turned away when that rises, and not added."""
    cluster = cluster_of(a=NEW, b=NEW, c=NEW)
    d = cluster.add("d")
    d.crash()
    d.settings = msgspec.structs.replace(d.settings, versions=OLD)
    d.start()
    assert cluster["a"].recognises(d.identity)
    cluster.elect("a")
    cluster.advance(1000)
    assert cluster["a"].version == 2
    assert not cluster["a"].recognises(d.identity)
    cluster.nodes["a"].meet(d)
    with pytest.raises(ChangeRefused, match="d did not say yet that it understands version 2"):
        cluster.change("a", AddLearner(d.member))
    upgrade(cluster, "d", NEW)
    cluster.change("a", AddLearner(d.member))


def answers(node: Node) -> list[Accepted | Refused]:
    """To greetings, once its disk has synced."""
    output = node.core.take_output()
    verdicts = list(output.greetings)
    if output.receipt is not None:
        node.core.persisted(output.receipt, node.cluster.now)
        verdicts += node.core.take_output().greetings
    return verdicts


def test_63_versions_that_do_not_meet_are_refused() -> None:
    cluster = cluster_of(a=OLD, b=OLD, c=OLD)
    said = cluster.nodes["b"].hello
    cluster["a"].step(msgspec.structs.replace(said, protocol_min=2, protocol_max=3), cluster.now)
    (verdict,) = cluster["a"].take_output().greetings
    assert isinstance(verdict, Refused)
    assert verdict.refusal.kind == "version"
    assert "upgrade one release at a time" in verdict.refusal.reason


def test_63_a_node_that_was_set_back_too_far_stops_by_itself() -> None:
    """Its log says that something is in use which it does not understand."""
    cluster = cluster_of(a=NEW, b=NEW, c=NEW)
    cluster.elect("a")
    cluster.advance(1000)
    upgrade(cluster, "c", OLD)
    cluster.advance(1000)
    fenced = cluster["c"].fenced
    assert fenced is not None
    assert fenced.kind == "version"
    assert fenced.reason == "the cluster uses version 2, and c knows 1"
    cluster.take()
    cluster.advance(2000)
    assert not cluster.take(lambda message: isinstance(message, VoteRequest) and message.source == "c")


@pytest.mark.parametrize(
    ("mine", "theirs", "meet"),
    [
        ((1, 1), (1, 1), True),
        ((1, 2), (2, 3), True),
        ((2, 3), (1, 2), True),
        ((1, 1), (2, 2), False),
        ((3, 4), (1, 2), False),
    ],
)
def test_ranges_meet_or_not(mine: tuple[int, int], theirs: tuple[int, int], meet: bool) -> None:
    assert Versions(*mine).meet(Versions(*theirs)) is meet
