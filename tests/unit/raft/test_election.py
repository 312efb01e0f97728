"""Elections. The numbers in the names are those of the list of scenarios in `docs/consensus.md`."""

from itertools import pairwise

import pytest
from raft_cluster import Cluster

from raftq_k8s.raft.messages import AppendEntries, AppendResponse, VoteRequest, VoteResponse
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import Incarnation, Index, MemberId, Term

A, B, C = MemberId("a"), MemberId("b"), MemberId("c")


def ask(
    source: str, destination: str, term: int, *, last: int = 0, last_term: int = 0, pre: bool = False
) -> VoteRequest:
    return VoteRequest(
        MemberId(source),
        MemberId(destination),
        Term(term),
        Incarnation(f"i-{destination}"),
        Index(last),
        Term(last_term),
        pre_vote=pre,
    )


def heartbeat(source: str, destination: str, term: int) -> AppendEntries:
    return AppendEntries(MemberId(source), MemberId(destination), Term(term), 1, Index(0), Term(0), Index(0), ())


def answer_of(cluster: Cluster, name: str) -> VoteResponse:
    """The one vote response that node sends, its disk having synced."""
    cluster.nodes[name].collect()
    cluster.nodes[name].sync()
    answers = [m for m in cluster.take() if isinstance(m, VoteResponse) and m.source == name]
    assert len(answers) == 1, answers
    return answers[0]


def after_window(*names: str, settings: Settings | None = None) -> Cluster:
    """A cluster whose windows after the start are over, and where nobody stands for election by itself."""
    cluster = Cluster(*names, settings=settings)
    for node in cluster.live:
        node.core.set_eligible(False, cluster.now)
    cluster.advance(cluster.settings.window + 5)
    return cluster


def stand(cluster: Cluster, name: str, role: str) -> None:
    """Let time pass until that node has the role, which it does not lose again meanwhile."""
    cluster[name].set_eligible(True, cluster.now)
    for _ in range(200):
        if cluster[name].standing.role == role:
            return
        cluster.advance(5)
    raise AssertionError(f"{name} never became {role}: {cluster.describe()}")


@pytest.mark.parametrize("role", ["follower", "pre-candidate", "candidate", "leader"])
def test_01_update_term_from_message(role: str) -> None:
    cluster = Cluster("a", "b", "c")
    if role == "leader":
        cluster.elect("a")
    elif role != "follower":
        cluster.isolate("a")
        stand(cluster, "a", "pre-candidate")
        if role == "candidate":
            cluster["a"].step(VoteResponse(B, A, Term(1), True, True, 0.0), cluster.now)
    assert cluster["a"].standing.role == role
    cluster["a"].step(heartbeat("b", "a", 7), cluster.now)
    assert cluster["a"].standing == Standing("follower", Term(7), B, False)


def test_02_reject_stale_term() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster["b"].observe_term(Term(9), cluster.now)
    before = cluster["b"].standing, cluster["b"].last_index, cluster["b"].commit_index
    for stale in (
        heartbeat("a", "b", 3),
        ask("a", "b", 3, last=9, last_term=3),
        VoteResponse(A, B, Term(3), True, False, 0.0),
    ):
        cluster["b"].step(stale, cluster.now)
    assert (cluster["b"].standing, cluster["b"].last_index, cluster["b"].commit_index) == before


def test_03_start_as_follower() -> None:
    cluster = Cluster("a", "b", "c")
    assert {node.core.standing.role for node in cluster.live} == {"follower"}
    cluster.elect("a")
    cluster.nodes["a"].crash()
    cluster.nodes["a"].start()
    assert cluster["a"].standing == Standing("follower", Term(1), None, False)


@pytest.mark.parametrize("size", range(1, 10))
@pytest.mark.parametrize("granted", range(9))
def test_04_election_in_one_round(size: int, granted: int) -> None:
    """With `granted` votes of others, and refusals of the rest or silence, the election is won, lost or undecided."""
    if granted >= size:
        return
    names = "abcdefghi"[:size]
    majority = size // 2 + 1
    for others_refuse in (False, True):
        cluster = after_window(*names)
        candidate = cluster["a"]
        candidate.set_eligible(True, cluster.now)
        while candidate.standing.role == "follower" and not candidate.elections["won"]:
            cluster.now += 5
            candidate.tick(cluster.now)
        for pre_vote in (True, False):
            cluster.nodes["a"].collect()
            cluster.nodes["a"].sync()
            term = Term(1)
            for number, peer in enumerate(names[1:], start=1):
                grant = pre_vote or number <= granted
                if grant or others_refuse:
                    response = VoteResponse(MemberId(peer), A, term, grant, pre_vote, 0.0)
                    candidate.step(response, cluster.now)
        cluster.nodes["a"].collect()
        cluster.nodes["a"].sync()
        if granted + 1 >= majority:
            assert candidate.standing.role == "leader"
        elif others_refuse:
            assert candidate.standing.role == "follower"
            assert candidate.elections["lost"] == 1
        else:
            assert candidate.standing.role == "candidate"


