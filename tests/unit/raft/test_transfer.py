"""Leadership handed over. The numbers in the names are those of the list of scenarios in `docs/consensus.md`."""

import pytest
from raft_cluster import Cluster

from raftq_k8s.raft.consensus import NotLeader, TransferRefused, Transferring
from raftq_k8s.raft.membership import Remove
from raftq_k8s.raft.messages import AppendEntries, AppendResponse, Message, TimeoutNow, VoteRequest, VoteResponse
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.pending_reads import ReadFailure
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import Incarnation, Index, MemberId, Term, TransferId

A, B, C = MemberId("a"), MemberId("b"), MemberId("c")
FIRST = TransferId(1)


def led_by_a(*names: str, settings: Settings | None = None) -> Cluster:
    """Windows after the start are over, and `x` is committed everywhere at index 2."""
    cluster = Cluster(*(names or ("a", "b", "c")), settings=settings)
    cluster.elect("a")
    cluster.propose("a", b"x")
    cluster.advance(cluster.settings.maximum_election)
    return cluster


def is_timeout_now(message: Message) -> bool:
    return isinstance(message, TimeoutNow)


def forced(candidate: str, voter: str, term: int, transfer: int = 1, *, last: int = 9, last_term: int = 1) -> Message:
    return VoteRequest(
        MemberId(candidate),
        MemberId(voter),
        Term(term),
        Incarnation(f"i-{voter}"),
        Index(last),
        Term(last_term),
        False,
        TransferId(transfer),
    )


def vote_of(cluster: Cluster, voter: str, request: Message) -> VoteResponse:
    cluster[voter].step(request, cluster.now)
    cluster.nodes[voter].collect()
    cluster.nodes[voter].sync()
    (answer,) = cluster.take(lambda message: isinstance(message, VoteResponse) and message.source == voter)
    assert isinstance(answer, VoteResponse)
    return answer


def transfer(cluster: Cluster, target: str) -> None:
    leader = cluster.leader()
    assert leader is not None
    cluster[leader].transfer(MemberId(target), cluster.now)
    cluster.nodes[leader].collect()


def hold_timeout_now(cluster: Cluster, target: str) -> Message:
    """Begin a transfer whose `TimeoutNow` is held back by the network."""
    transfer(cluster, target)
    (held,) = cluster.take(is_timeout_now)
    return held


# -------------------------------------------------------------------------------------------------------------- targets


def test_30_of_two_that_lack_nothing_the_one_that_was_heard_last_succeeds() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.nodes["b"].crash()
    cluster.advance(500)
    assert cluster["a"].successor({MemberId("b"), MemberId("c")}, cluster.now) == "c"


def test_30_transfer_to_an_up_to_date_target() -> None:
    """It leads within two exchanges of messages, though everybody hears the old leader; the old one follows."""
    cluster = led_by_a()
    transfer(cluster, "b")
    cluster.settle()
    assert cluster["b"].standing.established
    assert cluster["b"].standing.term == 2
    assert {cluster[name].standing.leader for name in "abc"} == {"b"}
    assert cluster["a"].transfer_target is None


def test_30_transfer_in_a_cluster_of_two() -> None:
    cluster = led_by_a("a", "b")
    transfer(cluster, "b")
    cluster.settle()
    assert cluster["b"].standing.established


def test_30_transfer_to_a_slow_target() -> None:
    """Its disk is behind: it is told to stand only when it holds everything on stable storage."""
    cluster = led_by_a()
    cluster.nodes["b"].slow_disk = True
    cluster.propose("a", b"y")
    cluster.settle()
    transfer(cluster, "b")
    cluster.advance(cluster.settings.window)
    assert cluster["a"].standing.role == "leader"
    assert not any(map(is_timeout_now, cluster.wire))
    assert cluster["a"].transfer_target == "b"
    cluster.nodes["b"].slow_disk = False
    cluster.settle()
    assert cluster["b"].standing.established
    assert cluster.nodes["b"].commands == [b"x", b"y"]


def test_30_transfer_to_a_target_that_was_away() -> None:
    cluster = led_by_a()
    cluster.isolate("b")
    for number in range(20):
        cluster.propose("a", b"%d" % number)
    cluster.settle()
    cluster.heal()
    transfer(cluster, "b")
    cluster.advance(cluster.settings.window)
    assert cluster["b"].standing.established
    assert len(cluster.nodes["b"].commands) == 21


