"""The driver's side of snapshots: how they are taken, restored and installed while everything else goes on."""

import pytest
from driver_cluster import DriverCluster, member, record
from msgspec.structs import replace

from raftq_k8s.node.actions import SliceReceipt, SliceWanted
from raftq_k8s.node.forwarding import Unknown
from raftq_k8s.node.snapshots import PATIENCE, SnapshotBounds, Snapshots
from raftq_k8s.raft import core
from raftq_k8s.raft.membership import Membership
from raftq_k8s.raft.messages import Entry, EntryKind, SnapshotChunk, SnapshotMark
from raftq_k8s.raft.persistence import Write
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import Index, Term
from raftq_k8s.state.commands import Applied, Put, encode
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.state.snapshot import SnapshotDamaged
from raftq_k8s.storage.contents import Contents

ABC = ("a", "b", "c")
TIGHT = Settings(kept_entries=0, tail_bytes=0, max_chunk_bytes=100)
OFTEN = SnapshotBounds(after_entries=10, slice_bytes=64)


def put(number: int) -> bytes:
    return encode(Put(f"key{number % 20}", b'"%d %s"' % (number, b"x" * 30)))


def tight(*names: str) -> DriverCluster:
    return DriverCluster(*names, settings=TIGHT, bounds=OFTEN)


def write_many(cluster: DriverCluster, leader: str, first: int, last: int) -> None:
    for number in range(first, last + 1):
        cluster.submit(leader, put(number))


def after_writes(last: int, *names: str) -> DriverCluster:
    cluster = tight(*names)
    write_many(cluster, cluster.elect(), 1, last)
    cluster.advance(500)
    return cluster


def write_without(cluster: DriverCluster, leader: str, slow: str, first: int, last: int) -> None:
    """So many that what the slow one lacks then is in a snapshot only; from then on it can be reached again."""
    cluster.cut = {slow}
    write_many(cluster, leader, first, last)
    assert cluster[leader].volume.base > cluster[slow].volume.last_index
    cluster.cut = set()


def slices(writes: list[tuple[object, Write]]) -> list[Write]:
    return [write for written, write in writes if isinstance(written, SliceReceipt)]


def until_a_slice_is_under_way(cluster: DriverCluster, leader: str, name: str) -> None:
    """There the disk ends nothing any more."""
    cluster[name].disk_ends = False
    for number in range(1, 30):
        cluster.submit(leader, put(number))
        while cluster[name].writes and not slices(list(cluster[name].writes)):
            cluster[name].end_a_write(cluster.now)
            cluster.settle()
    assert slices(list(cluster[name].writes))


# ------------------------------------------------------------------------------------------------------------- taking


def test_a_snapshot_is_taken_when_enough_was_applied_and_the_log_gives_way() -> None:
    cluster = after_writes(60, *ABC)
    for held in cluster.nodes.values():
        status = held.driver.status(cluster.now)
        assert status.last_index - 30 <= status.snapshot_index <= status.applied_index
        assert held.volume.snapshot is not None
        assert held.volume.snapshot.index == status.snapshot_index
        assert held.volume.snapshot.membership.voters == record(*ABC).members
        assert held.volume.base == status.base_index == status.snapshot_index


def test_replicas_at_one_index_make_the_same_snapshot() -> None:
    cluster = after_writes(60, *ABC)
    marks = {held.volume.snapshot for held in cluster.nodes.values()}
    assert len({mark.checksum for mark in marks if mark}) == len({mark.index for mark in marks if mark})


def test_a_snapshot_is_written_a_slice_at_a_time_and_writes_of_the_log_pass_between() -> None:
    cluster = after_writes(9, "a")
    cluster["a"].disk_ends = False
    written = 0
    for number in range(10, 60):
        before = len(cluster["a"].history)
        cluster.submit("a", put(number))
        writes = [write for actions in cluster["a"].history[before:] for write in actions.writes]
        assert any(write.entries for _, write in writes)
        written += len(slices(writes))
        under_way = slices(list(cluster["a"].writes))
        assert len(under_way) <= 1
        while cluster["a"].writes:  # everything that is under way ends, and what follows from it is under way next
            cluster["a"].end_a_write(cluster.now)
    assert written > 10
    assert cluster["a"].volume.snapshot is not None


