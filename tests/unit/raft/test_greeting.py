"""Whom a member listens to."""

import pytest
from raft_cluster import CLUSTER, Cluster

from raftq_k8s.raft.membership import Hello, Identity
from raftq_k8s.raft.output import Accepted, Refused
from raftq_k8s.raft.types import BootId, ClusterId, Generation, Incarnation, MemberId


def hello(
    member: str = "b",
    generation: int = 1,
    boot: str = "x",
    cluster: str | None = CLUSTER,
    incarnation: str | None = None,
) -> Hello:
    identity = Identity(
        ClusterId(cluster) if cluster else None,
        MemberId(member),
        Incarnation(incarnation or f"i-{member}"),
        Generation(generation),
        BootId(boot),
    )
    return Hello(1, 1, identity, None, "")


def verdict(cluster: Cluster, said: Hello) -> str:
    """What node a answers: `accepted`, or the kind of its refusal. Its disk syncs."""
    core = cluster["a"]
    core.step(said, cluster.now)
    output = core.take_output()
    if output.receipt is not None:
        assert not any(isinstance(greeting, Accepted) for greeting in output.greetings), "accepted before it was synced"
        core.persisted(output.receipt, cluster.now)
        output = core.take_output()
    (answer,) = output.greetings
    match answer:
        case Accepted(identity=identity):
            assert identity == said.identity
            assert core.recognises(said.identity)
            return "accepted"
        case Refused(refusal=refusal):
            assert not core.recognises(said.identity)
            assert core.ignored[f"hello-{refusal.kind}"] > 0
            return refusal.kind


def test_66_reconnect() -> None:
    """The same process comes back after its connection dropped: it is accepted again, and nothing is written for it."""
    cluster = Cluster("a", "b", "c")
    assert verdict(cluster, hello()) == "accepted"
    cluster["a"].peer_lost(MemberId("b"), cluster.now)
    cluster["a"].step(hello(), cluster.now)
    output = cluster["a"].take_output()
    assert output.write is None
    assert output.greetings == (Accepted(hello().identity),)


def test_59_the_younger_process_fences_the_older_one() -> None:
    cluster = Cluster("a", "b", "c")
    old, new = hello(generation=3, boot="old"), hello(generation=4, boot="new")
    assert verdict(cluster, old) == "accepted"
    assert verdict(cluster, new) == "accepted"
    assert not cluster["a"].recognises(old.identity)
    assert verdict(cluster, old) == "older-process"
    assert cluster["a"].recognises(new.identity)


def test_59_two_processes_of_one_generation_are_not_both_heard() -> None:
    cluster = Cluster("a", "b", "c")
    assert verdict(cluster, hello(generation=3, boot="one")) == "accepted"
    assert verdict(cluster, hello(generation=3, boot="two")) == "older-process"


def test_59_a_restart_remembers_the_youngest_process_it_met() -> None:
    cluster = Cluster("a", "b", "c")
    node = cluster.nodes["a"]
    node.core.step(hello(generation=5), cluster.now)
    node.collect()
    node.sync()
    node.crash()
    node.start()
    assert verdict(cluster, hello(generation=4)) == "older-process"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (hello(cluster="another"), "other-cluster"),
        (hello(member="z"), "no-member"),
        (hello(member="a"), "own-name"),
        (hello(incarnation="wiped"), "incarnation"),
        (hello(cluster=None, incarnation="wiped"), "incarnation"),
        (hello(cluster=None), "accepted"),
    ],
)
def test_49_only_members_are_listened_to(said: Hello, kind: str) -> None:
    assert verdict(Cluster("a", "b", "c"), said) == kind


def test_a_process_is_recognised_whatever_it_knew_of_its_cluster_when_it_said_hello() -> None:
    """Its hellos travel on two connections: the one of before it adopted the record may be heard last."""
    for order in ([None, CLUSTER], [CLUSTER, None]):
        cluster = Cluster("a", "b", "c")
        for known in order:
            assert verdict(cluster, hello(cluster=known)) == "accepted"
        assert cluster["a"].recognises(hello(cluster=None).identity)
        assert cluster["a"].recognises(hello(cluster=CLUSTER).identity)
        assert not cluster["a"].recognises(hello(boot="another").identity)