def test_30_transfer_to_itself_is_refused() -> None:
    cluster = led_by_a()
    with pytest.raises(TransferRefused, match="a leads already"):
        transfer(cluster, "a")
    assert cluster["a"].lease_until is not None


def test_30_transfer_to_an_unknown_node_is_refused() -> None:
    cluster = led_by_a()
    with pytest.raises(TransferRefused, match="z is no voter of this cluster; a, b, c are"):
        transfer(cluster, "z")
    assert cluster["a"].lease_until is not None


def test_30_transfer_to_a_non_voter_is_refused() -> None:
    """A node that is known, but does not vote (any more)."""
    cluster = led_by_a()
    cluster.change("a", Remove(cluster.nodes["c"].member))
    cluster.settle()
    with pytest.raises(TransferRefused, match="c is no voter"):
        transfer(cluster, "c")


def test_30_the_best_successor_is_the_voter_that_lacks_the_least() -> None:
    cluster = led_by_a()
    cluster.isolate("b")
    cluster.propose("a", b"y")
    cluster.settle()
    assert cluster["a"].successor([A, B, C, MemberId("z")], cluster.now) == "c"
    assert cluster["a"].successor([B], cluster.now) == "b"
    assert cluster["a"].successor([A, MemberId("z")], cluster.now) is None
    assert cluster["b"].successor([C], cluster.now) is None
    assert cluster["a"].successor([C], cluster.now + 30_000) is None, "it leads no longer by then"


def test_30_only_a_leader_hands_over() -> None:
    cluster = led_by_a()
    with pytest.raises(NotLeader):
        cluster["b"].transfer(C, cluster.now)
    cluster["b"].cancel_transfer(cluster.now)
    assert cluster["b"].transfer_target is None


@pytest.mark.parametrize("gone", ["dead", "deaf", "not eligible"])
def test_30_transfer_to_a_target_that_times_out(gone: str) -> None:
    """After a maximum election time it is given up; then the leader goes on as before, its lease and its term
    included."""
    cluster = led_by_a()
    match gone:
        case "dead":
            cluster.nodes["b"].crash()
        case "deaf":
            cluster.cut = {("a", "b")}
            cluster["b"].set_eligible(False, cluster.now)
        case _:
            cluster["b"].set_eligible(False, cluster.now)
    transfer(cluster, "b")
    cluster.advance(cluster.settings.maximum_election - 10)
    assert cluster["a"].transfer_target == "b"
    assert cluster["a"].lease_until is None
    cluster.advance(20)
    assert cluster["a"].transfer_target is None
    assert cluster["a"].standing.term == 1
    assert cluster["a"].lease_until is not None
    cluster.propose("a", b"y")
    cluster.settle()
    assert cluster.nodes["a"].commands == [b"x", b"y"]


def test_30_the_end_of_a_transfer_is_a_time_to_wake_up() -> None:
    cluster = led_by_a()
    cluster["b"].set_eligible(False, cluster.now)
    began = cluster.now
    transfer(cluster, "b")
    while cluster["a"].transfer_target is not None:
        cluster.now = cluster["a"].wake_at
        for node in cluster.live:
            node.core.tick(cluster.now)
        cluster.settle()
    assert cluster.now == began + cluster.settings.maximum_election


def test_30_a_lost_timeout_now_is_said_again() -> None:
    cluster = led_by_a()
    hold_timeout_now(cluster, "b")
    cluster.settle()
    assert cluster["a"].standing.role == "leader"
    cluster.advance(cluster.settings.round_interval)
    assert cluster["b"].standing.established


def test_30_a_transfer_that_was_begun_goes_on_when_it_is_asked_for_again() -> None:
    cluster = led_by_a()
    cluster["b"].set_eligible(False, cluster.now)
    transfer(cluster, "b")
    cluster.advance(cluster.settings.maximum_election - 10)
    transfer(cluster, "b")
    cluster.advance(20)
    assert cluster["a"].transfer_target is None, "asking again and again holds no cluster up"


