"""Replication. The numbers in the names are those of the list of scenarios in `docs/consensus.md`."""

import pytest
from raft_cluster import Cluster

from raftq_k8s.raft.consensus import UNSYNCED_LIMIT, NotLeader, Overloaded
from raftq_k8s.raft.log import ENTRY_BYTES
from raftq_k8s.raft.messages import AppendEntries, AppendResponse, Entry, EntryKind, Message, VoteRequest, VoteResponse
from raftq_k8s.raft.replication import COMMIT_NEWS
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import Incarnation, Index, MemberId, Term

A, B, C = MemberId("a"), MemberId("b"), MemberId("c")


def entry(index: int, term: int, command: bytes = b"") -> Entry:
    return Entry(Index(index), Term(term), EntryKind.COMMAND, command)


def with_logs(logs: dict[str, list[int]], term: int, **options: object) -> Cluster:
    """Nodes whose synced logs hold entries of the given terms, in order, all of them having seen `term`."""
    cluster = Cluster(*logs, **options)  # type: ignore[arg-type]
    for name, terms in logs.items():
        node = cluster.nodes[name]
        node.crash()
        node.disk.entries = [entry(i, t, b"%d@%d" % (i, t)) for i, t in enumerate(terms, start=1)]
        node.start()
        node.core.observe_term(Term(term), cluster.now)
        node.collect()
        node.sync()
    return cluster


def terms_of(cluster: Cluster, name: str) -> list[int]:
    core = cluster[name]
    return [entry.term for entry in core._core.log.between(Index(1), core.last_index)]


def append(
    source: str, destination: str, term: int, previous: tuple[int, int], *entries: Entry, commit: int = 0
) -> AppendEntries:
    index, previous_term = previous
    return AppendEntries(
        MemberId(source),
        MemberId(destination),
        Term(term),
        1,
        Index(index),
        Term(previous_term),
        Index(commit),
        entries,
    )


def responses(cluster: Cluster, name: str) -> list[AppendResponse]:
    cluster.nodes[name].collect()
    cluster.nodes[name].sync()
    return [m for m in cluster.take(lambda m: m.source == name) if isinstance(m, AppendResponse)]


def test_09_commit_preceding() -> None:
    """An entry of this term, once a majority holds it, commits everything before it."""
    cluster = with_logs({"a": [1, 2, 2], "b": [1], "c": []}, 2)
    cluster.elect("a")
    assert cluster.nodes["a"].commands == [b"1@1", b"2@2", b"3@2"]
    assert cluster["a"].commit_index == 4


def test_10_only_current_term() -> None:
    """Figure 8: an entry of an older term is not committed by counting, however many hold it."""
    cluster = with_logs({"a": [1, 2], "b": [1, 2], "c": [1]}, 3)
    for name in "bc":
        cluster[name].set_eligible(False, cluster.now)
    while cluster["a"].standing.role != "leader":
        cluster.now += 5
        cluster["a"].tick(cluster.now)
        for node in cluster.live:
            node.collect()
            node.sync()
        cluster.deliver(cluster.take(lambda m: isinstance(m, VoteRequest | VoteResponse)))
    # Both peers say that they hold the entry of term 2, and nobody holds the one of this term.
    for peer in (B, C):
        answer = AppendResponse(peer, A, Term(4), 1, True, Index(2), Index(0), Term(0), 200.0)
        cluster["a"].step(answer, cluster.now)
    assert cluster["a"].commit_index == 0
    cluster["a"].step(AppendResponse(B, A, Term(4), 1, True, Index(3), Index(0), Term(0), 200.0), cluster.now)
    cluster.nodes["a"].sync()
    assert cluster["a"].commit_index == 3


