"""Snapshots and compaction. The numbers in the names are those of the list of scenarios in `docs/consensus.md`."""

from zlib import crc32

import pytest
from raft_cluster import STEP, Cluster, Node

from raftq_k8s.raft.core import APPLIED_AT_ONCE
from raftq_k8s.raft.log import COMPACTION_STEP, ENTRY_BYTES
from raftq_k8s.raft.membership import AddLearner
from raftq_k8s.raft.messages import (
    AppendEntries,
    AppendResponse,
    Entry,
    EntryKind,
    Message,
    SnapshotChunk,
    SnapshotMark,
    SnapshotResponse,
)
from raftq_k8s.raft.output import ChunkWanted, EntriesWanted
from raftq_k8s.raft.persistence import Compaction
from raftq_k8s.raft.progress import Pace
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import NO_INDEX, Index, MemberId, Term

A, B, C = MemberId("a"), MemberId("b"), MemberId("c")
SMALL = Settings(kept_entries=0, tail_bytes=0, max_chunk_bytes=100)
"""Logs are compacted as far as a snapshot goes, and a snapshot takes several pieces."""
ON_VOLUME = Settings(tail_bytes=0, max_append_bytes=200)
"""Most of a log is on the volume only, and takes several appends."""


def propose(cluster: Cluster, name: str, count: int, word: str = "x") -> None:
    for number in range(count):
        cluster.propose(name, f"{word}{number}".encode())
        cluster.settle()
    cluster.advance(60)


def led_by(name: str, settings: Settings | None = None) -> Cluster:
    cluster = Cluster("a", "b", "c", settings=settings)
    cluster.elect(name)
    cluster.advance(100)
    return cluster


def without_c(settings: Settings = SMALL, *, count: int = 40) -> Cluster:
    """The leader a and the follower b have gone on without c."""
    cluster = led_by("a", settings)
    cluster.isolate("c")
    propose(cluster, "a", count)
    return cluster


def lagging(settings: Settings = SMALL, *, count: int = 40) -> Cluster:
    """They have also compacted what c lacks."""
    cluster = without_c(settings, count=count)
    for name in "ab":
        cluster.snapshot(name)
    assert cluster["a"].base_index > cluster["c"].last_index
    return cluster


def catching_up(settings: Settings = SMALL) -> Cluster:
    """And c, who lags, can be reached again."""
    cluster = lagging(settings)
    cluster.heal()
    return cluster


def tick(cluster: Cluster, milliseconds: float = STEP) -> None:
    """Time passes, and nothing arrives meanwhile."""
    cluster.now += milliseconds
    for node in cluster.live:
        node.core.tick(cluster.now)


def pace(cluster: Cluster, name: str, peer: str) -> Pace:
    role = cluster[name]._core.role
    assert isinstance(role, Leader)
    return role.progress[MemberId(peer)].pace


def is_chunk(message: Message) -> bool:
    return isinstance(message, SnapshotChunk)


def is_about_snapshots(message: Message) -> bool:
    return isinstance(message, SnapshotChunk | SnapshotResponse)


def until_chunk(cluster: Cluster) -> SnapshotChunk:
    """Let things go on until a piece is on the wire, and take it off."""
    for _ in range(400):
        for node in cluster.live:
            node.collect()
        cluster.sync()
        if chunks := cluster.take(is_chunk):
            assert isinstance(chunks[0], SnapshotChunk)
            return chunks[0]
        if not cluster.deliver():
            tick(cluster)
    raise AssertionError("no piece was sent")


def until_installed(cluster: Cluster) -> Node:
    """Let things go on until c has been sent the last piece; its disk has not ended that write."""
    node = cluster.nodes["c"]
    while not node.installed:
        node.sync()
        cluster.deliver([until_chunk(cluster)])
    return node


def append_of_the_rest(cluster: Cluster, commit: Index = NO_INDEX) -> AppendEntries:
    """All that a has applied and c lacks."""
    last = cluster["c"].last_index
    return AppendEntries(A, C, Term(1), 1, last, Term(1), commit, tuple(cluster.nodes["a"].applied[last:]))


def answers(cluster: Cluster, name: str = "c") -> list[SnapshotResponse]:
    cluster.nodes[name].collect()
    cluster.nodes[name].sync()
    return [m for m in cluster.take(lambda m: m.source == name) if isinstance(m, SnapshotResponse)]


def same_everywhere(cluster: Cluster) -> bool:
    return len({tuple(node.applied) for node in cluster.live}) == 1


# ------------------------------------------------------------------------------------------------------ a slow follower


def test_39_slow_node_snapshot() -> None:
    """A laggard catches up by snapshot, and replication goes on by appends."""
    cluster = catching_up()
    cluster.advance(500)
    assert cluster.nodes["c"].installed == 1
    assert cluster["c"].base_index == cluster["a"].base_index
    assert same_everywhere(cluster)
    assert pace(cluster, "a", "c") is Pace.REPLICATE
    propose(cluster, "a", 5, "after")
    assert same_everywhere(cluster)
    assert cluster.nodes["c"].installed == 1


def test_39_one_refusal_tells_that_a_snapshot_is_needed() -> None:
    cluster = lagging()
    propose(cluster, "a", 10)
    assert cluster["a"].last_index > cluster["a"].base_index + 5
    cluster.heal()
    refusals = 0
    while not cluster.take(is_chunk):
        tick(cluster)
        cluster.sync()
        batch = cluster.take(lambda message: not is_chunk(message))
        refusals += sum(isinstance(m, AppendResponse) and m.source == "c" and not m.success for m in batch)
        cluster.deliver(batch)
    assert refusals == 1