def test_the_state_that_is_written_down_is_that_of_one_moment() -> None:
    cluster = tight("a")
    cluster.elect()
    until_a_slice_is_under_way(cluster, "a", "a")
    frozen = cluster["a"].document.whole()
    while cluster["a"].volume.snapshot is None:
        cluster.submit("a", put(11))
        cluster["a"].end_a_write(cluster.now)
        cluster.settle()
    assert cluster["a"].document.whole() != frozen
    assert restored_document(cluster["a"].volume) == frozen


def restored_document(volume: Contents) -> tuple[bytes, int]:
    assert volume.snapshot is not None
    state = StateMachine(1 << 20)
    restoring = state.restoring()
    restoring.feed(volume.read_snapshot(volume.snapshot.index, 0, volume.snapshot.size) or b"")
    state.install(restoring)
    return state.document.whole()


# ------------------------------------------------------------------------------------------------------------ restoring


@pytest.mark.parametrize("tail_bytes", [0, 300, 1 << 20])
def test_45_what_was_committed_is_there_after_all_restart(tail_bytes: int) -> None:
    """From the snapshot, then what of the log came along, and before that what did not."""
    cluster = after_writes(47, *ABC)
    before = {name: held.document.whole() for name, held in cluster.nodes.items()}
    for name in ABC:
        cluster.restart(name, tail_bytes)
    cluster.elect()
    cluster.advance(500)
    assert {name: held.document.whole() for name, held in cluster.nodes.items()} == before


def test_a_long_log_without_a_snapshot_is_loaded_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "LOADED_BYTES", 200)
    cluster = DriverCluster("a", settings=TIGHT)
    cluster.elect()
    write_many(cluster, "a", 1, 40)
    before = cluster["a"].document.whole()
    cluster.restart("a", tail_bytes=0)
    cluster.elect()
    cluster.advance(100)
    assert cluster["a"].document.whole() == before
    assert sum(len(actions.loads) for actions in cluster["a"].history) > 3


def test_nothing_is_applied_or_answered_before_the_snapshot_is_restored() -> None:
    cluster = after_writes(47, "a")
    before = cluster["a"].document.whole()
    cluster["a"].disk_ends = False
    cluster.restart("a")
    cluster.advance(5_000)
    while cluster["a"].writes:
        cluster["a"].end_a_write(cluster.now)
        cluster.settle()
    token = cluster.read("a")
    assert cluster["a"].driver.standing.role == "leader"
    assert cluster["a"].driver.status(cluster.now).applied_index == 0
    assert token not in cluster["a"].reads
    cluster["a"].disk_ends = True
    cluster.advance(100)
    assert cluster["a"].document.whole() == before
    assert isinstance(cluster["a"].reads[token], int)


def test_a_snapshot_that_cannot_be_read_ends_the_node() -> None:
    cluster = after_writes(47, "a")
    volume = cluster["a"].volume
    volume.sealed = b"\0" * len(volume.sealed)
    cluster.restart("a")
    with pytest.raises(SnapshotDamaged):
        cluster.settle()


# ----------------------------------------------------------------------------------------------------------- installing


def test_39_a_slow_follower_catches_up_by_snapshot_and_replication_resumes() -> None:
    cluster = tight(*ABC)
    leader = cluster.elect()
    slow, other = cluster.others(leader)
    write_many(cluster, leader, 1, 5)
    write_without(cluster, leader, slow, 6, 80)
    cluster.advance(2_000)
    assert cluster[slow].document.whole() == cluster[leader].document.whole()
    assert cluster[slow].volume.base > 5
    write_many(cluster, leader, 81, 83)
    cluster.advance(200)
    assert cluster[slow].document.whole() == cluster[other].document.whole()
    assert cluster[slow].driver.status(cluster.now).snapshot_index > 5