def test_05_follower_vote() -> None:
    cluster = after_window("a", "b", "c")
    for request, granted in (
        (ask("b", "a", 2), True),
        (ask("c", "a", 2), False),
        (ask("b", "a", 2), True),
        (ask("c", "a", 3), True),
        (ask("b", "a", 2), False),
    ):
        cluster["a"].step(request, cluster.now)
        assert answer_of(cluster, "a").granted is granted, request


def test_05_a_vote_outlives_a_restart() -> None:
    cluster = after_window("a", "b", "c")
    cluster["a"].step(ask("b", "a", 2), cluster.now)
    assert answer_of(cluster, "a").granted
    cluster.nodes["a"].crash()
    cluster.nodes["a"].start()
    cluster["a"].set_eligible(False, cluster.now)
    cluster.advance(cluster.settings.window + 5)
    cluster["a"].step(ask("c", "a", 2), cluster.now)
    assert not answer_of(cluster, "a").granted


def test_05_a_vote_leaves_only_after_it_is_synced() -> None:
    cluster = after_window("a", "b", "c")
    cluster["a"].step(ask("b", "a", 2), cluster.now)
    cluster.nodes["a"].collect()
    assert not cluster.wire
    assert answer_of(cluster, "a").granted


def test_05_a_vote_in_a_term_that_is_known_already_is_synced_too() -> None:
    cluster = after_window("a", "b", "c")
    cluster["a"].observe_term(Term(2), cluster.now)
    cluster.settle()
    cluster["a"].step(ask("b", "a", 2), cluster.now)
    cluster.nodes["a"].collect()
    assert not cluster.wire
    assert answer_of(cluster, "a").granted
    assert cluster.nodes["a"].disk.hard_state.vote == "b"


def test_05_a_vote_that_is_asked_for_again_waits_for_the_same_write() -> None:
    cluster = after_window("a", "b", "c")
    cluster.nodes["a"].slow_disk = True
    for _ in range(2):
        cluster["a"].step(ask("b", "a", 2), cluster.now)
        cluster.nodes["a"].collect()
    assert not cluster.wire
    cluster.nodes["a"].sync()
    assert [m.granted for m in cluster.take() if isinstance(m, VoteResponse)] == [True, True]


def test_05_a_candidate_asks_for_votes_only_after_its_own_is_synced() -> None:
    cluster = after_window("a", "b", "c")
    cluster.nodes["a"].slow_disk = True
    stand(cluster, "a", "candidate")
    assert cluster["b"].standing.term == 0
    cluster.nodes["a"].slow_disk = False
    cluster.settle()
    assert cluster["a"].standing.role == "leader"


def test_06_candidate_fallback() -> None:
    cluster = after_window("a", "b", "c")
    cluster.isolate("a")
    stand(cluster, "a", "pre-candidate")
    cluster["a"].step(VoteResponse(B, A, Term(1), True, True, 0.0), cluster.now)
    assert cluster["a"].standing.role == "candidate"
    cluster["a"].step(heartbeat("b", "a", 1), cluster.now)
    assert cluster["a"].standing == Standing("follower", Term(1), B, False)