def test_39_pieces_go_one_at_a_time_and_each_waits_for_the_peers_disk() -> None:
    cluster = catching_up()
    chunk = until_chunk(cluster)
    assert (chunk.offset, len(chunk.data)) == (0, 100)
    cluster.nodes["c"].slow_disk = True
    cluster.deliver([chunk])
    cluster.advance(100)
    assert not cluster.take(is_about_snapshots)
    cluster.nodes["c"].slow_disk = False
    (answer,) = answers(cluster)
    assert (answer.offset, answer.installed) == (100, False)
    cluster.deliver([answer])
    assert until_chunk(cluster).offset == 100


def test_39_heartbeats_go_on_meanwhile_and_renew_lease_and_window() -> None:
    cluster = lagging()
    cluster.isolate("b")
    cluster.cut -= {("a", "c"), ("c", "a")}
    cluster.nodes["c"].slow_disk = True
    for _ in range(100):
        cluster.advance(cluster.settings.round_interval)
        until = cluster["a"].lease_until
        assert until is not None
        assert until > cluster.now
        assert cluster["c"].standing.leader == "a"
    assert pace(cluster, "a", "c") is Pace.SNAPSHOT
    assert cluster["a"].standing.term == 1


def test_39_a_piece_counts_as_a_leader_that_is_heard_and_its_answer_acknowledges_the_round() -> None:
    cluster = catching_up()
    chunk = until_chunk(cluster)
    cluster.now += 150
    cluster.deliver([chunk])
    core = cluster["c"]._core
    assert core.refuse_until == cluster.now + cluster.settings.window
    (answer,) = answers(cluster)
    assert (answer.round, answer.window) == (chunk.round, cluster.settings.window)
    leader = cluster["a"]._core.role
    assert isinstance(leader, Leader)
    leader.heard.pop(C)
    cluster.deliver([answer])
    assert leader.heard[C] == chunk.round


def test_39_a_piece_tells_of_transfers_that_were_given_up() -> None:
    cluster = lagging()
    cluster["a"].transfer(C, cluster.now)
    cluster["a"].cancel_transfer(cluster.now)
    cluster.heal()
    cluster.deliver([until_chunk(cluster)])
    assert cluster["c"]._core.cancelled == (1, 1)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_39_a_lost_piece_is_sent_again(lost: int) -> None:
    cluster = catching_up()
    for _ in range(lost):
        cluster.deliver([until_chunk(cluster)])
        cluster.settle_without(is_chunk)
    until_chunk(cluster)
    cluster.advance(2 * cluster.settings.window)
    assert same_everywhere(cluster)


def test_39_a_lost_answer_costs_one_piece() -> None:
    cluster = catching_up()
    cluster.deliver([until_chunk(cluster)])
    assert len(answers(cluster)) == 1
    again = until_chunk(cluster)
    assert again.offset == 0
    cluster.deliver([again])
    (answer,) = answers(cluster)
    assert answer.offset == 100
    cluster.deliver([answer])
    assert until_chunk(cluster).offset == 100


def test_39_who_is_silent_is_sent_no_piece_again() -> None:
    cluster = catching_up()
    until_chunk(cluster)
    cluster.isolate("c")
    cluster.nodes["a"].slow_disk = True
    cluster.advance(20 * cluster.settings.window)
    assert not cluster.nodes["a"].wanted
    cluster.nodes["a"].slow_disk = False
    cluster.heal()
    cluster.advance(500)
    assert same_everywhere(cluster)


def test_39_doubled_and_reordered_pieces_and_answers_do_no_harm() -> None:
    """Everything about the snapshot travels twice, and every earlier piece and answer comes once more, backwards."""
    cluster = catching_up()
    past: list[Message] = []
    sent = 0
    for _ in range(400):
        news = cluster.take(is_about_snapshots)
        sent += sum(map(is_chunk, news))
        past += news
        cluster.deliver([*news, *news, *reversed(past[-6:])])
        for node in cluster.live:
            node.collect()
        cluster.sync()
        if not news:
            cluster.deliver()
            tick(cluster)
    mark = cluster["a"].snapshot
    assert mark is not None
    assert same_everywhere(cluster)
    assert cluster.nodes["c"].installed == 1
    assert sent < 4 * mark.size / 100


def test_39_a_late_piece_of_an_old_term_is_refused_and_its_sender_learns_the_term() -> None:
    cluster = catching_up()
    late = until_chunk(cluster)
    cluster.nodes["a"].crash()
    cluster.elect("b")
    before = cluster["c"].standing, cluster["c"].last_index
    cluster.deliver([late])
    assert (cluster["c"].standing, cluster["c"].last_index) == before
    (answer,) = answers(cluster)
    assert (answer.term, answer.round, answer.window, answer.installed) == (2, 0, 0.0, False)
    cluster.nodes["a"].start()
    cluster["a"].step(answer, cluster.now)
    assert cluster["a"].standing.term == 2


def test_39_another_leader_goes_on_with_the_same_snapshot_where_the_last_one_stopped() -> None:
    """Replicas at one index make the same bytes."""
    cluster = lagging()
    assert cluster["a"].snapshot == cluster["b"].snapshot
    cluster.heal()
    for _ in range(3):
        cluster.deliver([until_chunk(cluster)])
    cluster.nodes["a"].crash()
    cluster.take()
    while cluster["b"].standing.role != "leader":
        cluster["c"].set_eligible(False, cluster.now)
        tick(cluster)
        cluster.sync()
        cluster.deliver(cluster.take(lambda m: not is_about_snapshots(m)))
    first = until_chunk(cluster)
    assert (first.source, first.offset) == (B, 0)
    cluster.deliver([first])
    second = until_chunk(cluster)
    assert second.offset == 300
    cluster.deliver([second])
    cluster.advance(1000)
    assert cluster.nodes["c"].applied == cluster.nodes["b"].applied
    assert cluster.nodes["c"].installed == 1


