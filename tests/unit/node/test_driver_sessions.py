"""Sessions through the driver: a command whose answer was lost is repeated without harm, and the log is told the time
while somebody needs it."""

import pytest
from driver_cluster import IDLE, TELLS_TIME_EVERY, DriverCluster, member

from raftq_k8s.node.forwarding import Forwarded, Refused, Unknown
from raftq_k8s.node.snapshots import SnapshotBounds
from raftq_k8s.node.submissions import Token
from raftq_k8s.raft.messages import EntryKind
from raftq_k8s.raft.settings import Settings
from raftq_k8s.state import commands
from raftq_k8s.state.commands import (
    Applied,
    Delete,
    DocumentCommand,
    Elapse,
    InSession,
    NoSuchSession,
    OpenSession,
    Put,
    Replace,
    SessionOpened,
    encode,
)

ABC = ("a", "b", "c")
RED = Put("colour", b'"red"')


def led(*names: str) -> tuple[DriverCluster, str]:
    cluster = DriverCluster(*(names or ABC))
    return cluster, cluster.elect()


def opened(cluster: DriverCluster, name: str) -> int:
    result = cluster[name].resolved[cluster.submit(name, encode(OpenSession()))]
    assert isinstance(result, SessionOpened)
    return result.session


def once(session: int, sequence: int, command: DocumentCommand) -> bytes:
    return encode(InSession(session, sequence, encode(command)))


def last_index(cluster: DriverCluster, name: str) -> int:
    return cluster[name].driver.status(cluster.now).last_index


def elapses(cluster: DriverCluster, name: str) -> list[int]:
    """What that node's disk was given of the time that passed."""
    return [
        told.milliseconds
        for actions in cluster[name].history
        for _, write in actions.writes
        for entry in write.entries
        if entry.kind == EntryKind.COMMAND and isinstance(told := commands.decode(entry.command), Elapse)
    ]


# ------------------------------------------------------------------------------------------------------- exactly once


def test_44_exactly_once_a_retry_on_another_node_after_a_lost_reply_hears_the_first_answer() -> None:
    cluster, leader = led()
    one, other = cluster.others(leader)
    command = once(opened(cluster, one), 1, RED)
    cluster.lost = Forwarded
    first = cluster.submit(one, command, patience=150)
    cluster.advance(150)
    cluster.lost = None
    assert cluster[one].resolved[first] == Unknown()
    revision = cluster[leader].document.get("colour")
    assert revision is not None
    assert revision[0] == b'"red"'

    cluster.submit(leader, encode(Put("colour", b'"blue"')))
    again = cluster.submit(other, command)
    assert cluster[other].resolved[again] == Applied(revision[1], existed=False)
    held = cluster[leader].document.get("colour")
    assert held is not None
    assert held[0] == b'"blue"'


def test_44_exactly_once_a_retry_under_another_leader_hears_the_first_answer() -> None:
    cluster, old = led()
    command = once(opened(cluster, old), 1, RED)
    first = cluster[old].resolved[cluster.submit(old, command)]
    cluster.advance(200)
    cluster.cut.add(old)
    new = cluster.elect()
    assert new != old
    cluster.submit(new, encode(Delete("colour")))
    assert cluster[new].resolved[cluster.submit(new, command)] == first
    assert cluster[new].document.get("colour") is None


def test_44_exactly_once_a_retry_after_all_restarted_from_snapshots_hears_the_first_answer() -> None:
    cluster = DriverCluster(*ABC, settings=Settings(kept_entries=0), bounds=SnapshotBounds(after_entries=8))
    leader = cluster.elect()
    command = once(opened(cluster, leader), 1, RED)
    first = cluster[leader].resolved[cluster.submit(leader, command)]
    assert isinstance(first, Applied)
    for _ in range(20):
        cluster.submit(leader, encode(Delete("colour")))
    cluster.advance(500)
    for name in ABC:
        assert cluster[name].volume.base > first.revision  # the log does not tell of it any more
        cluster.restart(name)
    leader = cluster.elect()
    assert cluster[leader].resolved[cluster.submit(leader, command)] == first
    cluster.advance(500)
    assert all(held.document.get("colour") is None for held in cluster.nodes.values())
    assert len({held.state.sessions.log_time for held in cluster.nodes.values()}) == 1


def test_44_an_expired_session_is_an_error() -> None:
    cluster, leader = led()
    session = opened(cluster, leader)
    cluster.submit(leader, once(session, 1, RED))
    cluster.submit(leader, encode(Delete("colour")))
    cluster.advance(IDLE + 2 * TELLS_TIME_EVERY)
    token = cluster.submit(leader, once(session, 1, RED))
    assert cluster[leader].resolved[token] == NoSuchSession(session)
    assert cluster[leader].document.get("colour") is None


