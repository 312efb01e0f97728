"""Reads. The numbers in the names are those of the list of scenarios in `docs/consensus.md`."""

import pytest
from raft_cluster import Cluster

from raftq_k8s.raft import reads
from raftq_k8s.raft.messages import (
    AppendEntries,
    AppendResponse,
    Message,
    ReadIndexRequest,
    ReadIndexResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftq_k8s.raft.pending_reads import ReadContext, ReadFailure
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import Index, MemberId, Term

A, B, C = MemberId("a"), MemberId("b"), MemberId("c")


def led_by_a(*names: str, settings: Settings | None = None) -> Cluster:
    """Everything that a said so far is heard and answered; `x` is committed at index 2."""
    cluster = Cluster(*(names or ("a", "b", "c")), settings=settings)
    cluster.elect("a")
    cluster.propose("a", b"x")
    cluster.settle()
    return cluster


def leading(cluster: Cluster, name: str) -> Leader:
    role = cluster[name]._core.role
    assert isinstance(role, Leader)
    return role


def exchange(cluster: Cluster, *kinds: type[Message]) -> None:
    """Deliver messages of those kinds, and what comes of them, and hold the others."""
    while cluster.deliver(cluster.take(lambda message: isinstance(message, kinds))):
        for node in cluster.live:
            node.collect()
            node.sync()


def become_unestablished_leader(cluster: Cluster, name: str) -> None:
    """Let that node be elected, and hold every append."""
    for node in cluster.live:
        node.core.set_eligible(node.name == name, cluster.now)
    while cluster[name].standing.role != "leader":
        cluster.now += 5
        for node in cluster.live:
            node.core.tick(cluster.now)
            node.collect()
            node.sync()
        cluster.take(lambda message: isinstance(message, AppendEntries | AppendResponse))
        exchange(cluster, VoteRequest, VoteResponse)


# ----------------------------------------------------------------------------------------------------------- read index


def test_26_the_refusal_of_an_append_of_an_earlier_term_confirms_no_read() -> None:
    """a leads terms 1 and 3. A delayed append of term 1, refused in term 3, bears a round number of term 1: when a's
    rounds of term 3 get there, c leads term 4 already, and has committed what a does not know."""
    cluster = Cluster("a", "b", "c", seed=3)
    cluster.elect("a")
    cluster.advance(400)
    cluster.now = cluster["a"].wake_at
    cluster["a"].tick(cluster.now)
    cluster.nodes["a"].collect()
    delayed = cluster.take(lambda m: isinstance(m, AppendEntries) and m.destination == "b")[-1]
    assert isinstance(delayed, AppendEntries)
    cluster.settle()
    for source, target in (("a", "b"), ("b", "a")):
        cluster[source].transfer(MemberId(target), cluster.now)
        cluster.settle()
    cluster.deliver([delayed])
    refusals = cluster.take(lambda m: isinstance(m, AppendResponse))
    while cluster["a"]._core.role.round < delayed.round - 1:
        cluster.advance(5)

    cluster["a"].transfer(MemberId("c"), cluster.now)
    cluster.nodes["a"].collect()
    cluster.deliver(cluster.take(lambda m: isinstance(m, TimeoutNow)))
    cluster.isolate("a")
    cluster.settle()
    assert cluster["c"].standing.established
    cluster.propose("c", b"new")
    cluster.settle()
    assert cluster["a"].standing.role == "leader"
    cluster.read("a", 1)
    cluster.take()
    for refusal in refusals:
        cluster["a"].step(refusal, cluster.now)
    assert not cluster["a"].take_output().reads


def test_26_read_index() -> None:
    """A quorum confirms before the read is answered, and the answer covers what was committed when it came in."""
    cluster = led_by_a()
    cluster.read("a", 1)
    assert cluster.read_index("a", 1) is None
    cluster.settle()
    assert cluster.read_index("a", 1) == 2


def test_26_without_a_quorum_no_read_is_answered() -> None:
    cluster = led_by_a()
    cluster.isolate("a")
    cluster.read("a", 1)
    cluster.settle()
    assert cluster.read_index("a", 1) is None
    cluster.advance(cluster.settings.window)
    assert cluster.read_index("a", 1) is ReadFailure.LEADERSHIP_LOST


def test_26_half_of_an_even_cluster_confirms_nothing() -> None:
    cluster = led_by_a("a", "b", "c", "d")
    for name in "cd":
        cluster.isolate(name)
    cluster.read("a", 1)
    cluster.settle()
    assert cluster.read_index("a", 1) is None


def test_26_a_round_that_was_sent_before_the_read_came_in_confirms_nothing() -> None:
    """Its acknowledgements arrive after the read; a rival may have been elected between the two."""
    cluster = led_by_a()
    cluster.now = cluster["a"].wake_at
    cluster["a"].tick(cluster.now)
    cluster.nodes["a"].collect()
    exchange(cluster, AppendEntries)
    earlier = cluster.take(lambda message: isinstance(message, AppendResponse))
    assert {message.source for message in earlier} == {"b", "c"}
    cluster.read("a", 1)
    later = cluster.take()
    cluster.deliver(earlier)
    assert cluster.read_index("a", 1) is None
    cluster.deliver(later)
    cluster.settle()
    assert cluster.read_index("a", 1) == 2


def test_26_a_refused_append_of_this_term_confirms_as_well() -> None:
    """Its sender has seen no higher term: that is all that a read asks for."""
    cluster = led_by_a()
    cluster.read("a", 1)
    round_ = leading(cluster, "a").round
    refusal = AppendResponse(B, A, Term(1), round_, False, Index(2), Index(1), Term(1), 200.0)
    cluster["a"].step(refusal, cluster.now)
    cluster.nodes["a"].collect()
    assert cluster.read_index("a", 1) == 2


def test_26_many_reads_share_a_round_and_one_round_is_under_way_at_a_time() -> None:
    cluster = led_by_a()
    before = leading(cluster, "a").round
    cluster.read("a", 0)
    assert leading(cluster, "a").round == before + 1, "the first one does not wait"
    for context in range(1, 1000):
        cluster.read("a", context)
    assert leading(cluster, "a").round == before + 1
    exchange(cluster, AppendEntries)
    cluster.deliver(cluster.take(lambda message: message.source == "b"))
    assert cluster.read_index("a", 0) == 2
    assert cluster.read_index("a", 1) is None
    assert leading(cluster, "a").round == before + 2, "those that wait go as soon as the first is confirmed"
    cluster.settle()
    assert [cluster.read_index("a", context) for context in range(1000)] == [2] * 1000
    assert leading(cluster, "a").round == before + 2


def test_26_a_round_that_is_due_anyway_takes_reads_along() -> None:
    """The first round for reads was lost altogether: the next heartbeat confirms those that waited for it, and those
    that waited behind."""
    cluster = led_by_a()
    cluster.read("a", 1)
    cluster.read("a", 2)
    cluster.take()
    cluster.advance(cluster.settings.round_interval)
    assert (cluster.read_index("a", 1), cluster.read_index("a", 2)) == (2, 2)


def test_26_a_read_covers_every_write_that_was_acknowledged_before_it_came_in() -> None:
    cluster = led_by_a()
    _, index = cluster.propose("a", b"y")
    cluster.settle()
    cluster.read("a", 1)
    cluster.propose("a", b"later")
    cluster.settle()
    assert cluster.read_index("a", 1) == index


def test_26_a_lone_voter_is_its_own_quorum() -> None:
    cluster = led_by_a("a")
    cluster.read("a", 1)
    assert cluster.read_index("a", 1) == 2


def test_26_too_many_reads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "READS_LIMIT", 2)
    cluster = led_by_a()
    for name in "ab":
        for context in range(3):
            cluster.read(name, context)
        assert cluster.read_index(name, 2) is ReadFailure.OVERLOADED
        assert cluster.read_index(name, 1) is None