def test_a_follower_that_was_killed_in_the_middle_of_a_snapshot_catches_up_all_the_same() -> None:
    cluster = tight(*ABC)
    leader = cluster.elect()
    slow, _ = cluster.others(leader)
    write_without(cluster, leader, slow, 1, 80)
    cluster[slow].disk_ends = False
    while cluster[slow].volume._begun is None:
        cluster.advance(10)
        while cluster[slow].writes and cluster[slow].volume._begun is None:
            cluster[slow].end_a_write(cluster.now)
    cluster[slow].disk_ends = True
    cluster.restart(slow)
    cluster.elect()
    cluster.advance(3_000)
    assert cluster[slow].document.whole() == cluster[leader].document.whole()


def test_a_snapshot_that_is_being_taken_gives_way_to_one_that_arrives() -> None:
    cluster = tight(*ABC)
    leader = cluster.elect()
    slow, _ = cluster.others(leader)
    until_a_slice_is_under_way(cluster, leader, slow)
    write_without(cluster, leader, slow, 13, 80)
    for _ in range(100):
        cluster.advance(100)
        if any(write.part and not isinstance(written, SliceReceipt) for written, write in cluster[slow].writes):
            break
    assert cluster[slow].driver._snapshots._taking is None
    cluster[slow].disk_ends = True
    cluster.advance(3_000)
    assert cluster[slow].document.whole() == cluster[leader].document.whole()


def test_what_a_snapshot_covers_ends_as_unknown_for_who_proposed_it() -> None:
    cluster = tight(*ABC)
    old = cluster.elect()
    cluster.advance(100)
    cluster.cut = {old}
    token = cluster.submit(old, put(1), patience=60_000.0)
    leader = cluster.elect()
    write_many(cluster, leader, 2, 80)
    assert token not in cluster[old].resolved
    cluster.cut = set()
    cluster.advance(3_000)
    assert cluster[old].resolved[token] == Unknown()
    assert cluster[old].document.whole() == cluster[leader].document.whole()


def test_no_snapshot_is_begun_while_the_last_one_is_on_its_way_to_a_peer() -> None:
    cluster = tight(*ABC)
    leader = cluster.elect()
    slow, other = cluster.others(leader)
    write_without(cluster, leader, slow, 1, 60)
    cluster.hold_messages = True
    cluster.advance(100)
    cluster.hold_messages = False
    while not any(isinstance(message, SnapshotChunk) for _, _, message in cluster.network):
        cluster._deliver()
        cluster._act()
        while cluster._end_a_write() or cluster._load():
            pass
    sent = cluster[leader].driver.status(cluster.now).snapshot_index
    cluster.lost = SnapshotChunk
    write_many(cluster, leader, 61, 75)
    assert cluster[leader].driver.status(cluster.now).snapshot_index == sent
    assert cluster[other].driver.status(cluster.now).snapshot_index > sent
    write_many(cluster, leader, 76, 60 + 25 * PATIENCE)
    assert cluster[leader].driver.status(cluster.now).snapshot_index > sent


# ----------------------------------------------------------------------------------------------------------- in short


def entries(count: int, size: int) -> tuple[Entry, ...]:
    return tuple(Entry(Index(index), Term(1), EntryKind.COMMAND, b"x" * size) for index in range(1, count + 1))


def taken(snapshots: Snapshots, index: int) -> SnapshotMark:
    snapshots.take(Index(index), Term(1), Membership(()))
    while (write := snapshots.next_write()) is not None:
        assert snapshots.next_write() is None
        if mark := snapshots.persisted(write[0]):
            return mark
    raise AssertionError("it never ends")


