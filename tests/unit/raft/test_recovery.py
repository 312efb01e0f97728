"""A survivor that is told to go on alone."""

import msgspec
import pytest
from raft_cluster import CLUSTER, Cluster

from raftq_k8s.raft.consensus import Consensus
from raftq_k8s.raft.membership import AddLearner, Hello, Identity, Member, Remove, ReplaceVoters
from raftq_k8s.raft.output import Refused
from raftq_k8s.raft.persistence import Restored
from raftq_k8s.raft.recovery import NotRecoverable, recovered
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import LONGEST_STEP, BootId, ClusterId, Incarnation, MemberId, Term

NEW = ClusterId("recovered")


def survivor(*, compacted: bool = False) -> Restored:
    """b, of a cluster of which a and c are gone; `x` was committed, and `y` only reached b."""
    cluster = Cluster("a", "b", "c", settings=Settings(max_voters=1, kept_entries=0))
    cluster.elect("a")
    cluster.change("a", AddLearner(cluster.add("d").member))
    cluster.propose("a", b"x")
    cluster.advance(100)
    cluster.change("a", Remove(cluster.nodes["d"].member))
    cluster.advance(100)
    if compacted:
        cluster.nodes["b"].take_snapshot()
        cluster.advance(100)
    cluster.isolate("c")
    cluster.propose("a", b"y")
    cluster.deliver()
    cluster.nodes["b"].sync()
    cluster.nodes["b"].crash()
    return cluster.nodes["b"].disk.open(1 << 20)


def started(restored: Restored, now: float = 0.0) -> Consensus:
    """The survivor after its recovery was written and it was started again, once it leads."""
    write = recovered(restored, NEW, Term(40))
    assert write.birth is not None
    assert write.hard_state is not None
    again = msgspec.structs.replace(
        restored, birth=write.birth, hard_state=write.hard_state, entries=[*restored.entries, *write.entries]
    )
    identity = Identity(NEW, again.member, again.incarnation, again.generation, BootId("again"))
    core = Consensus(identity, again, Settings(), 1, now)
    while not core.standing.established:
        now = max(now + 1, core.wake_at)
        core.tick(now)
        carry_out(core, now)
    return core


def carry_out(core: Consensus, now: float) -> None:
    while (output := core.take_output()).receipt is not None:
        assert not [message for message in output.messages if message.destination != core._core.me]
        core.persisted(output.receipt, now)


@pytest.mark.parametrize("compacted", [False, True])
def test_a_survivor_goes_on_alone_with_all_that_it_holds(compacted: bool) -> None:
    restored = survivor(compacted=compacted)
    last = restored.entries[-1]
    core = started(restored)
    assert core.cluster == NEW
    assert core.voters == (MemberId("b"),)
    assert core.standing.term > 40
    assert core.commit_index == last.index + 2
    assert core._core.log.term_at(last.index) == last.term


def test_those_who_are_gone_never_come_back_under_their_old_incarnation() -> None:
    core = started(survivor())
    assert {member.name for member in core.membership.tombstones} == {"a", "c", "d"}
    for cluster, kind in ((CLUSTER, "other-cluster"), (None, "removed")):
        identity = Identity(cluster, MemberId("a"), Incarnation("i-a"), core._core.identity.generation, BootId("x"))
        core.step(Hello(1, 1, identity, None, ""), 1e6)
        (verdict,) = core.take_output().greetings
        assert isinstance(verdict, Refused)
        assert verdict.refusal.kind == kind


def test_a_joint_configuration_does_not_outlive_it() -> None:
    cluster = Cluster("a", "b", "c", settings=Settings(max_voters=1))
    cluster.elect("a")
    cluster.change("a", ReplaceVoters((cluster.nodes["a"].member, cluster.nodes["b"].member)))
    cluster.deliver()
    cluster.nodes["b"].sync()
    cluster.nodes["b"].crash()
    restored = cluster.nodes["b"].disk.open(1 << 20)
    core = started(restored)
    assert core.membership.voters == (Member(MemberId("b"), Incarnation("i-b")),)
    assert not core.changing


def test_what_cannot_be_recovered_is_said() -> None:
    restored = survivor()
    with pytest.raises(NotRecoverable, match="belongs to no cluster"):
        recovered(msgspec.structs.replace(restored, birth=None), NEW, Term(0))
    with pytest.raises(NotRecoverable, match="already"):
        recovered(restored, CLUSTER, Term(0))
    with pytest.raises(NotRecoverable, match="no cluster can begin"):
        recovered(restored, NEW, Term(LONGEST_STEP))