@pytest.mark.parametrize(
    ("previous", "success", "hint"),
    [
        ((0, 0), True, None),
        ((3, 2), True, None),
        ((6, 4), False, (5, 3)),
        ((5, 4), False, (5, 3)),
        ((4, 2), False, (3, 2)),
        ((9, 2), False, (3, 2)),
        ((9, 1), False, (1, 1)),
    ],
)
def test_11_check_append(previous: tuple[int, int], success: bool, hint: tuple[int, int] | None) -> None:
    """The follower holds terms 1 2 2 3 3. A refusal names the last position that can match: a whole term is skipped."""
    cluster = with_logs({"a": [1, 2, 2, 3, 3], "b": [], "c": []}, 4)
    cluster["a"].step(append("b", "a", 5, previous), cluster.now)
    (response,) = responses(cluster, "a")
    assert response.success is success
    assert response.index == previous[0]
    if hint:
        assert (response.hint_index, response.hint_term) == hint


@pytest.mark.parametrize(
    ("previous", "entries", "after"),
    [
        ((0, 0), [(1, 1)], [1, 2, 2]),
        ((1, 1), [(2, 2), (3, 2)], [1, 2, 2]),
        ((1, 1), [(2, 2), (3, 2), (4, 2)], [1, 2, 2, 2]),
        ((1, 1), [(2, 3)], [1, 3]),
        ((2, 2), [(3, 3), (4, 3)], [1, 2, 3, 3]),
        ((2, 2), [], [1, 2, 2]),
    ],
)
def test_12_append_truncates(previous: tuple[int, int], entries: list[tuple[int, int]], after: list[int]) -> None:
    """Only a real conflict removes anything: an old, shorter append leaves what follows alone."""
    cluster = with_logs({"a": [1, 2, 2], "b": [], "c": []}, 2)
    news = [entry(index, term) for index, term in entries]
    cluster["a"].step(append("b", "a", 3, previous, *news), cluster.now)
    assert terms_of(cluster, "a") == after
    cluster.nodes["a"].collect()
    cluster.nodes["a"].sync()
    assert [e.term for e in cluster.nodes["a"].disk.entries] == after


def test_12_only_what_agrees_is_committed() -> None:
    """The leader has committed further than this append proves the follower's log to be the leader's."""
    cluster = with_logs({"a": [1, 1, 1], "b": [], "c": []}, 1)
    cluster["a"].step(append("b", "a", 3, (1, 1), commit=3), cluster.now)
    assert cluster["a"].commit_index == 1
    cluster["a"].step(append("b", "a", 3, (1, 1), entry(2, 3), commit=3), cluster.now)
    assert cluster["a"].commit_index == 2


FIGURE_7 = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]