def test_30_another_target_takes_the_place_of_the_first() -> None:
    cluster = led_by_a()
    late = hold_timeout_now(cluster, "b")
    transfer(cluster, "c")
    cluster.deliver(cluster.take(lambda message: isinstance(message, AppendEntries)))
    cluster.deliver([late])
    cluster.settle()
    assert cluster["b"].standing.leader == "c"
    assert cluster["c"].standing == Standing("leader", Term(2), C, True)


def test_30_a_target_that_lost_its_election_leaves_a_cluster_that_elects() -> None:
    cluster = led_by_a()
    transfer(cluster, "b")
    cluster.deliver(cluster.take(is_timeout_now))
    cluster.sync()
    cluster.take(lambda message: isinstance(message, VoteRequest))
    cluster.advance(3 * cluster.settings.maximum_election)
    leader = cluster.leader()
    assert leader is not None
    assert cluster[leader].standing.established


def test_30_the_target_asks_for_votes_only_after_its_own_is_synced() -> None:
    cluster = led_by_a()
    transfer(cluster, "b")
    cluster.nodes["b"].slow_disk = True
    cluster.deliver(cluster.take(is_timeout_now))
    assert not any(isinstance(message, VoteRequest) for message in cluster.wire)


# ------------------------------------------------------------------------------------------------------------ meanwhile


def test_30_proposals_are_refused_meanwhile() -> None:
    """Else the log's end, which the target must reach, would run away."""
    cluster = led_by_a()
    cluster["b"].set_eligible(False, cluster.now)
    transfer(cluster, "b")
    with pytest.raises(Transferring) as refused:
        cluster.propose("a", b"y")
    assert refused.value.target == "b"
    assert cluster["a"].last_index == 2
    cluster["a"].cancel_transfer(cluster.now)
    cluster.propose("a", b"y")
    cluster.settle()
    assert cluster.nodes["a"].commands == [b"x", b"y"]


def test_30_reads_are_answered_meanwhile_and_fail_when_another_leads() -> None:
    cluster = led_by_a()
    cluster["b"].set_eligible(False, cluster.now)
    transfer(cluster, "b")
    cluster.read("a", 1)
    cluster.settle()
    assert cluster.read_index("a", 1) == 2
    cluster["b"].set_eligible(True, cluster.now)
    cluster.read("a", 2)
    cluster.take()
    cluster.deliver([TimeoutNow(A, B, Term(1), FIRST)])
    cluster.settle()
    assert cluster["b"].standing.established
    assert cluster.read_index("a", 2) is ReadFailure.LEADERSHIP_LOST


def test_30_the_lease_is_revoked_first() -> None:
    """Nothing of the transfer leaves while a lease read could still be answered; the windows go on being promised."""
    cluster = led_by_a()
    assert cluster["a"].leased_read(cluster.now) == 2
    cluster["a"].transfer(B, cluster.now)
    assert cluster["a"].lease_until is None
    assert cluster["a"].leased_read(cluster.now) is None
    cluster["b"].set_eligible(False, cluster.now)
    cluster.advance(2 * cluster.settings.window)
    assert cluster["a"].transfer_target == "b"
    assert cluster["a"].lease_until is None
    assert cluster["a"].quorum_until is not None


def test_30_the_lease_begins_anew_with_a_round_that_was_sent_after_the_end_of_the_transfer() -> None:
    """What was sent before, and is acknowledged after, tells nobody that the transfer is over."""
    cluster = led_by_a()
    hold_timeout_now(cluster, "b")
    cluster.now = cluster["a"].wake_at
    cluster["a"].tick(cluster.now)
    cluster.nodes["a"].collect()
    cluster.deliver(cluster.take(lambda message: isinstance(message, AppendEntries)))
    of_before = cluster.take(lambda message: isinstance(message, AppendResponse))
    assert {message.source for message in of_before} == {"b", "c"}
    cluster["a"].cancel_transfer(cluster.now)
    cluster.nodes["a"].collect()
    of_after = cluster.take(lambda message: isinstance(message, AppendEntries))
    cluster.deliver(of_before)
    assert cluster["a"].lease_until is None
    ended = cluster.now
    cluster.deliver(of_after)
    cluster.settle()
    assert cluster["a"].lease_until == pytest.approx(ended + 0.9 * cluster.settings.window)