# --------------------------------------------------------------------------------------------------------- new leaders


def test_27_read_new_leader() -> None:
    """A new leader knows that all that was acknowledged is in its log, but not up to where: its reads wait for the
    first commit of its term, and cover it."""
    cluster = led_by_a()
    cluster.propose("a", b"acknowledged")
    exchange(cluster, AppendEntries)
    cluster.deliver(cluster.take(lambda message: message.source == "b"))
    assert cluster["a"].commit_index == 3
    assert cluster["b"].commit_index == 2
    cluster.nodes["a"].crash()
    cluster.take()
    become_unestablished_leader(cluster, "b")
    cluster.read("b", 1)
    # c confirms the round, without the entry: nothing of this term is committed by that.
    role = leading(cluster, "b")
    answer = AppendResponse(C, B, cluster["b"].standing.term, role.round, True, Index(3), Index(0), Term(0), 200.0)
    cluster["b"].step(answer, cluster.now)
    cluster.nodes["b"].collect()
    assert cluster.read_index("b", 1) is None
    cluster.settle()
    cluster.advance(cluster.settings.round_interval)
    assert cluster["b"].standing.established
    assert cluster.read_index("b", 1) == 4


def test_27_a_lone_voter_waits_for_its_disk() -> None:
    cluster = Cluster("a")
    cluster.nodes["a"].slow_disk = True
    cluster.advance(cluster.settings.maximum_election)
    cluster.nodes["a"].sync()
    assert cluster["a"].standing.role == "leader"
    cluster.read("a", 1)
    cluster.read("a", 2)
    assert cluster.read_index("a", 1) is None
    cluster.nodes["a"].sync()
    assert (cluster.read_index("a", 1), cluster.read_index("a", 2)) == (1, 1)