def test_39_another_leader_with_another_snapshot_begins_anew() -> None:
    cluster = without_c()
    earlier = cluster.snapshot("b")
    propose(cluster, "a", 10)
    later = cluster.snapshot("a")
    assert earlier.index < later.index
    cluster.heal()
    for _ in range(3):
        cluster.deliver([until_chunk(cluster)])
    cluster.nodes["a"].crash()
    cluster["c"].set_eligible(False, cluster.now)
    cluster.advance(3000)
    assert cluster["b"].standing.established
    assert cluster.nodes["c"].applied == cluster.nodes["b"].applied
    assert cluster["c"].snapshot == earlier


@pytest.mark.parametrize("kept", [0, 20])
def test_39_a_snapshot_that_is_replaced_in_the_middle_is_begun_anew_as_the_later_one(kept: int) -> None:
    """Whether the log still begins before the end of the first one, or not."""
    cluster = catching_up(Settings(kept_entries=kept, tail_bytes=0, max_chunk_bytes=100))
    cluster.deliver([until_chunk(cluster)])
    propose_held(cluster, 10)
    later = snapshot_held(cluster, "a")
    while (chunk := until_chunk(cluster)).mark != later:
        cluster.deliver([chunk])
    assert chunk.offset == 0
    cluster.deliver([chunk])
    cluster.advance(500)
    assert same_everywhere(cluster)
    assert cluster["c"].snapshot == later


def propose_held(cluster: Cluster, count: int) -> None:
    """While nothing about snapshots arrives anywhere."""
    for number in range(count):
        cluster.propose("a", b"held%d" % number)
        cluster.settle_without(is_about_snapshots)


def snapshot_held(cluster: Cluster, name: str) -> SnapshotMark:
    cluster.nodes[name].take_snapshot()
    cluster.settle_without(is_about_snapshots)
    mark = cluster[name].snapshot
    assert mark is not None
    return mark


def test_39_a_snapshot_that_the_volume_has_replaced_is_asked_for_again_when_the_core_has_heard_of_it() -> None:
    """Between the seal on the disk and the call that tells of it nothing goes round in circles."""
    cluster = catching_up()
    cluster["a"].tick(cluster.now)
    while not (wanted := [each for each in cluster.nodes["a"].wanted if isinstance(each, ChunkWanted)]):
        cluster.now += 5
        cluster["a"].tick(cluster.now)
        for node in cluster.live:
            node.collect()
        cluster.deliver()
    cluster.nodes["a"].wanted = []
    cluster["a"].snapshot_chunk(wanted[0], None, cluster.now)
    cluster.nodes["a"].collect()
    assert not cluster.nodes["a"].wanted
    cluster.advance(2 * cluster.settings.window)
    assert same_everywhere(cluster)


def test_39_a_follower_that_crashes_between_the_pieces_begins_anew() -> None:
    cluster = catching_up()
    for _ in range(3):
        cluster.deliver([until_chunk(cluster)])
        cluster.sync()
    cluster.nodes["c"].crash()
    cluster.nodes["c"].start()
    assert cluster["c"].last_index < cluster["a"].base_index
    cluster.advance(1000)
    assert same_everywhere(cluster)


def test_39_a_crash_before_the_last_write_ends_leaves_the_old_log() -> None:
    cluster = catching_up()
    before = list(cluster.nodes["c"].disk.entries)
    node = until_installed(cluster)
    assert node.core.base_index == cluster["a"].base_index
    node.crash()
    assert node.disk.entries == before
    node.start()
    assert node.core.base_index == 0
    cluster.advance(1000)
    assert same_everywhere(cluster)


def test_39_a_follower_restarts_with_the_snapshot_it_installed() -> None:
    cluster = catching_up()
    cluster.advance(500)
    node = cluster.nodes["c"]
    node.crash()
    node.start()
    node.collect()
    mark = cluster["a"].snapshot
    assert mark is not None
    assert node.core.commit_index == node.core.base_index == mark.index == node.core.applied_index
    assert [entry.index for entry in node.applied] == list(range(1, mark.index + 1))
    cluster.advance(500)
    assert same_everywhere(cluster)


def test_39_the_log_that_gives_way_holds_another_history() -> None:
    """c has entries of its own, past the end of the snapshot, that nobody else has: all of them go."""
    cluster = led_by("c", SMALL)
    cluster.isolate("c")
    cluster["c"].propose([b"lost%d" % number for number in range(90)], cluster.now)
    cluster.settle()
    lost = cluster["c"].last_index
    cluster.elect("a")
    propose(cluster, "a", 40)
    mark = cluster.snapshot("a")
    assert mark.index < lost
    cluster.heal()
    cluster.advance(500)
    assert cluster["c"].last_index == cluster["a"].last_index < lost
    assert same_everywhere(cluster)
    assert not [command for command in cluster.nodes["c"].commands if command.startswith(b"lost")]
    assert cluster.nodes["c"].disk.last_index == cluster["a"].last_index


def test_39_writes_under_way_at_an_installation_do_not_count_for_it() -> None:
    cluster = catching_up()
    before = cluster["c"]._core.log.stable
    node = until_installed(cluster)
    log = node.core._core.log
    assert log.stable == before
    assert log.last_index == node.core.commit_index == cluster["a"].base_index
    (receipt, write), *rest = node.disk.under_way
    assert write.compaction == Compaction(log.base, log.base_term, keep_rest=False)
    assert not rest
    assert not node.core.take_output().committed
    node.sync_one()
    assert log.stable == log.last_index
    assert receipt is not None