def test_30_a_leader_that_reaches_nobody_steps_down_in_a_transfer_too() -> None:
    cluster = led_by_a()
    cluster.isolate("a")
    transfer(cluster, "b")
    until = cluster["a"].quorum_until
    assert until is not None
    cluster.advance(until - cluster.now)
    assert cluster["a"].standing.role == "follower"
    assert cluster["a"].quorum_until is None


def test_48_frozen_in_a_transfer() -> None:
    """A leader thaws long after the end of its transfer: it neither goes on with it nor leads."""
    for door in ("tick", "transfer", "cancel", "propose"):
        cluster = led_by_a()
        transfer(cluster, "b")
        cluster.take()
        cluster.now += 30_000
        match door:
            case "tick":
                cluster["a"].tick(cluster.now)
            case "cancel":
                cluster["a"].cancel_transfer(cluster.now)
            case "transfer":
                with pytest.raises(NotLeader):
                    cluster["a"].transfer(B, cluster.now)
            case _:
                with pytest.raises(NotLeader):
                    cluster.propose("a", b"y")
        cluster.nodes["a"].collect()
        assert cluster["a"].standing.role in ("follower", "pre-candidate")
        assert cluster["a"].transfer_target is None
        assert not any(isinstance(message, AppendEntries | TimeoutNow) for message in cluster.wire)


# ------------------------------------------------------------------------------------------------- who is told to stand


def test_31_transfer_non_member() -> None:
    """A node that was removed, and knows it, ignores a time-out-now."""
    cluster = led_by_a()
    cluster.change("a", Remove(cluster.nodes["b"].member))
    cluster.settle()
    cluster.deliver([TimeoutNow(A, B, Term(1), FIRST)])
    assert cluster["b"].standing.role == "follower"
    assert cluster["b"].ignored == {"timeout-now": 1}


def test_31_a_stranger_tells_nobody_to_stand() -> None:
    cluster = led_by_a()
    cluster["b"].step(TimeoutNow(MemberId("z"), B, Term(1), FIRST), cluster.now)
    assert cluster["b"].ignored == {"no-member": 1}


@pytest.mark.parametrize("why", ["older term", "not eligible", "leads itself", "stands already"])
def test_31_who_is_not_to_stand_ignores_a_time_out_now(why: str) -> None:
    cluster = led_by_a()
    cluster["b"].observe_term(Term(3), cluster.now)
    term = Term(3)
    match why:
        case "older term":
            term = Term(2)
        case "not eligible":
            cluster["b"].set_eligible(False, cluster.now)
        case "leads itself":
            cluster.elect("b")
            term = cluster["b"].standing.term
        case _:
            cluster["b"].step(TimeoutNow(A, B, Term(3), FIRST), cluster.now)
    before = cluster["b"].standing
    cluster["b"].step(TimeoutNow(A, B, term, FIRST), cluster.now)
    assert cluster["b"].standing == before
    assert cluster["b"].ignored["timeout-now"] == 1


def test_31_a_time_out_now_of_a_higher_term_is_news_of_its_leader() -> None:
    cluster = led_by_a()
    cluster["b"].step(TimeoutNow(C, B, Term(5), FIRST), cluster.now)
    assert (cluster["b"].standing.role, cluster["b"].standing.term) == ("candidate", 6)


# ------------------------------------------------------------------------------------------------- late, and given up


def test_55_late_timeout_now() -> None:
    """The transfer was given up, and the lease armed again: then its `TimeoutNow` arrives. Everybody knows better."""
    cluster = led_by_a()
    late = hold_timeout_now(cluster, "b")
    cluster["a"].cancel_transfer(cluster.now)
    cluster.settle()
    assert cluster["a"].lease_until is not None
    cluster.deliver([late])
    cluster.settle()
    assert cluster["a"].standing.established
    assert {cluster[name].standing.term for name in "abc"} == {1}
    assert cluster["b"].ignored == {"timeout-now": 1}


def test_55_a_target_that_does_not_know_of_the_end_gets_no_votes() -> None:
    """It stands, in a term of its own; who acknowledged the lease refuses, and so does the leader."""
    cluster = led_by_a()
    late = hold_timeout_now(cluster, "b")
    cluster.isolate("b")
    cluster["a"].cancel_transfer(cluster.now)
    cluster.settle()
    until = cluster["a"].lease_until
    assert until is not None
    cluster.cut = {("a", "b")}  # it is heard, and hears the others
    cluster["b"].step(late, cluster.now)
    cluster.settle()
    assert cluster["b"].standing.role == "candidate"
    while cluster.now + 5 < until:
        cluster.advance(5)
        assert cluster.leader() == "a"
        assert cluster["b"].standing.role != "leader"