# ------------------------------------------------------------------------------------------------------ from a follower


def test_28_a_follower_asks_its_leader() -> None:
    cluster = led_by_a()
    _, index = cluster.propose("a", b"y")
    cluster.settle()
    assert cluster["b"].commit_index < index
    cluster.read("b", 1)
    cluster.settle()
    assert cluster.read_index("b", 1) == index


def test_28_reads_of_a_follower_share_a_request() -> None:
    cluster = led_by_a()
    for context in range(100):
        cluster.read("b", context)
    assert len(cluster.wire) == 1
    asked = 0
    while cluster.wire:
        asked += sum(isinstance(message, ReadIndexRequest) for message in cluster.wire)
        cluster.deliver()
        cluster.sync()
    assert asked == 2
    assert [cluster.read_index("b", context) for context in range(100)] == [2] * 100


def test_28_a_read_is_not_answered_by_the_answer_to_an_earlier_request() -> None:
    cluster = led_by_a()
    cluster.read("b", 1)
    cluster.deliver(cluster.take(lambda message: isinstance(message, ReadIndexRequest)))
    exchange(cluster, AppendEntries, AppendResponse)
    early = cluster.take(lambda message: isinstance(message, ReadIndexResponse))
    cluster.read("b", 2)
    cluster.deliver(early)
    assert cluster.read_index("b", 1) == 2
    assert cluster.read_index("b", 2) is None
    cluster.settle()
    assert cluster.read_index("b", 2) == 2


def test_28_read_misrouted() -> None:
    """A read is sent to a leader that was replaced: it cannot confirm it, and says so once it knows."""
    cluster = led_by_a()
    cluster.isolate("a")
    cluster.read("a", 1)
    cluster.advance(cluster.settings.window)
    assert cluster.read_index("a", 1) is ReadFailure.LEADERSHIP_LOST
    cluster.elect("b")
    cluster.heal()
    cluster["a"].step(ReadIndexRequest(C, A, cluster["b"].standing.term, 7), cluster.now)
    cluster.nodes["a"].collect()
    cluster.nodes["a"].sync()
    (refusal,) = (message for message in cluster.take() if isinstance(message, ReadIndexResponse))
    assert (refusal.granted, refusal.ticket, refusal.term) == (False, 7, cluster["b"].standing.term)


def test_28_a_peer_is_told_when_the_leader_that_it_asked_loses_its_leadership() -> None:
    cluster = led_by_a()
    cluster.read("b", 1)
    cluster.deliver()
    cluster.take()
    cluster["a"].observe_term(Term(5), cluster.now)
    cluster.settle()
    assert cluster.read_index("b", 1) is ReadFailure.NOT_LEADER
    assert cluster["b"].standing.term >= 5


