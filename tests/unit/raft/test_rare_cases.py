"""What hardly any history needs: starts that are refused, bounds that are reached, rules that find nothing to do."""

import msgspec
import pytest
from raft_cluster import Cluster

from raftq_k8s.raft import outbox
from raftq_k8s.raft.birth import Birth, BirthRule
from raftq_k8s.raft.configuration import Configurations, born, encode
from raftq_k8s.raft.consensus import Consensus
from raftq_k8s.raft.log import Log
from raftq_k8s.raft.membership import BirthRecord, Hello, Identity, Member, Membership
from raftq_k8s.raft.messages import Entry, EntryKind, JoinResponse, VoteRequest
from raftq_k8s.raft.output import ChunkWanted
from raftq_k8s.raft.persistence import HardState, Receipt, Restored
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import BootId, ClusterId, Generation, Incarnation, Index, MemberId, Term

A, B, C = (Member(MemberId(name), Incarnation(f"i-{name}")) for name in "abc")
RECORD = BirthRecord(ClusterId("test"), (A, B, C), Term(1))
IDENTITY = Identity(RECORD.cluster, A.name, A.incarnation, Generation(1), BootId("boot"))
RESTORED = Restored(A.name, A.incarnation, Generation(1), RECORD, HardState(), [])


# ------------------------------------------------------------------------------------------------------------- starts


@pytest.mark.parametrize(
    ("restored", "why"),
    [
        (msgspec.structs.replace(RESTORED, birth=None), "belongs to no cluster"),
        (msgspec.structs.replace(RESTORED, birth=BirthRecord(RECORD.cluster, (), Term(1))), "no correct founder"),
        (msgspec.structs.replace(RESTORED, birth=BirthRecord(ClusterId("z"), (A,), Term(1))), "claims cluster"),
        (msgspec.structs.replace(RESTORED, base=Index(7), base_term=Term(2)), "no snapshot covers"),
    ],
)
def test_a_volume_that_makes_no_sense_starts_no_node(restored: Restored, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Consensus(IDENTITY, restored, Settings(), 1, 0.0)


def test_the_first_term_of_a_cluster_is_the_one_that_its_record_names() -> None:
    record = msgspec.structs.replace(RECORD, first_term=Term(40))
    consensus = Consensus(IDENTITY, msgspec.structs.replace(RESTORED, birth=record), Settings(), 1, 0.0)
    assert consensus.standing.term == 39
    consensus.tick(consensus.wake_at)
    asked = {message.term for message in consensus.take_output().messages}
    assert asked == {40}
    assert consensus.leader_changes == 0


@pytest.mark.parametrize("wrong", [{"tail_bytes": -1}, {"kept_entries": -1}])
def test_less_than_nothing_cannot_be_kept(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="less than nothing"):
        Settings(**wrong)


# ------------------------------------------------------------------------------------------------------------- bounds


def test_a_receipt_that_was_never_given_is_an_error() -> None:
    with pytest.raises(ValueError, match="never given"):
        Consensus(IDENTITY, RESTORED, Settings(), 1, 0.0).persisted(Receipt(1), 1.0)


def test_what_waits_for_a_disk_that_hangs_is_bounded_and_the_rest_is_as_good_as_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "HELD_LIMIT", 2)
    cluster = Cluster("a", "b", "c")
    cluster.advance(300)  # the window after the start is over
    voter = cluster.nodes["a"]
    voter.slow_disk = True
    asked = VoteRequest(B.name, A.name, Term(9), A.incarnation, Index(0), Term(0), False)
    for _ in range(3):
        voter.core.step(asked, cluster.now)
        voter.collect()
    assert voter.core.ignored["held-too-many"] == 1
    cluster.take()
    voter.sync()
    assert len(cluster.take()) == 2


# ----------------------------------------------------------------------------------------------------- nothing to do