@pytest.mark.parametrize("voter", ["a", "c"])
def test_55_forced_votes_of_a_transfer_that_was_given_up_are_refused(voter: str) -> None:
    cluster = led_by_a()
    hold_timeout_now(cluster, "b")
    cluster["a"].cancel_transfer(cluster.now)
    cluster.settle()
    answer = vote_of(cluster, voter, forced("b", voter, 2))
    assert not answer.granted
    assert answer.window_left > 0
    assert cluster[voter].standing.term == 1


@pytest.mark.parametrize("voter", ["a", "c"])
def test_55_forced_votes_of_the_next_transfer_are_granted(voter: str) -> None:
    cluster = led_by_a()
    hold_timeout_now(cluster, "b")
    cluster["a"].cancel_transfer(cluster.now)
    cluster.settle()
    hold_timeout_now(cluster, "b")
    assert vote_of(cluster, voter, forced("b", voter, 2, transfer=2)).granted


def test_55_a_lost_append_does_not_hide_the_end_of_a_transfer() -> None:
    """Every later append tells it, not only the first: of a quorum that acknowledged any, each knows."""
    cluster = led_by_a()
    hold_timeout_now(cluster, "b")
    cluster["a"].cancel_transfer(cluster.now)
    cluster.nodes["a"].collect()
    assert {m.cancelled for m in cluster.take() if isinstance(m, AppendEntries)} == {1}
    cluster.advance(cluster.settings.round_interval)
    assert cluster["a"].lease_until is not None
    assert not vote_of(cluster, "c", forced("b", "c", 2)).granted


def test_55_an_older_append_that_arrives_late_does_not_bring_a_transfer_back() -> None:
    cluster = led_by_a()
    hold_timeout_now(cluster, "b")
    cluster.now = cluster["a"].wake_at
    cluster["a"].tick(cluster.now)
    cluster.nodes["a"].collect()
    earlier = cluster.take(lambda message: isinstance(message, AppendEntries) and message.destination == "c")
    cluster["a"].cancel_transfer(cluster.now)
    cluster.settle()
    cluster.deliver(earlier)
    assert not vote_of(cluster, "c", forced("b", "c", 2)).granted


def test_55_a_voter_that_knew_of_the_end_and_has_restarted_breaks_no_lease() -> None:
    """It forgot that the transfer is over, and remembers its window: within that it refuses forced votes, too. When it
    is over, either the lease that its promise carried is over, or it has heard of the end again."""
    for leader_is_heard in (False, True):
        cluster = led_by_a()
        late = hold_timeout_now(cluster, "b")
        cluster.isolate("b")
        cluster["a"].cancel_transfer(cluster.now)
        cluster.settle()
        cluster.nodes["c"].crash()
        cluster.nodes["c"].start()
        if not leader_is_heard:
            cluster.isolate("c")
        cluster.cut -= {("b", "c"), ("c", "b")}
        cluster["b"].step(late, cluster.now)
        until = cluster["a"].lease_until
        assert until is not None
        while cluster.now + 5 < until + (1000 if leader_is_heard else 0):
            cluster.advance(5)
            assert cluster["b"].standing.role != "leader"
            assert not vote_of(cluster, "c", forced("b", "c", 2)).granted


def test_55_a_voter_refuses_forced_votes_for_its_longest_window_after_its_start() -> None:
    cluster = led_by_a(settings=Settings(minimum_election=400))
    hold_timeout_now(cluster, "b")
    cluster.nodes["c"].crash()
    cluster.nodes["c"].settings = Settings(minimum_election=200)
    cluster.nodes["c"].start()
    cluster["c"].set_eligible(False, cluster.now)
    cluster.now += 395
    answer = vote_of(cluster, "c", forced("b", "c", 2))
    assert (answer.granted, answer.window_left) == (False, pytest.approx(5))
    cluster.now += 5
    assert vote_of(cluster, "c", forced("b", "c", 2)).granted