def test_21_append_aba_across_an_installation() -> None:
    """An entry of another history is on its way to the disk when a snapshot takes the place of the log; the same index
    and term come after it again. The end of the first write says nothing of the second entry."""
    cluster = Cluster("a", "b", "c")
    core = cluster["a"]
    old = Entry(Index(3), Term(1), EntryKind.COMMAND, b"old")
    before = [Entry(Index(index), Term(1), EntryKind.COMMAND) for index in (1, 2)]
    core.step(AppendEntries(B, A, Term(1), 1, Index(0), Term(0), Index(0), (*before, old)), cluster.now)
    first = core.take_output().receipt
    data = b"the state"
    mark = SnapshotMark(Index(2), Term(2), core.membership_at(Index(0)), len(data), crc32(data))
    core.step(SnapshotChunk(C, A, Term(2), 1, mark, 0, data), cluster.now)
    second = core.take_output()
    new = Entry(Index(3), Term(2), EntryKind.COMMAND, b"new")
    core.step(AppendEntries(C, A, Term(2), 1, Index(2), Term(2), Index(2), (new,)), cluster.now)
    third = core.take_output()
    assert first is not None
    assert second.receipt is not None
    assert third.receipt is not None
    core.persisted(first, cluster.now)
    assert core._core.log.stable == 0
    assert not [m for m in core.take_output().messages if m.term == 2]
    core.persisted(second.receipt, cluster.now)
    assert core._core.log.stable == 2
    output = core.take_output()
    assert output.install == mark
    (answer,) = output.messages
    assert isinstance(answer, SnapshotResponse)
    assert answer.installed
    core.persisted(third.receipt, cluster.now)
    assert core._core.log.stable == 3


def test_39_what_is_committed_after_a_snapshot_waits_for_its_state() -> None:
    cluster = catching_up()
    node = until_installed(cluster)
    index = node.core.base_index
    entry = Entry(Index(index + 1), Term(1), EntryKind.COMMAND, b"next")
    append = AppendEntries(A, C, Term(1), 1, index, Term(1), Index(index + 1), (entry,))
    node.core.step(append, cluster.now)
    output = node.core.take_output()
    assert (output.install, output.committed) == (None, ())
    for receipt in (node.disk.sync()[0], output.receipt):
        assert receipt is not None
        node.core.persisted(receipt, cluster.now)
    output = node.core.take_output()
    assert output.install is not None
    assert (output.install.index, output.committed) == (index, ())
    assert not node.core.take_output().committed
    node.core.applied(index)
    assert node.core.take_output().committed == (entry,)


def test_39_a_damaged_snapshot_is_thrown_away_and_begun_anew() -> None:
    cluster = catching_up()
    chunk = until_chunk(cluster)
    damaged = SnapshotChunk(
        chunk.source, chunk.destination, chunk.term, chunk.round, chunk.mark, 0, bytes(100), chunk.cancelled
    )
    cluster.deliver([damaged])
    cluster.advance(1000)
    assert cluster["c"].ignored["snapshot-damaged"] == 1
    assert cluster.nodes["c"].installed == 1
    assert same_everywhere(cluster)


# ---------------------------------------------------------------------------------------------------- never goes back


def test_40_stale_snapshot() -> None:
    """A snapshot of what is applied already comes late: it changes nothing, and is answered as what it is."""
    cluster = catching_up()
    late = until_chunk(cluster)
    cluster.deliver([late])
    cluster.advance(500)
    propose(cluster, "a", 5, "after")
    node = cluster.nodes["c"]
    before = node.core.commit_index, node.core.last_index, node.core.base_index, list(node.applied)
    cluster.take()
    cluster.deliver([late])
    (answer,) = answers(cluster)
    assert (answer.installed, answer.index) == (True, late.mark.index)
    assert (node.core.commit_index, node.core.last_index, node.core.base_index, node.applied) == before
    assert node.installed == 1


def test_40_whatever_term_a_mark_names_what_is_committed_stays() -> None:
    cluster = led_by("a")
    propose(cluster, "a", 5)
    mark = SnapshotMark(Index(3), Term(2), cluster["a"].membership_at(Index(0)), 4, crc32(b"lies"))
    before = list(cluster.nodes["c"].applied)
    cluster.deliver([SnapshotChunk(B, C, Term(2), 1, mark, 0, b"lies")])
    assert cluster.nodes["c"].installed == 0
    assert cluster.nodes["c"].applied == before


def test_40_a_log_that_holds_what_a_snapshot_covers_only_learns_that_it_is_committed() -> None:
    cluster = catching_up()
    chunk = until_chunk(cluster)
    node = cluster.nodes["c"]
    cluster.deliver([append_of_the_rest(cluster), chunk])
    assert node.core.commit_index == chunk.mark.index
    assert node.core.base_index == 0
    (answer,) = answers(cluster)
    assert answer.installed
    assert node.installed == 0
    assert node.applied == cluster.nodes["a"].applied[: chunk.mark.index]


def test_40_the_answer_that_nothing_is_lacking_waits_for_the_disk() -> None:
    cluster = catching_up()
    chunk = until_chunk(cluster)
    node = cluster.nodes["c"]
    node.slow_disk = True
    cluster.deliver([append_of_the_rest(cluster), chunk])
    assert not cluster.take(lambda m: isinstance(m, SnapshotResponse))
    node.slow_disk = False
    assert [answer.installed for answer in answers(cluster)] == [True]


def test_40_a_peer_that_turns_out_to_hold_it_is_sent_no_more_of_it() -> None:
    """The round's empty append ends where the snapshot does."""
    cluster = catching_up()
    until_chunk(cluster)
    index = cluster["a"].base_index
    cluster["a"].step(AppendResponse(C, A, Term(1), 1, True, index, Index(0), Term(0), 200.0), cluster.now)
    assert pace(cluster, "a", "c") is Pace.REPLICATE
    assert not cluster["a"].sends_snapshot(cluster.now)