def test_a_log_is_not_compacted_up_to_where_it_begins_already() -> None:
    log = Log([Entry(Index(6), Term(2), EntryKind.NOOP)], Index(5), Term(2))
    log.compact(Index(3))
    log.compact(Index(5))
    assert (log.base, log.base_term, log.oldest, log.last_index) == (5, 2, 6, 6)


def test_configurations_that_a_snapshot_covers_are_forgotten_but_for_the_last() -> None:
    configurations = Configurations(born(RECORD))
    for index, voters in ((3, (A, B)), (5, (A,)), (9, (A, C))):
        entry = Entry(Index(index), Term(1), EntryKind.CONFIGURATION, encode(Membership(voters)))
        assert configurations.take([entry])
    settled = configurations.settle(Index(6))
    assert settled is not None
    assert settled.voters == ("a",)
    configurations.compact(Index(6))
    assert configurations.at(Index(6)).voters == ("a",)
    assert configurations.latest.voters == ("a", "c")
    assert configurations.settle(Index(8)) is None
    assert configurations.settle(Index(9)) == configurations.latest
    assert configurations.truncate(Index(9))
    assert configurations.latest.voters == ("a",)


def test_where_nothing_is_handed_over_there_is_nothing_to_cancel() -> None:
    cluster = Cluster("a", "b", "c")
    leader = cluster.elect("a")
    leader.take_output()
    lease = leader.lease_until
    leader.cancel_transfer(cluster.now)
    assert leader.lease_until == lease is not None
    assert leader.take_output().messages == ()


def test_a_snapshot_that_was_replaced_on_its_way_is_begun_anew_as_the_later_one() -> None:
    cluster = Cluster("a", "b", "c", settings=Settings(kept_entries=0))
    leader = cluster.elect("a")
    cluster.isolate("c")
    cluster.propose("a", b"one")
    cluster.advance(100)
    first = cluster.snapshot("a")
    cluster.propose("a", b"two")
    cluster.advance(100)
    cluster.nodes["a"].slow_disk = True  # nothing is read from it meanwhile
    cluster.heal()
    while not (wanted := cluster.nodes["a"].wanted):
        cluster.advance(10)
    assert isinstance(wanted[0], ChunkWanted)
    assert wanted[0].index == first.index
    later = msgspec.structs.replace(first, index=leader.commit_index)
    leader.snapshot_taken(later)
    leader.snapshot_chunk(wanted[0], None, cluster.now)
    (anew,) = leader.take_output().wanted
    assert anew == ChunkWanted(C.name, later.index, 0, Settings().max_chunk_bytes)


def test_a_node_says_to_which_cluster_it_belongs() -> None:
    consensus = Consensus(IDENTITY, RESTORED, Settings(), 1, 0.0)
    assert consensus.cluster == RECORD.cluster
    assert consensus.membership == Membership((A, B, C))
    assert list(consensus.members) == ["a", "b", "c"]
    assert not consensus.changing


# -------------------------------------------------------------------------------------------------------------- blank


def test_a_blank_node_asks_to_join_what_it_meets_and_is_told() -> None:
    me = Identity(None, MemberId("z"), Incarnation("i-z"), Generation(1), BootId("boot"))
    birth = Birth(me, BirthRule((), None), ClusterId("own"), Term(1))
    assert birth.wake_at == float("inf")
    assert birth.ask(0.0) == []
    birth.greet(Hello(1, 1, IDENTITY, RECORD, ""))
    stranger = Identity(ClusterId("other"), MemberId("y"), Incarnation("i-y"), Generation(1), BootId("boot"))
    birth.greet(
        Hello(1, 1, stranger, BirthRecord(ClusterId("other"), (Member(stranger.member, B.incarnation),), Term(1)), "")
    )
    assert birth.wake_at <= 0.0
    assert [request.destination for request in birth.ask(0.0)] == ["a"]
    assert birth.wake_at > 0.0
    birth.answered(JoinResponse(A.name, me.member, Term(3), me.incarnation, True, A.name, ""))
    assert birth.record == RECORD
    assert birth.wake_at == float("inf")
    assert birth.ask(1e6) == []