def test_28_who_knows_no_leader_says_so_at_once() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.read("a", 1)
    assert cluster.read_index("a", 1) is ReadFailure.NO_LEADER


@pytest.mark.parametrize("lost", [ReadIndexRequest, ReadIndexResponse])
def test_28_a_lost_request_or_answer_is_asked_for_again(lost: type[Message]) -> None:
    cluster = led_by_a()
    cluster.read("b", 1)
    for _ in range(5):
        cluster.take(lambda message: isinstance(message, lost))
        cluster.deliver()
        cluster.sync()
    assert cluster.read_index("b", 1) is None
    assert cluster["b"].wake_at <= cluster.now + cluster.settings.heartbeat
    cluster.advance(cluster.settings.heartbeat)
    assert cluster.read_index("b", 1) == 2


def test_28_whoever_leads_by_then_is_asked_again() -> None:
    cluster = led_by_a(settings=Settings(heartbeat=100, minimum_election=200, maximum_election=2000))
    cluster.isolate("a")
    cluster.read("b", 1)
    cluster.take()
    for node in cluster.live:
        node.core.set_eligible(node.name == "c", cluster.now)
    cluster["c"].peer_lost(A, cluster.now)
    cluster.advance(500)
    assert cluster["c"].standing.established
    assert cluster.read_index("b", 1) == 3


def test_28_an_answer_that_never_comes_is_given_up() -> None:
    """The leader is heard, but does not hear: reads end after a maximum election time."""
    cluster = led_by_a()
    cluster.cut = {("b", "a")}
    cluster.read("b", 1)
    cluster.advance(cluster.settings.maximum_election - 10)
    assert cluster.read_index("b", 1) is None
    cluster.advance(cluster.settings.heartbeat)
    assert cluster.read_index("b", 1) is ReadFailure.UNANSWERED


def test_28_an_answer_to_an_earlier_process_answers_no_read_of_this_one() -> None:
    """It was confirmed before this process's read came in, and may lack what was committed since."""
    cluster = led_by_a()
    cluster.read("b", 1)
    cluster.deliver(cluster.take(lambda message: isinstance(message, ReadIndexRequest)))
    exchange(cluster, AppendEntries, AppendResponse)
    late = cluster.take(lambda message: isinstance(message, ReadIndexResponse))
    cluster.nodes["b"].crash()
    _, index = cluster.propose("a", b"since")
    cluster.settle()
    cluster.nodes["b"].start()
    cluster.advance(cluster.settings.heartbeat)
    cluster.read("b", 1)
    cluster.deliver(late)
    assert cluster.read_index("b", 1) is None
    assert cluster["b"].ignored == {"late-read-index": 1}
    cluster.settle()
    assert cluster.read_index("b", 1) == index


def test_28_a_late_answer_of_a_deposed_leader_is_as_good_as_any() -> None:
    """It was confirmed after the read came in; writes of a later leader came after both."""
    cluster = led_by_a()
    cluster.read("b", 1)
    cluster.deliver(cluster.take(lambda message: isinstance(message, ReadIndexRequest)))
    exchange(cluster, AppendEntries, AppendResponse)
    late = cluster.take(lambda message: isinstance(message, ReadIndexResponse))
    cluster["b"].observe_term(Term(9), cluster.now)
    cluster.deliver(late)
    assert cluster.read_index("b", 1) == 2


def test_28_a_follower_that_learns_of_a_higher_term_by_an_answer_follows_it() -> None:
    cluster = led_by_a()
    cluster.read("b", 1)
    ticket = next(message.ticket for message in cluster.take() if isinstance(message, ReadIndexRequest))
    cluster["b"].step(ReadIndexResponse(A, B, Term(7), ticket, False, Index(0)), cluster.now)
    cluster.nodes["b"].collect()
    assert cluster["b"].standing.term == 7
    assert cluster.read_index("b", 1) is ReadFailure.NOT_LEADER