def test_55_a_target_that_has_restarted_does_not_even_vote_for_itself() -> None:
    """It acknowledged the end of the transfer, restarted and forgot it; its own vote and one of a voter that never
    heard of the end would be a majority, while the lease rests on it."""
    cluster = led_by_a()
    late = hold_timeout_now(cluster, "b")
    cluster.isolate("c")
    cluster["a"].cancel_transfer(cluster.now)
    cluster.settle()
    cluster.nodes["b"].crash()
    cluster.nodes["b"].start()
    cluster.isolate("a")
    cluster.cut -= {("b", "c"), ("c", "b")}
    until = cluster["a"].lease_until
    assert until is not None
    cluster["b"].step(late, cluster.now)
    cluster.settle()
    assert cluster["b"].standing.role == "follower"
    assert cluster["b"].ignored == {"timeout-now": 1}
    while cluster.now + 5 < until:
        cluster.advance(5)
        assert cluster["b"].standing.role != "leader"


def test_55_transfers_of_an_earlier_leader_are_over() -> None:
    """Ids begin anew in each term: a forced vote of term 2 is of a transfer of the leader of term 1."""
    cluster = led_by_a()
    transfer(cluster, "b")
    cluster.settle()
    assert cluster["b"].standing.established
    for voter, candidate in (("a", "c"), ("c", "a")):
        for term in (2, 3):
            request = forced(candidate, voter, term, transfer=9, last_term=2)
            granted = vote_of(cluster, voter, request).granted
            assert granted is (term == 3), "only the present leader's transfer passes the window"


def test_a_forced_vote_needs_a_log_that_lacks_nothing() -> None:
    cluster = led_by_a()
    hold_timeout_now(cluster, "b")
    assert not vote_of(cluster, "c", forced("b", "c", 2, last=1)).granted


# -------------------------------------------------------------------------------------------------------- mixed windows


def test_65_mixed_windows_with_transfers() -> None:
    """Members with different election times hand the leadership round: never do two hold a lease at one instant."""
    windows = {"a": 200.0, "b": 400.0, "c": 600.0}
    cluster = Cluster("a", "b", "c")
    for name, window in windows.items():
        cluster.nodes[name].crash()
        cluster.nodes[name].settings = Settings(minimum_election=window, maximum_election=window + 400)
        cluster.nodes[name].start()
    cluster.elect("a")
    for number, target in enumerate("bcabacbca" * 2):
        leader = cluster.leader()
        assert leader is not None
        if leader != target:
            transfer(cluster, target)
        if number % 3 == 1:
            cluster.take(is_timeout_now)
            cluster[leader].cancel_transfer(cluster.now)
        for _ in range(30):
            cluster.advance(5)
            at_most_one_holds_a_lease(cluster)
    assert max(cluster.leaders) > 8


def at_most_one_holds_a_lease(cluster: Cluster) -> None:
    until = {node.name: node.core.lease_until for node in cluster.live}
    holders = [name for name, end in until.items() if end is not None and cluster.now < end]
    assert len(holders) <= 1, f"{holders} hold a lease at {cluster.now}"


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "message",
    [
        TimeoutNow(A, C, Term(1), TransferId(0)),
        TimeoutNow(A, C, Term(1), TransferId(-1)),
        TimeoutNow(A, C, Term(0), FIRST),
        TimeoutNow(A, C, Term(1 << 62), FIRST),
        AppendEntries(A, C, Term(1), 1, Index(0), Term(0), Index(0), (), TransferId(-1)),
        forced("b", "c", 2, transfer=-1),
        forced("b", "c", 1),
        VoteRequest(B, C, Term(2), Incarnation("i-c"), Index(9), Term(1), True, FIRST),
    ],
)
def test_what_no_correct_peer_says_of_transfers_is_counted_and_changes_nothing(message: Message) -> None:
    cluster = led_by_a()
    before = cluster["c"].standing
    cluster["c"].step(message, cluster.now)
    assert cluster["c"].ignored == {"impossible": 1}
    assert cluster["c"].standing == before


def test_a_leader_is_not_told_to_stand_in_its_own_term() -> None:
    cluster = led_by_a()
    assert isinstance(cluster["a"]._core.role, Leader)
    cluster["a"].step(TimeoutNow(B, A, Term(1), FIRST), cluster.now)
    assert cluster["a"].standing.established
