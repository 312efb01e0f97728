"""Reads and transfers through the driver: a read is answered by a state that reflects it, and commands wait for the
next leader."""

import msgspec
import pytest
from driver_cluster import DriverCluster, member

from raftq_k8s.node import read_queue
from raftq_k8s.node.forwarding import Refused
from raftq_k8s.node.submissions import Token
from raftq_k8s.raft.consensus import NotLeader, TransferRefused
from raftq_k8s.raft.messages import AppendEntries, ReadIndexRequest
from raftq_k8s.raft.output import NO_OUTPUT
from raftq_k8s.raft.pending_reads import ConfirmedRead, ReadContext
from raftq_k8s.raft.types import Index
from raftq_k8s.state import commands
from raftq_k8s.state.commands import Applied, Put

PUT = commands.encode(Put("colour", b'"blue"'))


def led(*names: str) -> tuple[DriverCluster, str]:
    cluster = DriverCluster(*(names or ("a", "b", "c")))
    return cluster, cluster.elect()


def applied(cluster: DriverCluster, name: str) -> int:
    return cluster[name].driver.status(cluster.now).applied_index


@pytest.mark.parametrize("at_the_leader", [True, False])
def test_a_read_is_answered_by_a_state_that_holds_every_acknowledged_write(at_the_leader: bool) -> None:
    cluster, leader = led()
    reader = leader if at_the_leader else cluster.others(leader)[0]
    write = cluster.submit(leader, PUT)
    acknowledged = cluster[leader].resolved[write]
    assert isinstance(acknowledged, Applied)
    read = cluster.read(reader)
    cluster.advance(100)
    outcome = cluster[reader].reads[read]
    assert isinstance(outcome, int)
    assert outcome >= acknowledged.revision
    assert applied(cluster, reader) >= acknowledged.revision


def test_a_follower_answers_only_when_it_has_applied_what_the_leader_had_committed() -> None:
    cluster, leader = led()
    reader = cluster.others(leader)[0]
    cluster.submit(leader, PUT)
    behind = applied(cluster, reader)
    read = cluster.read(reader)
    assert (read in cluster[reader].reads) is (applied(cluster, reader) > behind)
    cluster.advance(100)
    assert applied(cluster, reader) > behind
    assert read in cluster[reader].reads


def test_a_confirmed_read_waits_until_its_index_is_applied() -> None:
    reads = read_queue.ReadQueue(pause=50.0)
    for token in Token(1), Token(2):
        reads.admit(token, 1_000.0)
    confirmed = ConfirmedRead(ReadContext(1), Index(7)), ConfirmedRead(ReadContext(2), Index(5))
    reads.answered(msgspec.structs.replace(NO_OUTPUT, reads=confirmed), 0.0)
    resolved = []
    for index in map(Index, (4, 5, 6, 9)):
        reads.applied(index)
        resolved.append(reads.take_resolved())
    assert resolved == [[], [(2, 5)], [], [(1, 9)]]


def test_only_a_leader_that_holds_its_lease_reads_by_it() -> None:
    cluster, leader = led()
    cluster.advance(100)
    assert [name for name in cluster.names if cluster[name].driver.may_read_by_lease(cluster.now)] == [leader]
    cluster.cut = {leader}
    cluster.advance(1_000)
    assert not cluster[leader].driver.may_read_by_lease(cluster.now)
    assert not DriverCluster("a", "b", initialised=False)["a"].driver.may_read_by_lease(0.0)


def test_a_lease_reads_no_state_that_has_yet_to_apply_what_is_committed() -> None:
    cluster, leader = led()
    cluster.advance(100)
    driver = cluster[leader].driver
    cluster.hold_messages = True
    cluster.submit(leader, PUT)
    cluster.hold_messages = False
    before = driver.status(cluster.now).commit_index
    while driver.status(cluster.now).commit_index == before:
        assert cluster._deliver() or cluster._end_a_write() or cluster._act()
    assert not driver.may_read_by_lease(cluster.now)
    cluster.settle()
    assert driver.may_read_by_lease(cluster.now)


def test_a_read_waits_for_somebody_to_lead() -> None:
    cluster = DriverCluster("a", "b", "c")
    read = cluster.read("a")
    cluster.elect()
    cluster.advance(200)
    assert isinstance(cluster["a"].reads[read], int)