@pytest.mark.parametrize(
    "command",
    [
        encode(Elapse(60_000)),
        encode(InSession(1, 1, b"no command at all")),
        encode(InSession(1, 1, encode(Put("k", b"{not json")))),
        encode(InSession(1, 1, encode(Replace(b'  {"a":1}')))),
        encode(InSession(1, 1, encode(Elapse(60_000)))),
        encode(InSession(1, 1, encode(InSession(1, 2, encode(RED))))),
        encode(commands.PutIf("k", b"{not json", 0)),
    ],
)
def test_what_a_session_carries_is_looked_at_before_the_log_and_time_is_told_by_leaders_alone(command: bytes) -> None:
    cluster, leader = led()
    before = last_index(cluster, leader)
    assert cluster[leader].resolved[cluster.submit(leader, command)] == Refused("malformed")
    follower = cluster.others(leader)[0]
    assert cluster[follower].resolved[cluster.submit(follower, command)] == Refused("malformed")
    assert last_index(cluster, leader) == before


# ---------------------------------------------------------------------------------------------------- the log's time


def test_without_sessions_an_idle_cluster_writes_nothing() -> None:
    cluster, leader = led()
    cluster.submit(leader, encode(RED))
    before = last_index(cluster, leader)
    cluster.advance(60_000)
    assert last_index(cluster, leader) == before


def test_while_there_is_a_session_time_is_told_and_when_the_last_one_expired_no_more() -> None:
    cluster, leader = led()
    opened(cluster, leader)
    cluster.advance(IDLE / 2)
    assert cluster[leader].state.sessions.log_time == pytest.approx(IDLE / 2, abs=TELLS_TIME_EVERY + 100)
    cluster.advance(IDLE)
    assert len(cluster[leader].state.sessions) == 0
    before = last_index(cluster, leader)
    cluster.advance(60_000)
    assert last_index(cluster, leader) == before
    assert {held.state.sessions.log_time for held in cluster.nodes.values()} == {sum(elapses(cluster, leader))}


def test_never_more_than_one_is_under_way() -> None:
    cluster, leader = led("a")
    opened(cluster, "a")
    cluster["a"].disk_ends = False
    cluster.advance(5 * TELLS_TIME_EVERY)
    assert len(elapses(cluster, leader)) == 1
    cluster["a"].disk_ends = True
    cluster.advance(TELLS_TIME_EVERY)
    assert len(elapses(cluster, leader)) == 2
    assert elapses(cluster, leader)[1] == 2 * TELLS_TIME_EVERY  # who used a session meanwhile is not charged with more


def test_a_new_leader_tells_on_and_what_passed_between_is_told_by_nobody() -> None:
    cluster, old = led()
    opened(cluster, old)
    cluster.advance(2.5 * TELLS_TIME_EVERY)
    begun = cluster.now
    cluster.cut.add(old)
    new = cluster.elect()
    cluster.advance(3 * TELLS_TIME_EVERY)
    cluster.cut.clear()
    cluster.advance(500)
    told = cluster[new].state.sessions.log_time
    assert told == cluster[old].state.sessions.log_time
    assert 4 * TELLS_TIME_EVERY < told <= cluster.now - begun + 2.5 * TELLS_TIME_EVERY


def test_what_could_not_be_told_during_a_transfer_is_told_the_next_time() -> None:
    cluster, leader = led()
    opened(cluster, leader)
    cluster.advance(0.7 * TELLS_TIME_EVERY)
    target = cluster.others(leader)[0]
    cluster.cut.add(target)
    cluster[leader].driver.transfer(Token(0), member(target), 1e9, cluster.now)
    cluster.advance(0.7 * TELLS_TIME_EVERY)
    assert elapses(cluster, leader) == []
    cluster.advance(TELLS_TIME_EVERY)
    assert len(elapses(cluster, leader)) == 1
    assert elapses(cluster, leader)[0] == 2 * TELLS_TIME_EVERY


def test_what_leaders_propose_by_themselves_counts_for_no_caller() -> None:
    cluster, leader = led()
    opened(cluster, leader)
    counts = cluster[leader].driver.status(cluster.now).proposals
    cluster.advance(4 * TELLS_TIME_EVERY)
    assert elapses(cluster, leader)
    assert cluster[leader].driver.status(cluster.now).proposals == counts == {"applied": 1, "refused": 0, "unknown": 0}