def test_40_an_earlier_snapshot_of_the_same_leader_does_not_take_the_place_of_a_later_one() -> None:
    cluster = catching_up()
    early = until_chunk(cluster)
    mark = early.mark
    later = SnapshotMark(Index(mark.index + 5), mark.term, mark.membership, mark.size + 100, mark.checksum)
    begin = SnapshotChunk(A, C, Term(1), early.round, later, 0, bytes(100))
    cluster.deliver([begin])
    cluster.nodes["c"].sync()
    cluster.deliver([early])
    assert cluster["c"].ignored["late-snapshot-piece"] == 1
    assert cluster["c"]._core.receiving is not None
    assert cluster["c"]._core.receiving.mark == later


def test_40_an_acknowledgement_of_less_does_not_end_it() -> None:
    cluster = catching_up()
    chunk = until_chunk(cluster)
    short = Index(chunk.mark.index - 1)
    cluster["a"].step(AppendResponse(C, A, Term(1), 1, True, short, Index(0), Term(0), 200.0), cluster.now)
    assert pace(cluster, "a", "c") is Pace.SNAPSHOT


def test_40_a_piece_that_was_read_too_late_is_not_sent_as_another_one() -> None:
    cluster = catching_up()
    chunk = until_chunk(cluster)
    cluster.nodes["a"].slow_disk = True
    cluster.deliver([chunk])
    cluster.deliver(answers(cluster))
    assert cluster.nodes["a"].wanted == [ChunkWanted(C, chunk.mark.index, 100, 100)]
    cluster["a"].snapshot_chunk(ChunkWanted(C, chunk.mark.index, 0, 100), chunk.data, cluster.now)
    cluster["a"].snapshot_chunk(ChunkWanted(B, chunk.mark.index, 0, 100), chunk.data, cluster.now)
    cluster["a"].snapshot_chunk(ChunkWanted(MemberId("gone"), chunk.mark.index, 0, 100), chunk.data, cluster.now)
    cluster.nodes["a"].collect()
    assert not cluster.take(is_chunk)


def test_39_who_belongs_to_the_cluster_is_part_of_a_snapshot() -> None:
    cluster = led_by("a", SMALL)
    cluster.isolate("c")
    cluster.change("a", AddLearner(cluster.add("d").member))
    propose(cluster, "a", 20)
    mark = cluster.snapshot("a")
    assert mark.membership == cluster["a"].membership
    cluster.heal()
    cluster.advance(500)
    assert cluster.nodes["c"].installed == 1
    assert cluster["c"].membership == mark.membership
    assert "d" in cluster["c"]._core.peers


def test_40_a_late_piece_of_the_leader_that_went_on_with_a_snapshot_does_not_end_it() -> None:
    cluster = catching_up()
    chunk = until_chunk(cluster)
    mark = chunk.mark
    cluster.deliver([chunk])
    cluster.nodes["c"].sync()
    same = SnapshotChunk(B, C, Term(2), 1, mark, 0, chunk.data)
    earlier = SnapshotMark(Index(mark.index - 5), mark.term, mark.membership, mark.size, mark.checksum)
    cluster.deliver([same, SnapshotChunk(B, C, Term(2), 1, earlier, 0, chunk.data)])
    receiving = cluster["c"]._core.receiving
    assert receiving is not None
    assert (receiving.mark, receiving.size) == (mark, 100)


def test_40_a_snapshot_that_appends_have_overtaken_is_not_waited_for() -> None:
    cluster = catching_up()
    cluster.deliver([until_chunk(cluster)])
    node = cluster.nodes["c"]
    assert node.core.receives_snapshot
    cluster.deliver([append_of_the_rest(cluster, commit=cluster["a"].applied_index)])
    assert not node.core.receives_snapshot


def test_40_snapshots_taken_are_told_late_and_the_latest_counts() -> None:
    cluster = lagging()
    latest = cluster["a"].snapshot
    assert latest is not None
    earlier = SnapshotMark(Index(latest.index - 5), latest.term, latest.membership, 9, 9)
    cluster["a"].snapshot_taken(earlier)
    assert cluster["a"].snapshot == latest


def test_40_appends_below_the_base_are_acknowledged_and_change_nothing() -> None:
    """A leader that does not know yet how far this node is: all that it sends is committed, and so is the same."""
    cluster = catching_up()
    cluster.advance(500)
    node = cluster.nodes["c"]
    before = node.core.last_index, node.core.base_index
    entries = cluster.nodes["a"].applied[2:5]
    cluster.take()
    cluster.deliver([AppendEntries(A, C, Term(1), 1, Index(2), Term(1), Index(5), tuple(entries))])
    (answer,) = cluster.take(lambda m: isinstance(m, AppendResponse))
    assert isinstance(answer, AppendResponse)
    assert (answer.success, answer.index) == (True, 5)
    assert (node.core.last_index, node.core.base_index) == before


def test_40_a_piece_that_comes_before_the_last_one_is_written_is_passed_over() -> None:
    cluster = catching_up()
    chunk = until_chunk(cluster)
    node = cluster.nodes["c"]
    more = SnapshotChunk(A, C, Term(1), chunk.round, chunk.mark, 100, bytes(100))
    node.core.step(chunk, cluster.now)
    node.core.step(more, cluster.now)
    assert node.core.ignored["snapshot-piece-too-soon"] == 1
    (answer,) = answers(cluster)
    assert answer.offset == 100


# ---------------------------------------------------------------------------------------------------------- bounds


def test_41_bounded_log() -> None:
    """A snapshot lets go of what it covers, but for what is kept for peers that lack a little."""
    cluster = led_by("a", Settings(kept_entries=10))
    propose(cluster, "a", 40)
    mark = cluster.snapshot("a")
    assert cluster["a"].base_index == mark.index - 10
    assert cluster.nodes["a"].disk.entries[0].index == mark.index - 9
    propose(cluster, "a", 5)
    assert same_everywhere(cluster)
    assert cluster.snapshot("a").index == mark.index + 5
    assert cluster["a"].base_index == mark.index - 5