def test_07_timeout_randomised() -> None:
    """Nodes that all start at once stand at times spread over the whole range, and rarely two within a message's
    travel."""
    settings = Settings()
    times = []
    for seed in range(0, 3000, 3):
        cluster = Cluster("a", "b", "c", settings=settings, seed=seed)
        times.append([node.core.wake_at - cluster.now for node in cluster.live])
    flat = sorted(time for trio in times for time in trio)
    assert settings.minimum_election <= flat[0] < settings.minimum_election + 10
    assert settings.maximum_election - 10 < flat[-1] <= settings.maximum_election
    middle = (settings.minimum_election + settings.maximum_election) / 2
    assert abs(flat[len(flat) // 2] - middle) < 0.1 * middle
    collisions = sum(any(b - a < 5 for a, b in pairwise(sorted(trio))) for trio in times)
    assert collisions / len(times) < 0.06


@pytest.mark.parametrize(
    ("last", "last_term", "granted"),
    [(3, 1, False), (2, 2, True), (1, 2, False), (2, 3, True), (1, 3, True), (9, 1, False), (3, 2, True)],
)
def test_08_voter(last: int, last_term: int, granted: bool) -> None:
    """The voter's log ends with entry 2 of term 2: a candidate needs a higher last term, or the same and no shorter
    log."""
    cluster = after_window("a", "b", "c")
    cluster.elect("b")
    cluster["b"].observe_term(Term(1), cluster.now)
    cluster.nodes["b"].crash()
    cluster.elect("c")
    cluster.nodes["c"].crash()
    assert (cluster["a"].last_index, cluster["a"].standing.term) == (2, 2)
    cluster["a"].set_eligible(False, cluster.now)
    cluster.advance(cluster.settings.window + 5)
    for pre in (True, False):
        cluster["a"].step(ask("b", "a", 5, last=last, last_term=last_term, pre=pre), cluster.now)
        assert answer_of(cluster, "a").granted is granted


def test_16_duelling_candidates() -> None:
    """Two nodes that always wake at the same instant settle on one leader, and terms hardly move."""
    for seed in range(20):
        cluster = Cluster("a", "b", "c", seed=seed)
        cluster.nodes["c"].crash()
        cluster.advance(cluster.settings.minimum_election)
        for node in cluster.live:
            node.core._core.election_at = cluster.now
        cluster.advance(4 * cluster.settings.maximum_election)
        assert cluster.leader() is not None
        assert cluster[cluster.leader() or ""].standing.term <= 4


def test_16_duelling_pre_candidates_leave_terms_alone() -> None:
    """A node that cannot win asks again and again, and no term moves."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.isolate("b")
    cluster.advance(20 * cluster.settings.maximum_election)
    assert cluster["b"].standing.term == cluster["a"].standing.term == 1


def test_19_late_self_vote() -> None:
    """A candidate's own vote reaches the disk after the election was lost: it does not become leader by it."""
    cluster = after_window("a", "b", "c")
    cluster.nodes["a"].slow_disk = True
    stand(cluster, "a", "candidate")
    cluster["a"].step(VoteResponse(B, A, Term(1), True, False, 0.0), cluster.now)
    cluster["a"].step(heartbeat("c", "a", 2), cluster.now)
    cluster.nodes["a"].collect()
    cluster.nodes["a"].slow_disk = False
    cluster.nodes["a"].sync()
    assert cluster["a"].standing == Standing("follower", Term(2), C, False)
    assert cluster["a"].elections["won"] == 0


def test_22_check_quorum() -> None:
    """An isolated leader resigns within one election timeout."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.isolate("a")
    cluster.advance(cluster.settings.minimum_election)
    assert cluster["a"].standing == Standing("follower", Term(1), None, False)


def test_22_a_leader_that_reaches_a_majority_stays() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.nodes["c"].crash()
    cluster.advance(10 * cluster.settings.maximum_election)
    assert cluster["a"].standing.established
    assert cluster["a"].standing.term == 1


def test_22_half_of_an_even_cluster_is_no_majority() -> None:
    cluster = Cluster("a", "b", "c", "d")
    cluster.elect("a")
    for one in "ab":
        for other in "cd":
            cluster.cut |= {(one, other), (other, one)}
    cluster.advance(10 * cluster.settings.maximum_election)
    assert cluster.leader() is None


def test_23_free_stuck_candidate() -> None:
    """A node whose term ran ahead cannot vote or follow in the leader's term: the leader learns of it, and all meet
    above."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster["c"].observe_term(Term(5), cluster.now)
    cluster.settle()
    cluster.advance(3 * cluster.settings.maximum_election)
    assert {node.core.standing.term for node in cluster.live} == {6}
    assert cluster[cluster.leader() or ""].standing.established


def test_24_pre_vote_no_disruption() -> None:
    """A node returns from a long isolation, with a stale log, and stands at once: the leader goes on in its term."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.isolate("c")
    cluster.advance(5 * cluster.settings.maximum_election)
    cluster.propose("a", b"meanwhile")
    cluster.settle()
    cluster.heal()
    cluster["c"]._core.election_at = cluster.now
    cluster.advance(cluster.settings.maximum_election)
    assert cluster["a"].standing == Standing("leader", Term(1), A, True)
    assert cluster["c"].standing == Standing("follower", Term(1), A, False)
    assert cluster.nodes["c"].commands == [b"meanwhile"]


def test_24_a_term_that_was_reached_without_voting_opens_no_window() -> None:
    """The voter heard a leader of term 1, then learned of term 2 without voting in it: its promise still holds."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster["b"].step(heartbeat("a", "b", 1), cluster.now)
    cluster["b"].observe_term(Term(2), cluster.now)
    cluster.settle()
    cluster["b"].step(ask("c", "b", 2, last=99, last_term=1), cluster.now)
    answer = answer_of(cluster, "b")
    assert not answer.granted
    assert 0 < answer.window_left <= cluster.settings.window


def test_24_a_vote_of_before_the_window_is_said_again() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster["b"].step(ask("a", "b", 1, last=1, last_term=1), cluster.now)
    assert answer_of(cluster, "b").granted


@pytest.mark.parametrize("pre", [True, False])
def test_24_a_voter_that_hears_a_leader_refuses_and_keeps_its_term(pre: bool) -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    for voter in ("a", "b"):
        cluster["b"].step(heartbeat("a", "b", 1), cluster.now)
        cluster[voter].step(ask("c", voter, 9, last=99, last_term=8, pre=pre), cluster.now)
        answer = answer_of(cluster, voter)
        assert not answer.granted
        assert 0 < answer.window_left <= cluster.settings.window
        assert cluster[voter].standing.term == 1


def test_25_pre_vote_mixed_terms() -> None:
    """The node with the best log has the lowest term, the one with the highest term the worst log: no deadlock."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.nodes["c"].crash()
    cluster.propose("a", b"x")
    cluster.settle()
    cluster.nodes["a"].crash()
    cluster.nodes["c"].start()
    cluster["c"].observe_term(Term(8), cluster.now)
    cluster.advance(6 * cluster.settings.maximum_election)
    assert cluster.leader() == "b"
    assert cluster.nodes["c"].commands == [b"x"]


def test_54_lease_voter_restart() -> None:
    """A voter restarts, configured with a shorter window, inside the longer one that it had promised."""
    cluster = Cluster("a", "b", "c", settings=Settings(minimum_election=400))
    cluster.elect("a")
    cluster.nodes["b"].crash()
    cluster.nodes["b"].settings = Settings(minimum_election=200)
    cluster.nodes["b"].start()
    cluster["b"].set_eligible(False, cluster.now)
    cluster.isolate("a")
    cluster.now += 395
    cluster["b"].step(ask("c", "b", 9, last=99, last_term=8), cluster.now)
    assert not answer_of(cluster, "b").granted
    cluster.now += 10
    cluster["b"].step(ask("c", "b", 9, last=99, last_term=8), cluster.now)
    assert answer_of(cluster, "b").granted


def test_54_the_promise_is_synced_before_it_is_made() -> None:
    cluster = Cluster("a", "b", "c")
    cluster["b"].step(heartbeat("a", "b", 1), cluster.now)
    cluster.nodes["b"].collect()
    assert not cluster.wire
    cluster.nodes["b"].sync()
    assert cluster.nodes["b"].disk.hard_state.promised_window == cluster.settings.window
    assert [type(message) for message in cluster.take()] == [AppendResponse]


def test_56_refused_pre_vote_retry() -> None:
    """c heard the leader 100 ms later than b: b's pre-vote is refused, and tried again when c's window ends."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.advance(cluster.settings.heartbeat)
    cluster.nodes["a"].crash()
    cluster["c"].set_eligible(False, cluster.now)
    cluster.now += 100
    cluster["c"].step(heartbeat("a", "c", 1), cluster.now)
    heard = cluster.now
    cluster["b"].peer_lost(A, cluster.now)
    cluster.settle()
    while cluster["b"].standing.role == "follower":
        cluster.advance(5)
    assert cluster.now < heard + cluster.settings.window - 20, "b asks before c's window is over"
    cluster.advance(heard + 1.1 * cluster.settings.window - cluster.now)
    assert cluster["b"].standing.role == "leader"


def test_56_a_refusal_of_a_voter_that_was_just_born_is_heard() -> None:
    """Its term is 0, and its window is as long as everybody's after a start."""
    cluster = Cluster("a", "b", "c")
    cluster["a"]._core.election_at = cluster.now
    cluster.isolate("c")
    cluster.advance(5)
    assert not cluster["a"].ignored
    assert cluster["a"].wake_at <= cluster.now + 1.1 * cluster.settings.window


def test_56_a_killed_leader_is_replaced_in_little_more_than_the_window() -> None:
    for seed in range(50):
        cluster = Cluster("a", "b", "c", seed=seed)
        cluster.elect("b")
        cluster.advance(cluster.settings.heartbeat + 5 * (seed % 10))
        cluster.nodes["b"].crash()
        killed = cluster.now
        for node in cluster.live:
            node.core.peer_lost(B, cluster.now)
        while cluster.leader() is None:
            cluster.advance(5)
        assert cluster.now - killed <= 1.3 * cluster.settings.window


def test_64_quorum_end_is_step_down() -> None:
    """When the time is over nobody leads or labels again in that term, whatever arrives at that very moment."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    until = cluster["a"].quorum_until
    assert until is not None
    late = AppendResponse(B, A, Term(1), cluster["a"]._core.role.round, True, Index(1), Index(0), Term(0), 200.0)
    cluster.now = until
    cluster["a"].step(late, cluster.now)
    assert cluster["a"].standing == Standing("follower", Term(1), None, False)
    assert cluster["a"].quorum_until is None
    cluster.isolate("a")
    cluster.advance(10 * cluster.settings.maximum_election)
    assert cluster.leaders[Term(1)] == "a"
    assert cluster.leader() in ("b", "c")


def test_64_a_process_that_was_frozen_does_not_act_on_thaw() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.now += 30_000
    cluster["a"].tick(cluster.now)
    assert cluster["a"].standing.role == "follower"
    assert cluster["a"].quorum_until is None


def test_the_lease_is_empty_until_a_round_of_the_term_is_acknowledged() -> None:
    cluster = Cluster("a", "b", "c")
    cluster["b"].set_eligible(False, cluster.now)
    cluster["c"].set_eligible(False, cluster.now)
    while cluster["a"].standing.role != "leader":
        cluster.now += 5
        for node in cluster.live:
            node.core.tick(cluster.now)
            node.collect()
            node.sync()
        cluster.deliver(cluster.take(lambda message: not isinstance(message, AppendResponse)))
    assert cluster["a"].lease_until is None
    assert cluster["a"].quorum_until == cluster.now + cluster.settings.window
    sent = cluster.now
    for node in cluster.live:
        node.collect()
        node.sync()
    cluster.deliver(cluster.take(lambda message: isinstance(message, AppendEntries)))
    cluster.sync()
    cluster.now += 50
    cluster.deliver(cluster.take(lambda message: isinstance(message, AppendResponse)))
    assert cluster["a"].lease_until == pytest.approx(sent + 0.9 * cluster.settings.window)


def test_65_the_lease_follows_the_windows_that_acknowledgements_carry() -> None:
    cluster = Cluster("a", "b", "c", settings=Settings(minimum_election=400))
    for name in ("b", "c"):
        cluster.nodes[name].crash()
        cluster.nodes[name].settings = Settings(minimum_election=200)
        cluster.nodes[name].start()
    cluster.elect("a")
    lease = cluster["a"].lease_until
    assert lease is not None
    assert lease <= cluster.now + 0.9 * 200


def test_65_a_leader_answers_for_its_own_window_too() -> None:
    """Or another process on its volume could be elected before the lease ends: after a start it refuses for its own
    window only."""
    cluster = Cluster("a", "b", "c", settings=Settings(minimum_election=400))
    cluster.nodes["a"].crash()
    cluster.nodes["a"].settings = Settings(minimum_election=200)
    cluster.nodes["a"].start()
    cluster.elect("a")
    lease, quorum = cluster["a"].lease_until, cluster["a"].quorum_until
    assert lease is not None
    assert quorum is not None
    assert lease <= quorum <= cluster.now + 200


def test_67_observed_term() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster["a"].observe_term(Term(40), cluster.now)
    assert cluster["a"].standing == Standing("follower", Term(40), None, False)
    cluster.advance(3 * cluster.settings.maximum_election)
    assert cluster[cluster.leader() or ""].standing.term > 40


def test_67_a_term_that_nobody_can_have_counted_to_is_ignored() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    for term in (1 << 63, (1 << 62) - 1, 2 + (1 << 32)):
        cluster["a"].observe_term(Term(term), cluster.now)
    assert cluster["a"].standing.established
    assert cluster["a"].ignored["impossible"] == 3


def test_a_node_that_is_not_eligible_never_stands() -> None:
    cluster = Cluster("a", "b", "c")
    for node in cluster.live:
        node.core.set_eligible(node.name == "c", cluster.now)
    cluster.advance(3 * cluster.settings.maximum_election)
    assert cluster.leader() == "c"
    cluster.nodes["c"].crash()
    cluster.advance(10 * cluster.settings.maximum_election)
    assert cluster.leader() is None


def test_an_amnesiac_under_an_old_name_is_not_asked_for_its_vote() -> None:
    cluster = after_window("a", "b", "c")
    request = VoteRequest(B, A, Term(2), Incarnation("another"), Index(9), Term(1), pre_vote=False)
    cluster["a"].step(request, cluster.now)
    cluster.settle()
    assert not cluster.take()
    assert cluster["a"].ignored == {"incarnation": 1}