def test_a_read_that_nobody_vouches_for_in_its_time_is_refused_then() -> None:
    cluster, leader = led()
    cluster.cut = {leader}
    asked = cluster.now
    read = cluster.read(leader, patience=1_000)
    cluster.advance(999)
    assert read not in cluster[leader].reads
    cluster.advance(asked + 1_000 - cluster.now)
    assert cluster[leader].reads[read] == Refused("no-leader")


def test_a_read_is_asked_again_when_the_leader_changes() -> None:
    cluster, leader = led()
    cluster.cut = {leader}
    read = cluster.read(cluster.others(leader)[0])
    cluster.elect()
    cluster.advance(1_000)
    assert isinstance(cluster[cluster.others(leader)[0]].reads[read], int)


def test_a_read_that_waits_does_not_wake_the_node_all_the_time() -> None:
    cluster, leader = led()
    cluster.cut = {leader}
    follower = cluster.others(leader)[0]
    cluster.read(follower)
    wakes = 0
    until = cluster.now + 190
    while (wake := cluster[follower].driver.wake_at) < until:
        cluster.now = max(cluster.now, wake)
        cluster[follower].driver.tick(cluster.now)
        cluster.settle()
        wakes += 1
    assert wakes <= 5


def test_too_many_reads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_queue, "OPEN_LIMIT", 1)
    cluster = DriverCluster("a", "b", "c")
    cluster.read("a")
    assert cluster["a"].reads[cluster.read("a")] == Refused("overloaded")


def test_a_read_costs_no_write_and_leaves_nothing_in_the_log() -> None:
    cluster, leader = led()
    before = len(cluster[leader].history), cluster[leader].driver.status(cluster.now).last_index
    cluster.read(leader)
    assert not any(actions.writes for actions in cluster[leader].history[before[0] :])
    assert cluster[leader].driver.status(cluster.now).last_index == before[1]


def test_the_leadership_is_handed_over_and_commands_wait_for_the_next_leader() -> None:
    cluster, leader = led()
    target, other = cluster.others(leader)
    cluster.cut = {target}
    cluster[leader].driver.transfer(Token(0), member(target), 1e9, cluster.now)
    written = [cluster.submit(leader, PUT), cluster.submit(other, PUT)]
    assert written[0] not in cluster[leader].resolved
    assert cluster[leader].driver.wake_at > cluster.now, "what waits does not wake the node all the time"
    cluster.cut = set()
    cluster.advance(600)
    assert cluster[target].driver.standing.established
    assert isinstance(cluster[leader].resolved[written[0]], Applied)
    assert isinstance(cluster[other].resolved[written[1]], Applied)


def test_commands_that_waited_for_a_transfer_go_on_when_it_is_given_up() -> None:
    cluster, leader = led()
    target = cluster.others(leader)[0]
    cluster.cut = {target}
    cluster[leader].driver.transfer(Token(0), member(target), 1e9, cluster.now)
    write = cluster.submit(leader, PUT)
    cluster.advance(1_000)
    assert isinstance(cluster[leader].resolved[write], Applied)


def test_whoever_does_not_lead_or_has_nobody_to_hand_over_to_says_so() -> None:
    cluster, leader = led()
    with pytest.raises(NotLeader):
        cluster[cluster.others(leader)[0]].driver.transfer(Token(0), member(leader), 1e9, cluster.now)
    with pytest.raises(TransferRefused):
        cluster[leader].driver.transfer(Token(0), member(leader), 1e9, cluster.now)
    with pytest.raises(NotLeader):
        DriverCluster("a", "b", initialised=False, disks_end=False)["a"].driver.transfer(
            Token(0), member("b"), 1e9, 0.0
        )


def test_a_read_travels_as_one_question() -> None:
    cluster, leader = led()
    follower = cluster.others(leader)[0]
    seen = len(cluster[follower].history)
    cluster.read(follower)
    said = [m for actions in cluster[follower].history[seen:] for ms in actions.messages.values() for m in ms]
    assert [type(m) for m in said if not isinstance(m, AppendEntries)].count(ReadIndexRequest) == 1