def test_41_a_long_log_is_compacted_by_several_writes() -> None:
    cluster = Cluster("a", settings=SMALL)
    cluster.elect("a")
    cluster["a"].propose([b""] * (2 * COMPACTION_STEP), cluster.now)
    cluster.settle()
    cluster.nodes["a"].take_snapshot()
    while cluster.nodes["a"].disk.under_way:
        cluster.nodes["a"].sync_one()
    bases = []
    while (base := cluster["a"].base_index) < cluster["a"].last_index:
        cluster.nodes["a"].collect()
        cluster.nodes["a"].sync_one()
        bases.append(cluster["a"].base_index - base)
    assert bases == [COMPACTION_STEP, COMPACTION_STEP, 1]


def test_41_nothing_is_compacted_that_the_disk_has_not_synced() -> None:
    """The others have committed it, and this leader has written the state down; its own log lags behind."""
    cluster = led_by("a", SMALL)
    propose(cluster, "a", 5)
    stable = cluster["a"]._core.log.stable
    cluster.nodes["a"].slow_disk = True
    propose(cluster, "a", 5)
    mark = SnapshotMark(cluster["a"].applied_index, Term(1), cluster["a"].membership_at(Index(0)), 9, 9)
    assert mark.index > stable
    cluster["a"].snapshot_taken(mark)
    write = cluster["a"].take_output().write
    assert write is None or write.compaction is None
    cluster["a"]._core.log.persisted(cluster.nodes["a"].disk.under_way[-1][0])
    write = cluster["a"].take_output().write
    assert write is not None
    assert write.compaction == Compaction(mark.index, Term(1), keep_rest=True)


def test_41_the_log_begins_later_only_when_that_is_written() -> None:
    cluster = led_by("a", SMALL)
    propose(cluster, "a", 5)
    cluster.nodes["a"].take_snapshot()
    cluster.nodes["a"].sync()
    cluster.nodes["a"].slow_disk = True
    cluster.nodes["a"].collect()
    assert cluster["a"].base_index == 0
    cluster.propose("a", b"beside it")
    cluster.nodes["a"].sync()
    assert cluster["a"].base_index > 0
    assert cluster.nodes["a"].disk.base == cluster["a"].base_index


def test_41_bytes_in_flight_are_bounded() -> None:
    cluster = led_by("a", Settings(max_inflight_bytes=1000, max_append_bytes=400))
    for _ in range(50):
        cluster.propose("a", bytes(100))
    sent = [m for m in cluster.take(lambda m: m.destination == "b") if isinstance(m, AppendEntries)]
    size = sum(len(entry.command) + ENTRY_BYTES for append in sent for entry in append.entries)
    assert 1000 - 100 - ENTRY_BYTES < size <= 1000 + 100 + ENTRY_BYTES
    cluster.advance(500)
    assert cluster["b"].commit_index == cluster["a"].last_index


def test_41_what_is_applied_is_let_go_as_fast_however_much_is_committed_at_once() -> None:
    core = Cluster("a", settings=Settings(tail_bytes=0)).elect("a")
    at_once = []
    for _ in range(5):
        core.propose([b"x"] * 5 * APPLIED_AT_ONCE, 0)
        receipt = core.take_output().receipt
        assert receipt is not None
        core.persisted(receipt, 0)
        while committed := core.take_output().committed:
            at_once.append(len(committed))
            core.applied(committed[-1].index)
    assert max(at_once) == APPLIED_AT_ONCE
    assert core.applied_index == core.last_index
    assert core.last_index - core._core.log.oldest < 10 * APPLIED_AT_ONCE


def test_41_of_a_long_log_no_more_is_sent_at_once_than_may_be_in_flight() -> None:
    cluster = led_by("a", Settings(max_inflight_bytes=1000, max_append_bytes=900))
    cluster.propose("a", *[bytes(100)] * 50)
    sent = [m for m in cluster.take(lambda m: m.destination == "b") if isinstance(m, AppendEntries)]
    assert [len(append.entries) for append in sent] == [7, 1, 1]


def test_41_a_command_larger_than_all_bounds_travels_alone() -> None:
    cluster = led_by("a", Settings(max_inflight_bytes=10, max_append_bytes=10, tail_bytes=10))
    propose(cluster, "a", 3, "x" * 100)
    assert same_everywhere(cluster)
    assert len(cluster.nodes["b"].commands) == 3


# --------------------------------------------------------------------------------------------- entries on the volume


def test_a_peer_is_sent_what_only_the_volume_holds() -> None:
    cluster = without_c(ON_VOLUME)
    assert cluster["a"]._core.log.oldest > cluster["c"].last_index + 1
    cluster.heal()
    cluster.advance(500)
    assert same_everywhere(cluster)
    assert cluster.nodes["c"].installed == 0


def test_one_load_is_under_way_a_peer_and_serves_whoever_lacks_the_same() -> None:
    cluster = Cluster("a", "b", "c", "d", "e", settings=ON_VOLUME)
    cluster.elect("a")
    cluster.advance(100)
    cluster.isolate("d")
    cluster.isolate("e")
    propose(cluster, "a", 60)
    cluster.nodes["a"].slow_disk = True
    cluster.heal()
    cluster.advance(200)
    assert len(cluster.nodes["a"].wanted) == 1
    cluster.nodes["a"].slow_disk = False
    cluster.advance(500)
    assert same_everywhere(cluster)


def with_load_under_way(settings: Settings = ON_VOLUME) -> tuple[Cluster, EntriesWanted]:
    """The leader a has asked its volume for entries that c lacks, and is not answered."""
    cluster = without_c(settings)
    cluster.heal()
    node = cluster.nodes["a"]
    while not node.wanted:
        cluster.now += 5
        node.core.tick(cluster.now)
        node.collect()
        cluster.deliver()
        for other in "bc":
            cluster.nodes[other].sync()
    (wanted,), node.wanted = node.wanted, []
    assert isinstance(wanted, EntriesWanted)
    return cluster, wanted