def test_28_a_request_of_a_higher_term_deposes_whoever_is_asked() -> None:
    cluster = led_by_a()
    cluster["a"].step(ReadIndexRequest(B, A, Term(7), 1), cluster.now)
    assert (cluster["a"].standing.role, cluster["a"].standing.term) == ("follower", 7)


@pytest.mark.parametrize(
    "message",
    [
        ReadIndexRequest(A, B, Term(1), 0),
        ReadIndexRequest(A, B, Term(0), 1),
        ReadIndexRequest(A, B, Term(-1), 1),
        ReadIndexResponse(A, B, Term(1), 0, True, Index(1)),
        ReadIndexResponse(A, B, Term(1), 1, True, Index(0)),
        ReadIndexResponse(A, B, Term(1), 1, True, Index(-1)),
        ReadIndexResponse(A, B, Term(1), 1, False, Index(1)),
        ReadIndexResponse(A, B, Term(1), 1 << 60, True, Index(1)),
    ],
)
def test_what_no_correct_peer_says_of_reads_is_counted_and_changes_nothing(message: Message) -> None:
    cluster = led_by_a()
    cluster.read("b", 1)
    before = cluster["b"].standing
    cluster["b"].step(message, cluster.now)
    assert cluster["b"].ignored == {"impossible": 1}
    assert cluster["b"].standing == before
    cluster.settle()
    assert cluster.read_index("b", 1) == 2


# --------------------------------------------------------------------------------------------------------------- leases


def test_29_lease_read() -> None:
    """The leader alone answers, for as long as a quorum elects nobody else, and not at that very moment any more."""
    cluster = led_by_a()
    until = cluster["a"].lease_until
    assert until is not None
    assert cluster["a"].leased_read(cluster.now) == 2
    assert cluster["a"].leased_read(until - 0.1) == 2
    assert cluster["a"].leased_read(until) is None
    assert cluster["b"].leased_read(cluster.now) is None


def test_29_the_lease_ends_before_the_fastest_clock_of_a_voter_lets_it_vote() -> None:
    """A voter's clock runs a tenth faster than the leader's: when its window is over, the lease is over."""
    cluster = led_by_a()
    cluster.take()
    sent = cluster["a"].wake_at
    cluster.now = sent
    cluster["a"].tick(cluster.now)
    cluster.nodes["a"].collect()
    cluster.settle()
    until = cluster["a"].lease_until
    assert until is not None
    assert (until - sent) * 1.1 <= cluster.settings.window


def test_29_no_lease_read_before_the_first_commit_of_the_term() -> None:
    cluster = led_by_a()
    cluster.nodes["a"].crash()
    become_unestablished_leader(cluster, "b")
    role = leading(cluster, "b")
    answer = AppendResponse(C, B, cluster["b"].standing.term, role.round, True, Index(2), Index(0), Term(0), 200.0)
    cluster["b"].step(answer, cluster.now)
    assert cluster["b"].lease_until is not None
    assert cluster["b"].leased_read(cluster.now) is None


def test_29_no_lease_read_without_a_quorum() -> None:
    cluster = led_by_a()
    cluster.isolate("a")
    cluster.advance(0.9 * cluster.settings.window)
    assert cluster["a"].leased_read(cluster.now) is None


def test_48_frozen() -> None:
    """A leader frozen for 30 s answers nothing on thaw that it has not verified anew, whatever door is first."""
    cluster = led_by_a()
    cluster.read("a", 1)
    cluster.now += 30_000
    assert cluster["a"].leased_read(cluster.now) is None
    cluster.nodes["a"].collect()
    assert cluster.read_index("a", 1) is ReadFailure.LEADERSHIP_LOST

    cluster = led_by_a()
    cluster.read("a", 1)
    exchange(cluster, AppendEntries)
    cluster.now += 30_000
    cluster.deliver(cluster.take(lambda message: isinstance(message, AppendResponse)))
    assert cluster.read_index("a", 1) is ReadFailure.LEADERSHIP_LOST

    cluster = led_by_a()
    cluster.now += 30_000
    cluster["a"].read(ReadContext(1), cluster.now)
    cluster.nodes["a"].collect()
    assert cluster.read_index("a", 1) is ReadFailure.NO_LEADER