@pytest.mark.parametrize(
    "log",
    [
        [1, 1, 1, 4, 4, 5, 5, 6, 6],
        [1, 1, 1, 4],
        [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        [1, 1, 1, 4, 4, 4, 4],
        [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ],
)
def test_13_leader_sync_logs(log: list[int]) -> None:
    cluster = with_logs({"a": FIGURE_7, "b": log, "c": FIGURE_7}, 7)
    cluster.elect("a")
    cluster.advance(200)
    assert terms_of(cluster, "b") == terms_of(cluster, "a") == [*FIGURE_7, cluster["a"].standing.term]


def test_13_a_whole_term_is_skipped_at_a_time() -> None:
    """A log of 500 entries of ten useless terms is repaired in a few exchanges, not five hundred."""
    useless = [1] + [term for term in range(2, 12) for _ in range(50)]
    cluster = with_logs({"a": [1] + [12] * 300, "b": useless, "c": [1] + [12] * 300}, 12)
    cluster.elect("a")
    cluster.advance(100)
    assert terms_of(cluster, "b") == terms_of(cluster, "a")
    assert cluster["a"]._core.role.round < 50


def test_14_overwrite_newer_logs() -> None:
    """a and c never saw b's uncommitted entries of term 3; their leader, elected above it, replaces them."""
    cluster = with_logs({"a": [1, 1], "b": [1, 3, 3, 3], "c": [1, 1]}, 3)
    cluster.nodes["b"].crash()
    cluster.elect("a")
    cluster.propose("a", b"kept")
    cluster.settle()
    cluster.nodes["b"].start()
    cluster.advance(300)
    assert terms_of(cluster, "b") == terms_of(cluster, "a") == [1, 1, 4, 4]
    assert cluster.nodes["b"].commands[-1] == b"kept"


def test_15_no_commit_before_noop() -> None:
    cluster = with_logs({"a": [1, 1], "b": [1, 1], "c": [1, 1]}, 1)
    for name in "bc":
        cluster[name].set_eligible(False, cluster.now)
    while cluster["a"].standing.role != "leader":
        cluster.now += 5
        cluster["a"].tick(cluster.now)
        for node in cluster.live:
            node.collect()
            node.sync()
        cluster.deliver(cluster.take(lambda m: not isinstance(m, AppendEntries)))
    assert cluster["a"].commit_index == 0
    assert not cluster["a"].standing.established
    cluster.nodes["a"].collect()
    cluster.nodes["a"].sync()
    cluster.deliver()
    cluster.settle()
    assert cluster["a"].standing.established
    assert cluster["a"].commit_index == 3


def test_17_old_messages() -> None:
    """An append of a deposed leader arrives after the new one's: it changes nothing, and its sender learns the term."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.propose("a", b"old")
    delayed = cluster.take(lambda m: m.destination == "c")
    cluster.nodes["a"].crash()
    cluster.elect("b")
    cluster.propose("b", b"new")
    cluster.settle()
    cluster.advance(100)
    before = terms_of(cluster, "c"), cluster["c"].standing
    cluster.deliver(delayed)
    assert (terms_of(cluster, "c"), cluster["c"].standing) == before
    (answer,) = responses(cluster, "c")
    assert (answer.success, answer.term) == (False, cluster["b"].standing.term)


def test_18_reordered_messages() -> None:
    """Appends arrive backwards and twice: everything acknowledged stays, and all of it arrives in the end."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.advance(100)
    for number in range(8):
        cluster.propose("a", b"%d" % number)
    messages = cluster.take(lambda m: m.destination == "b")
    held = 0
    for message in [*reversed(messages), *messages, *reversed(messages)]:
        cluster.deliver([message])
        for response in responses(cluster, "b"):
            if response.success:
                held = max(held, response.index)
                cluster.deliver([response])
        assert cluster["b"].last_index >= held
    cluster.advance(300)
    assert cluster.nodes["b"].commands == [b"%d" % number for number in range(8)]


def test_18_lost_appends_are_sent_again() -> None:
    cluster = Cluster("a", "b", "c", settings=Settings(max_inflight=2))
    cluster.elect("a")
    cluster.advance(100)
    for number in range(6):
        cluster.propose("a", b"%d" % number)
    cluster.take(lambda m: m.destination == "b")
    cluster.advance(300)
    assert cluster.nodes["b"].commands == [b"%d" % number for number in range(6)]


def test_20_stale_disk_completion() -> None:
    """A leader's write ends after it was deposed, and its entry overwritten: it does not count for what replaced it."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    node = cluster.nodes["a"]
    node.slow_disk = True
    cluster.propose("a", b"lost")
    old_receipt = node.disk.under_way[-1][0]
    node.core.step(append("b", "a", 2, (1, 1), entry(2, 2, b"kept"), commit=2), cluster.now)
    node.collect()
    node.core.persisted(old_receipt, cluster.now)
    assert node.core._core.log.stable == 1
    assert not [m for m in node.core.take_output().messages if isinstance(m, AppendResponse)]
    node.slow_disk = False
    node.sync()
    assert node.core._core.log.stable == 2
    assert [entry.command for entry in node.disk.entries] == [b"", b"kept"]


def test_20_a_leader_whose_disk_hangs_serves_by_the_disks_of_the_others() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.nodes["a"].slow_disk = True
    cluster.propose("a", b"x")
    cluster.settle()
    assert cluster.nodes["a"].commands == [b"x"]
    assert cluster["a"]._core.log.stable == 1
    cluster["a"].propose([b""] * UNSYNCED_LIMIT, cluster.now)
    with pytest.raises(Overloaded):
        cluster["a"].propose([b"y"], cluster.now)


def test_20_a_leader_counts_itself_only_when_its_disk_has_synced() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.nodes["c"].crash()
    cluster.nodes["a"].slow_disk = True
    term, index = cluster.propose("a", b"x")
    cluster.settle()
    assert term == 1
    assert cluster["a"].commit_index == index - 1
    cluster.nodes["a"].slow_disk = False
    cluster.settle()
    assert cluster["a"].commit_index == index


def test_21_append_aba() -> None:
    """Entry 2 is written in term 1, truncated, and written again in term 3 as it was: the first write's end says
    nothing."""
    cluster = Cluster("a", "b", "c")
    core = cluster["a"]
    receipts = []
    for message in (
        append("b", "a", 1, (0, 0), entry(1, 1), entry(2, 1, b"x")),
        append("c", "a", 2, (1, 1), entry(2, 2, b"y")),
        append("b", "a", 3, (1, 1), entry(2, 1, b"x")),
    ):
        core.step(message, cluster.now)
        output = core.take_output()
        assert output.receipt is not None
        receipts.append(output.receipt)
    core.persisted(receipts[0], cluster.now)
    assert core._core.log.stable == 1
    core.persisted(receipts[1], cluster.now)
    assert core._core.log.stable == 1
    core.persisted(receipts[2], cluster.now)
    assert core._core.log.stable == 2
    (final,) = [m for m in core.take_output().messages if isinstance(m, AppendResponse) and m.term == 3]
    assert final.index == 2


def test_followers_hear_of_a_commit_at_once_and_not_with_the_next_heartbeat() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.advance(cluster.settings.round_interval)
    _, index = cluster.propose("a", b"x")
    cluster.settle()
    cluster.advance(COMMIT_NEWS)
    assert {node.core.commit_index for node in cluster.live} == {index}


def test_an_acknowledgement_leaves_only_after_its_entries_are_synced() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.nodes["b"].slow_disk = True
    _, index = cluster.propose("a", b"x")
    cluster.nodes["c"].crash()
    cluster.settle()
    assert cluster["a"].commit_index == index - 1
    cluster.nodes["b"].slow_disk = False
    cluster.settle()
    assert cluster["a"].commit_index == index


def test_a_slow_disk_of_a_follower_does_not_end_the_lease() -> None:
    """Heartbeats are answered at once, whatever the disk is doing, and claim only what is synced."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.nodes["b"].slow_disk = cluster.nodes["c"].slow_disk = True
    for number in range(20):
        cluster.propose("a", b"%d" % number)
        cluster.advance(100)
    assert cluster["a"].standing.established
    assert cluster["a"].standing.term == 1
    assert cluster["a"].commit_index < cluster["a"].last_index
    cluster.nodes["b"].slow_disk = cluster.nodes["c"].slow_disk = False
    cluster.advance(200)
    assert cluster["a"].commit_index == cluster["a"].last_index


def test_42_a_stalled_peer_starts_again_by_the_next_round() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.advance(100)
    cluster.isolate("b")
    for number in range(100):
        cluster.propose("a", b"%d" % number)
        cluster.settle()
    cluster.heal()
    cluster.advance(4 * cluster.settings.round_interval)
    assert cluster["b"].last_index == cluster["a"].last_index


def test_43_single_node_commits_only_what_is_durable() -> None:
    cluster = Cluster("a")
    cluster.elect("a")
    cluster.nodes["a"].slow_disk = True
    _, index = cluster.propose("a", b"x")
    cluster.settle()
    assert cluster["a"].commit_index == index - 1
    assert cluster["a"].standing.role == "leader"
    cluster.nodes["a"].slow_disk = False
    cluster.settle()
    assert cluster["a"].commit_index == index


def test_45_full_restart() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    for number in range(5):
        cluster.propose("a", b"%d" % number)
        cluster.settle()
    for node in cluster.nodes.values():
        node.crash()
    for node in cluster.nodes.values():
        node.start()
    cluster.advance(3 * cluster.settings.maximum_election)
    for node in cluster.nodes.values():
        assert node.commands == [b"%d" % number for number in range(5)]


def test_46_bridge() -> None:
    """a and c do not reach each other, b reaches both: one leader, and it stays."""
    cluster = Cluster("a", "b", "c")
    cluster.cut = {("a", "c"), ("c", "a")}
    cluster.advance(5 * cluster.settings.maximum_election)
    assert cluster.leader() is not None
    term = cluster[cluster.leader() or ""].standing.term
    cluster.advance(20 * cluster.settings.maximum_election)
    assert cluster[cluster.leader() or ""].standing.term == term


def test_47_asymmetric() -> None:
    """A node that can send and not receive does no harm; a leader that cannot receive resigns."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.cut = {("a", "c"), ("b", "c")}
    cluster.advance(20 * cluster.settings.maximum_election)
    assert cluster["a"].standing.established
    assert cluster["a"].standing.term == 1
    cluster.cut = {("b", "a"), ("c", "a")}
    cluster.advance(10 * cluster.settings.maximum_election)
    assert cluster["a"].standing.role != "leader"
    assert cluster.leader() in ("b", "c")


def test_62_write_failed() -> None:
    """A write that never ends is never acknowledged; the node, built again from its disk, knows nothing of it."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.nodes["b"].slow_disk = True
    cluster.propose("a", b"x")
    cluster.nodes["c"].crash()
    cluster.settle()
    before = cluster["a"]._core.role.progress["b"].match
    cluster.nodes["b"].crash()
    cluster.nodes["b"].slow_disk = False
    cluster.nodes["b"].start()
    assert cluster["b"].last_index == before
    cluster.advance(400)
    assert cluster.nodes["b"].commands == [b"x"]


def test_proposals_are_refused_where_nobody_leads_and_where_too_much_waits() -> None:
    cluster = Cluster("a", "b", "c", settings=Settings(max_uncommitted_bytes=10))
    with pytest.raises(NotLeader) as error:
        cluster["a"].propose([b"x"], cluster.now)
    assert error.value.leader is None
    cluster.elect("a")
    with pytest.raises(NotLeader) as error:
        cluster["b"].propose([b"x"], cluster.now)
    assert error.value.leader == "a"
    cluster.isolate("a")
    cluster.propose("a", b"12345678901")
    with pytest.raises(Overloaded):
        cluster["a"].propose([b"x"], cluster.now)
    cluster.heal()
    cluster.advance(100)
    cluster.propose("a", b"x")


def test_a_batch_is_one_write_and_one_append_a_peer() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.advance(100)
    cluster["a"].propose([b"%d" % number for number in range(50)], cluster.now)
    output = cluster["a"].take_output()
    assert output.write is not None
    assert len(output.write.entries) == 50
    assert [(type(m), m.destination, len(m.entries)) for m in output.messages if isinstance(m, AppendEntries)] == [
        (AppendEntries, "b", 50),
        (AppendEntries, "c", 50),
    ]


def test_appends_are_cut_to_their_bound_and_a_larger_command_travels_alone() -> None:
    cluster = Cluster("a", "b", "c", settings=Settings(max_append_bytes=10 + 2 * ENTRY_BYTES))
    cluster.elect("a")
    cluster.advance(100)
    cluster["a"].propose([b"1234", b"1234", b"1234", b"x" * 100, b"1"], cluster.now)
    appends = [m for m in cluster["a"].take_output().messages if isinstance(m, AppendEntries) and m.destination == B]
    assert [[len(e.command) for e in m.entries] for m in appends] == [[4, 4], [4], [100], [1]]


def test_41_messages_in_flight_are_bounded() -> None:
    cluster = Cluster("a", "b", "c", settings=Settings(max_inflight=3))
    cluster.elect("a")
    cluster.advance(100)
    for number in range(10):
        cluster.propose("a", b"%d" % number)
    assert len(cluster.take(lambda m: m.destination == "b")) == 3


@pytest.mark.parametrize(
    "message",
    [
        append("b", "a", 9, (-1, 0)),
        append("b", "a", 9, (1, 0)),
        append("b", "a", 9, (1, 10)),
        append("b", "a", 9, (0, 0), entry(2, 1)),
        append("b", "a", 9, (0, 0), entry(1, 2), entry(2, 1)),
        append("b", "a", 9, (0, 0), entry(1, 10)),
        append("b", "a", 9, (0, 0), entry(1, 0)),
        append("b", "a", 9, (0, 0), commit=-1),
        append("b", "a", 1 << 62, (0, 0)),
        append("b", "a", 0, (0, 0)),
        VoteRequest(B, A, Term(9), Incarnation("i-a"), Index(-1), Term(0), pre_vote=False),
        VoteRequest(B, A, Term(9), Incarnation("i-a"), Index(1), Term(10), pre_vote=False),
        VoteResponse(B, A, Term(9), True, False, float("nan")),
        VoteResponse(B, A, Term(9), True, False, -1.0),
        AppendResponse(B, A, Term(9), 1, True, Index(-1), Index(0), Term(0), 1.0),
        AppendResponse(B, A, Term(9), 1, True, Index(1), Index(0), Term(0), float("inf")),
    ],
    ids=str,
)
def test_what_no_correct_peer_sends_is_counted_and_changes_nothing(message: Message) -> None:
    cluster = Cluster("a", "b", "c")
    cluster["a"].step(message, cluster.now)
    assert cluster["a"].ignored == {"impossible": 1}
    assert cluster["a"].standing.term == 0
    assert cluster["a"].take_output().write is None


def test_a_follower_that_lost_what_it_had_synced_is_asked_again_only_with_the_next_round() -> None:
    """Outside of what Raft can mend, but the two must not talk as fast as the network allows."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    for number in range(4):
        cluster.propose("a", b"%d" % number)
        cluster.settle()
    node = cluster.nodes["b"]
    node.crash()
    del node.disk.entries[2:]
    node.start()
    cluster.propose("a", b"more")
    cluster.advance(cluster.settings.round_interval)
    cluster.settle()
    assert cluster["a"].ignored["late-append-response"] <= 3


def test_an_acknowledgement_past_the_leaders_end_is_counted_and_changes_nothing() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster["a"].step(AppendResponse(B, A, Term(1), 1, True, Index(99), Index(0), Term(0), 1.0), cluster.now)
    cluster["a"].step(AppendResponse(B, A, Term(1), 10**6, True, Index(1), Index(0), Term(0), 1.0), cluster.now)
    assert cluster["a"].ignored["impossible"] == 2
    assert cluster["a"].commit_index == 1


def test_a_leader_hears_no_appends_of_its_own_term() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster["a"].step(append("b", "a", 1, (1, 1), entry(2, 1)), cluster.now)
    assert cluster["a"].ignored["impossible"] == 1
    assert cluster["a"].standing.established
    assert cluster["a"].last_index == 1


def test_committed_entries_are_never_truncated() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.advance(100)
    assert cluster["b"].commit_index == 1
    cluster["b"].step(append("c", "b", 9, (0, 0), entry(1, 9)), cluster.now)
    assert terms_of(cluster, "b") == [1]
    assert cluster["b"].ignored["impossible"] == 1


def test_messages_of_strangers_and_for_others_are_counted() -> None:
    cluster = Cluster("a", "b", "c")
    cluster["a"].step(append("z", "a", 9, (0, 0)), cluster.now)
    cluster["a"].step(append("b", "c", 9, (0, 0)), cluster.now)
    assert cluster["a"].ignored == {"no-member": 2}


def test_a_leader_knows_how_long_the_first_answer_to_a_round_takes() -> None:
    cluster = Cluster("a", "b", "c")
    leader = cluster.elect("a")
    cluster.advance(cluster.settings.maximum_election)
    assert cluster["b"].followers == {}
    cluster.now += cluster.settings.round_interval
    leader.tick(cluster.now)
    cluster.nodes["a"].collect()
    requests = cluster.take()
    cluster.now += 7
    cluster.deliver(requests)
    answers = cluster.take()
    cluster.now += 4
    cluster.deliver([answer for answer in answers if answer.source == B])
    assert leader.followers[B].round_trip == 11
    assert leader.followers[B].heard_at == cluster.now
    assert leader.followers[C].round_trip == 0, "its answer is still under way"
    cluster.now += 5
    cluster.deliver(answers)
    assert (leader.followers[B].round_trip, leader.followers[C].round_trip) == (11, 16)
    assert leader.followers[B].match == leader.last_index