def test_no_other_load_is_begun_for_a_peer_whatever_leaves_memory_meanwhile() -> None:
    cluster, wanted = with_load_under_way()
    oldest = cluster["a"]._core.log.oldest
    propose(cluster, "a", 5)
    assert cluster["a"]._core.log.oldest > oldest
    leader = cluster["a"]._core.role
    assert isinstance(leader, Leader)
    assert leader.progress[C].loading == wanted
    entries = cluster.nodes["a"].disk.load(wanted.first, wanted.last, wanted.max_bytes)
    cluster["a"].entries_loaded(wanted, entries, cluster.now)
    cluster.advance(500)
    assert same_everywhere(cluster)


def test_loaded_entries_that_the_peer_holds_by_now_are_not_sent() -> None:
    cluster, wanted = with_load_under_way()
    entries = cluster.nodes["a"].disk.load(wanted.first, wanted.last, wanted.max_bytes)
    held = Index(wanted.first + 2)
    cluster["a"].step(AppendResponse(C, A, Term(1), 1, True, held, Index(0), Term(0), 200.0), cluster.now)
    cluster["a"].entries_loaded(wanted, entries, cluster.now)
    cluster.nodes["a"].collect()
    assert not cluster.take(lambda m: isinstance(m, AppendEntries) and len(m.entries) > 0)
    assert cluster.nodes["a"].wanted == [EntriesWanted(Index(held + 1), wanted.last, 200)]


def test_entries_that_are_compacted_while_they_are_loaded_are_sent_as_a_snapshot() -> None:
    cluster, wanted = with_load_under_way(SMALL)
    node = cluster.nodes["a"]
    held = node.disk.load(wanted.first, wanted.last, wanted.max_bytes)
    cluster.snapshot("a")
    assert node.core.base_index >= wanted.first
    node.core.entries_loaded(wanted, held, cluster.now)
    node.collect()
    assert not cluster.take(lambda m: m.destination == "c" and isinstance(m, AppendEntries) and len(m.entries) > 0)
    cluster.advance(500)
    assert same_everywhere(cluster)
    assert cluster.nodes["c"].installed == 1


def test_a_load_that_finds_nothing_is_asked_for_with_the_next_round_only() -> None:
    cluster, wanted = with_load_under_way()
    node = cluster.nodes["a"]
    node.core.entries_loaded(wanted, (), cluster.now)
    node.collect()
    assert not node.wanted
    cluster.advance(500)
    assert same_everywhere(cluster)


def test_what_was_loaded_for_a_leader_that_is_none_any_more_is_dropped() -> None:
    cluster, wanted = with_load_under_way()
    node = cluster.nodes["a"]
    node.core.observe_term(Term(9), cluster.now)
    node.core.take_output()
    node.core.entries_loaded(wanted, node.disk.load(wanted.first, wanted.last, 1 << 20), cluster.now)
    assert not [m for m in node.core.take_output().messages if isinstance(m, AppendEntries)]


def test_loaded_entries_that_were_overwritten_meanwhile_are_not_sent() -> None:
    """After a start the volume alone holds entries that are not committed. A leader asks for some, is deposed, has them
    replaced, and leads again; then the first answer comes."""
    cluster = Cluster("a", "b", "c", settings=Settings(tail_bytes=0))
    for name, term in (("a", 1), ("b", 1), ("c", 1)):
        node = cluster.nodes[name]
        node.crash()
        count = 8 if name == "a" else 1
        node.disk.entries = [Entry(Index(i), Term(term), EntryKind.COMMAND, b"old%d" % i) for i in range(1, count + 1)]
        node.start()
    core = cluster["a"]._core
    assert core.log.oldest == 8
    old = cluster.nodes["a"].disk.load(Index(2), Index(7), 1 << 20)
    core.take_entries((Entry(Index(2), Term(2), EntryKind.COMMAND, b"new"),))
    wanted = EntriesWanted(Index(2), Index(7), 1 << 20)
    assert core.entries_loaded(wanted, old) == ()
    assert core.log.oldest == 2


def test_of_what_was_loaded_for_a_peer_only_committed_entries_are_applied() -> None:
    """After a start a leader loads for a peer what it has not applied itself, and not committed; then another one
    leads, and has most of it replaced."""
    cluster = Cluster("a", "b", "c", settings=Settings(tail_bytes=0))
    node = cluster.nodes["a"]
    node.crash()
    old = [Entry(Index(i), Term(1), EntryKind.COMMAND, b"old%d" % i) for i in range(1, 9)]
    node.disk.entries = list(old)
    node.start()
    node.core.entries_loaded(EntriesWanted(Index(1), Index(7), 1 << 20), tuple(old[:7]), cluster.now)
    new = Entry(Index(2), Term(2), EntryKind.COMMAND, b"new")
    cluster.deliver([AppendEntries(B, A, Term(2), 1, Index(1), Term(1), Index(2), (new,))])
    cluster.settle()
    assert node.applied == [old[0], new]


def test_after_a_start_committed_entries_are_loaded_and_applied_in_order() -> None:
    cluster = led_by("a", Settings(tail_bytes=0, max_append_bytes=100))
    propose(cluster, "a", 30)
    applied = list(cluster.nodes["a"].applied)
    for node in cluster.nodes.values():
        node.crash()
    for node in cluster.nodes.values():
        node.start()
        assert node.core._core.log.oldest == node.core.last_index
    cluster.elect("b")
    cluster.advance(100)
    for node in cluster.nodes.values():
        assert node.applied[: len(applied)] == applied
    assert same_everywhere(cluster)


