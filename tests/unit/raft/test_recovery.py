"""A survivor that is told to go on alone."""

import msgspec
import pytest
from raft_cluster import CLUSTER, Cluster

from raftq_k8s.raft.consensus import Consensus
from raftq_k8s.raft.membership import (
    AddLearner,
    BirthRecord,
    Hello,
    Identity,
    Member,
    Membership,
    Remove,
    ReplaceVoters,
)
from raftq_k8s.raft.messages import SnapshotMark
from raftq_k8s.raft.output import Refused
from raftq_k8s.raft.persistence import Restored
from raftq_k8s.raft.recovery import INDICES_PASSED, TERMS_PASSED, NotRecoverable, begun_with, recovered
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import LONGEST_STEP, BootId, ClusterId, Incarnation, Index, MemberId, Term

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
    write = recovered(restored, CLUSTER, NEW).write(size=10, checksum=7)
    assert write.seal is not None
    again = msgspec.structs.replace(
        restored,
        birth=write.birth,
        hard_state=write.hard_state,
        snapshot=write.seal,
        base=write.seal.index,
        base_term=write.seal.term,
        entries=[],
        term_starts=(),
        configurations=(),
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
def test_a_survivor_goes_on_alone_above_every_term_and_index_that_the_others_may_have_seen(compacted: bool) -> None:
    restored = survivor(compacted=compacted)
    last = restored.entries[-1]
    core = started(restored)
    assert core.cluster == NEW
    assert core.voters == (MemberId("b"),)
    assert core.standing.term > restored.hard_state.term + TERMS_PASSED
    assert core.commit_index == last.index + INDICES_PASSED + 1
    assert core.base_index == last.index + INDICES_PASSED


def test_a_log_that_a_snapshot_covers_as_a_whole_ends_where_that_does() -> None:
    restored = survivor()
    last = restored.entries[-1]
    bare = msgspec.structs.replace(restored, entries=[], base=last.index, base_term=last.term)
    assert recovered(bare, CLUSTER, NEW).index == last.index + INDICES_PASSED


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


def test_a_snapshot_begins_a_cluster_of_one_above_what_it_was_taken_at() -> None:
    member = Member(MemberId("a"), Incarnation("fresh"))
    write = begun_with(member, NEW, Index(70), Term(5)).write(size=10, checksum=7)
    assert write.birth == BirthRecord(NEW, (member,), Term(5 + TERMS_PASSED))
    assert write.seal == SnapshotMark(
        Index(70 + INDICES_PASSED), Term(5 + TERMS_PASSED), Membership(voters=(member,)), 10, 7
    )


def test_what_cannot_be_recovered_is_said() -> None:
    restored = survivor()
    with pytest.raises(NotRecoverable, match="belongs to no cluster"):
        recovered(msgspec.structs.replace(restored, birth=None), CLUSTER, NEW)
    with pytest.raises(NotRecoverable, match="belongs to cluster"):
        recovered(restored, ClusterId("another"), NEW)
    with pytest.raises(NotRecoverable, match="no cluster can begin"):
        begun_with(Member(MemberId("a"), Incarnation("fresh")), NEW, Index(1), Term(LONGEST_STEP))