def test_a_bound_of_bytes_and_one_of_entries_make_a_snapshot_due() -> None:
    bounds = SnapshotBounds(after_bytes=1_000, after_entries=10)
    by_bytes, by_entries = Snapshots(StateMachine(), bounds), Snapshots(StateMachine(), bounds)
    by_bytes.applied(entries(1, 900))
    by_entries.applied(entries(9, 1))
    assert not by_bytes.is_due()
    assert not by_entries.is_due()
    by_bytes.applied(entries(1, 100))
    by_entries.applied(entries(1, 1))
    assert by_bytes.is_due()
    assert by_entries.is_due()
    assert not by_bytes.is_overdue()


def test_a_large_state_is_not_written_again_for_a_short_log() -> None:
    state = StateMachine()
    state.apply(Index(1), encode(Put("large", b'"%s"' % (b"x" * 5_000))))
    snapshots = Snapshots(state, SnapshotBounds(after_bytes=1_000))
    mark = taken(snapshots, 1)
    assert mark.size > 5_000
    snapshots.applied(entries(1, 4_000))
    assert not snapshots.is_due()
    snapshots.applied(entries(1, mark.size - 4_000))
    assert snapshots.is_due()


def test_what_was_given_up_is_not_taken_for_what_came_after() -> None:
    state = StateMachine()
    state.apply(Index(1), encode(Put("colour", b'"red"')))
    snapshots = Snapshots(state, SnapshotBounds(slice_bytes=8))
    snapshots.take(Index(1), Term(1), Membership(()))
    late = snapshots.next_write()
    assert late is not None
    snapshots.give_up()
    assert snapshots.next_write() is None
    state.apply(Index(2), encode(Put("colour", b'"blue"')))
    snapshots.take(Index(2), Term(1), Membership(()))
    first = snapshots.next_write()
    assert first is not None
    assert snapshots.persisted(late[0]) is None
    assert snapshots.next_write() is None, "the first slice is still on its way"
    assert snapshots.persisted(first[0]) is None
    assert snapshots.next_write() is not None


def test_a_snapshot_whose_seal_is_on_its_way_stands() -> None:
    snapshots = Snapshots(StateMachine(), SnapshotBounds())
    snapshots.take(Index(1), Term(1), Membership(()))
    write = snapshots.next_write()
    while write is not None and write[1].seal is None:
        snapshots.persisted(write[0])
        write = snapshots.next_write()
    assert write is not None
    snapshots.give_up()
    assert snapshots.persisted(write[0]) == write[1].seal


def test_slices_of_a_snapshot_that_is_restored_no_more_are_passed_over() -> None:
    source = StateMachine()
    source.apply(Index(1), encode(Put("colour", b'"red"')))
    held = Contents(member("a"), record("a").members[0].incarnation)
    writer = Snapshots(source, SnapshotBounds())
    writer.take(Index(1), Term(1), Membership(()))
    while (write := writer.next_write()) is not None:
        held.keep(write[1])
        writer.persisted(write[0])
    assert held.snapshot is not None

    state = StateMachine()
    snapshots = Snapshots(state, SnapshotBounds(slice_bytes=8))
    snapshots.restore(replace(held.snapshot, index=Index(0)))
    stale = snapshots.next_load()
    assert stale is not None
    assert snapshots.next_load() is None
    assert snapshots.loaded(stale, None) is None, "it is gone: a later one has taken its place"
    snapshots.restore(held.snapshot)
    assert snapshots.loaded(stale, b"something else") is None
    while (wanted := snapshots.next_load()) is not None:
        done = snapshots.loaded(wanted, held.read_snapshot(wanted.index, wanted.offset, wanted.max_bytes))
    assert done == held.snapshot
    assert state.document.get("colour") == (b'"red"', 1)
    assert snapshots.loaded(SliceWanted(Index(1), 0, 8), b"again") is None


def test_a_command_that_is_not_covered_is_answered() -> None:
    cluster = tight(*ABC)
    leader = cluster.elect()
    write_many(cluster, leader, 1, 30)
    token = cluster.submit(leader, put(31))
    assert isinstance(cluster[leader].resolved[token], Applied)