def test_a_log_that_begins_after_its_snapshot_is_refused() -> None:
    cluster = lagging()
    node = cluster.nodes["a"]
    node.crash()
    node.disk.snapshot = None
    with pytest.raises(ValueError, match="no snapshot covers that"):
        node.start()


def test_no_other_snapshot_is_begun_while_one_gets_on() -> None:
    cluster = lagging(Settings(kept_entries=0, tail_bytes=0, max_chunk_bytes=20))
    assert not cluster["a"].sends_snapshot(cluster.now)
    cluster.heal()
    cluster.deliver([until_chunk(cluster)])
    cluster.nodes["c"].collect()
    assert cluster["a"].sends_snapshot(cluster.now)
    assert cluster["c"].receives_snapshot
    assert not cluster["c"].sends_snapshot(cluster.now)
    for _ in range(8):
        for _ in range(4):
            tick(cluster, 0.05 * cluster.settings.maximum_election)
            cluster.settle_without(is_about_snapshots)
        cluster.deliver(answers(cluster))
        assert cluster["a"].sends_snapshot(cluster.now)
        cluster.deliver([until_chunk(cluster)])
    cluster.isolate("c")
    cluster.advance(2 * cluster.settings.maximum_election)
    assert not cluster["a"].sends_snapshot(cluster.now)
    cluster.heal()
    cluster.advance(1000)
    assert not cluster["c"].receives_snapshot
    assert same_everywhere(cluster)


def test_a_leader_hears_no_pieces_of_its_own_term() -> None:
    cluster = lagging()
    mark = cluster["a"].snapshot
    assert mark is not None
    cluster["a"].step(SnapshotChunk(B, A, Term(1), 1, mark, 0, bytes(mark.size)), cluster.now)
    assert cluster["a"].ignored["impossible"] == 1
    assert cluster["a"].standing.established


def test_answers_that_cannot_be_are_counted_and_late_ones_change_nothing() -> None:
    cluster = catching_up()
    chunk = until_chunk(cluster)
    index, last = chunk.mark.index, cluster["a"].last_index
    core = cluster["a"]
    core.step(SnapshotResponse(C, A, Term(1), 10**6, index, 100, False, 200.0), cluster.now)
    core.step(SnapshotResponse(C, A, Term(1), 1, Index(last + 1), 100, True, 200.0), cluster.now)
    core.step(SnapshotResponse(C, A, Term(1), 1, index, chunk.mark.size, False, 200.0), cluster.now)
    assert core.ignored["impossible"] == 3
    core.step(SnapshotResponse(C, A, Term(1), 1, Index(index - 1), 100, False, 200.0), cluster.now)
    core.step(SnapshotResponse(C, A, Term(1), 1, index, 0, False, 200.0), cluster.now)
    core.step(SnapshotResponse(B, A, Term(1), 1, index, 100, False, 200.0), cluster.now)
    assert core.ignored["late-snapshot-response"] == 3
    assert pace(cluster, "a", "c") is Pace.SNAPSHOT
    core.step(SnapshotResponse(C, A, Term(9), 1, index, 0, False, 200.0), cluster.now)
    assert core.standing.term == 9
    core.step(SnapshotResponse(C, A, Term(1), 1, index, 100, False, 200.0), cluster.now)
    assert core.ignored["late-snapshot-response"] == 4
    core.snapshot_chunk(ChunkWanted(C, index, 0, 100), b"late", cluster.now)
    assert not [m for m in core.take_output().messages if is_chunk(m)]


MARK = SnapshotMark(Index(5), Term(1), lagging(count=3)["a"].membership_at(Index(99)), 10, 7)


@pytest.mark.parametrize(
    "message",
    [
        SnapshotChunk(B, A, Term(1), -1, MARK, 0, b"x"),
        SnapshotChunk(B, A, Term(1), 1, MARK, -1, b"x"),
        SnapshotChunk(B, A, Term(1), 1, MARK, 0, b""),
        SnapshotChunk(B, A, Term(1), 1, MARK, 10, b"x"),
        SnapshotChunk(B, A, Term(1), 1, SnapshotMark(Index(0), Term(1), MARK.membership, 10, 7), 0, b"x"),
        SnapshotChunk(B, A, Term(1), 1, SnapshotMark(Index(1 << 62), Term(1), MARK.membership, 10, 7), 0, b"x"),
        SnapshotChunk(B, A, Term(1), 1, SnapshotMark(Index(5), Term(2), MARK.membership, 10, 7), 0, b"x"),
        SnapshotChunk(B, A, Term(1), 1, SnapshotMark(Index(5), Term(0), MARK.membership, 10, 7), 0, b"x"),
        SnapshotChunk(B, A, Term(1), 1, SnapshotMark(Index(5), Term(1), MARK.membership, 10, 1 << 32), 0, b"x"),
        SnapshotResponse(B, A, Term(1), 1, Index(-1), 0, False, 1.0),
        SnapshotResponse(B, A, Term(1), 1, Index(1), -1, False, 1.0),
        SnapshotResponse(B, A, Term(1), 1, Index(1), 0, False, float("nan")),
    ],
    ids=str,
)
def test_what_no_correct_peer_says_of_snapshots_is_counted(message: Message) -> None:
    cluster = Cluster("a", "b", "c")
    cluster["a"].step(message, cluster.now)
    assert cluster["a"].ignored == {"impossible": 1}
    assert cluster["a"].standing.term == 0


def test_a_state_without_bytes_is_a_snapshot_too() -> None:
    cluster = Cluster("a", "b", "c")
    mark = SnapshotMark(MARK.index, MARK.term, MARK.membership, 0, 0)
    cluster["a"].step(SnapshotChunk(B, A, Term(1), 1, mark, 0, b""), cluster.now)
    write = cluster["a"].take_output().write
    assert write is not None
    assert write.seal == mark
