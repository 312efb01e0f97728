"""How a process becomes a member, and how it stops being one."""

import pytest
from raft_cluster import CLUSTER, Cluster

from raftq_k8s.raft.joining import MOST_MET, Applicant
from raftq_k8s.raft.membership import (
    MOST_MEMBERS,
    AddLearner,
    BirthRecord,
    ChangeRefused,
    Identity,
    Member,
    Membership,
    Promote,
    Remove,
    Replace,
    ReplaceVoters,
    changed,
)
from raftq_k8s.raft.messages import JoinRequest, JoinResponse, LeaveRequest
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import NO_TERM, BootId, ClusterId, Generation, Incarnation, Index, MemberId, Term

A, B, C, D = (MemberId(name) for name in "abcd")


def led_by_a(*names: str, max_voters: int = 5) -> Cluster:
    cluster = Cluster(*(names or ("a", "b", "c")), settings=Settings(max_voters=max_voters))
    cluster.elect("a")
    cluster.advance(cluster.settings.maximum_election)
    return cluster


def ask(cluster: Cluster, applicant: str, member: str) -> JoinResponse:
    node = cluster.nodes[applicant]
    cluster.deliver([JoinRequest(node.name, MemberId(member), NO_TERM, node.incarnation)])
    (answer,) = cluster.take(lambda message: isinstance(message, JoinResponse))
    assert isinstance(answer, JoinResponse)
    cluster.settle()
    return answer


# -------------------------------------------------------------------------------------------------------------- leaders


def test_57_a_newcomer_is_added_and_hears_of_it_when_that_is_committed() -> None:
    cluster = led_by_a(max_voters=3)
    cluster.add("d")
    first = ask(cluster, "d", "a")
    assert (first.granted, first.reason) == (False, "d is being added")
    assert ask(cluster, "d", "a").granted
    assert cluster["a"].membership.learners == (cluster.nodes["d"].member,)
    cluster.advance(100)
    assert ask(cluster, "d", "b").granted, "whoever knows that it is committed says so"


def test_it_is_not_granted_before_it_is_committed() -> None:
    cluster = led_by_a()
    cluster.add("d")
    for name in "bc":
        cluster.isolate(name)
    assert not ask(cluster, "d", "a").granted
    again = ask(cluster, "d", "a")
    assert (again.granted, again.reason) == (False, "d is being added")


def test_whoever_does_not_lead_says_who_does() -> None:
    cluster = led_by_a()
    cluster.add("d")
    answer = ask(cluster, "d", "b")
    assert (answer.granted, answer.leader) == (False, "a")
    assert "b does not lead, a does" in answer.reason


def test_invented_applicants_fill_no_configuration() -> None:
    """A member that lost its volume is taken in again all the same."""
    others = tuple(Member(MemberId(f"n{number}"), Incarnation("x")) for number in range(MOST_MEMBERS - 1))
    full = Membership(voters=(Member(A, Incarnation("x")),), learners=tuple(sorted(others, key=lambda one: one.name)))
    another = Member(B, Incarnation("x"))
    for change in (AddLearner(another), ReplaceVoters((*full.voters, another))):
        with pytest.raises(ChangeRefused, match="no more than 256 members"):
            changed(full, change)
    replaced = Member(MemberId("n7"), Incarnation("y"))
    assert replaced in changed(full, Replace(replaced)).learners


def test_61_a_namesake_of_whoever_is_heard_does_not_replace_it() -> None:
    cluster = led_by_a()
    cluster.nodes["c"].wipe()
    cluster.nodes["c"].start()
    answer = ask(cluster, "c", "a")
    assert not answer.granted
    assert answer.reason == "c (incarnation i-c) was heard within 10000 ms"
    cluster.advance(9000)
    assert not ask(cluster, "c", "a").granted
    assert cluster["a"].membership.learners == ()
    cluster.advance(1500)
    assert ask(cluster, "c", "a").reason == "c is being added"
    assert ask(cluster, "c", "a").granted
    assert cluster["a"].membership.tombstones == (Member(C, Incarnation("i-c")),)
    cluster.advance(500)
    assert cluster.nodes["c"].member in cluster["a"].membership.voters, "it has caught up since"


def test_61_the_silence_counts_from_the_election_on() -> None:
    """A new leader has heard nobody before: who was not heard by it was not silent for long."""
    cluster = led_by_a()
    cluster.nodes["c"].wipe()
    cluster.advance(9000)
    cluster.nodes["a"].crash()
    cluster.nodes["a"].start()
    cluster.elect("b")
    cluster.nodes["c"].start()
    cluster.advance(2000)
    assert "was heard within" in ask(cluster, "c", "b").reason


def test_60_a_removed_incarnation_is_not_taken_in_again() -> None:
    cluster = led_by_a()
    cluster.change("a", Remove(cluster.nodes["c"].member))
    cluster.advance(100)
    cluster.nodes["a"].meet(cluster.nodes["c"])
    assert "never comes back" in ask(cluster, "c", "a").reason


def test_a_request_for_another_incarnation_than_its_own_is_ignored() -> None:
    cluster = led_by_a()
    cluster.add("d")
    cluster.deliver([JoinRequest(D, A, NO_TERM, Incarnation("another"))])
    assert cluster["a"].ignored["incarnation"] == 1
    assert not cluster.take(lambda message: isinstance(message, JoinResponse))


def test_a_member_hears_no_answers() -> None:
    cluster = led_by_a()
    cluster.deliver([JoinResponse(B, A, Term(1), Incarnation("i-a"), True, B, "")])
    assert cluster["a"].ignored["late-join"] == 1


@pytest.mark.parametrize(
    "message",
    [
        JoinRequest(D, A, NO_TERM, Incarnation("")),
        JoinRequest(D, A, Term(-1), Incarnation("x")),
        LeaveRequest(B, A, Term(1), Incarnation("")),
        LeaveRequest(B, A, NO_TERM, Incarnation("i-b")),
    ],
)
def test_what_no_correct_process_asks_is_ignored(message: JoinRequest | LeaveRequest) -> None:
    cluster = led_by_a()
    cluster.add("d")
    cluster.deliver([message])
    assert cluster["a"].ignored["impossible"] == 1


# ----------------------------------------------------------------------------------------------------------- promotion


def test_37_promoted_only_when_caught_up() -> None:
    """A learner votes as soon as it has caught up, and there are too few voters; not while it lacks much."""
    cluster = led_by_a()
    cluster.add("d")
    cluster.cut |= {("a", "d")}
    cluster.change("a", AddLearner(cluster.nodes["d"].member))
    cluster.advance(1000)
    assert cluster["a"].voters == (A, B, C)
    cluster.heal()
    cluster.advance(500)
    assert cluster["a"].voters == cluster["d"].voters == (A, B, C, D)


def test_there_are_not_more_voters_than_wanted() -> None:
    """Of the learners the one that has kept up longest takes the place of a voter that leaves."""
    cluster = led_by_a(max_voters=3)
    for name in "ed":
        cluster.change("a", AddLearner(cluster.add(name).member))
        cluster.advance(100)
    cluster.advance(2000)
    assert cluster["a"].voters == (A, B, C)
    cluster["a"].depart(C, cluster.now)
    cluster.advance(500)
    assert cluster["a"].voters == (A, B, "e")
    assert cluster["a"].learners == (D,)


def with_a_learner_and_a_dead_voter(**settings: float) -> Cluster:
    """c has just died; d has caught up, and there are as many voters as wanted."""
    cluster = Cluster("a", "b", "c", settings=Settings(max_voters=3, **settings))  # type: ignore[arg-type]
    cluster.elect("a")
    cluster.change("a", AddLearner(cluster.add("d").member))
    cluster.advance(2000)
    cluster.nodes["c"].crash()
    return cluster


def test_a_voter_that_is_dead_for_long_enough_is_replaced_by_a_learner() -> None:
    cluster = with_a_learner_and_a_dead_voter(replace_dead_after=5000.0)
    cluster.advance(4900)
    assert cluster["a"].voters == (A, B, C)
    cluster.advance(400)
    assert cluster["a"].voters == cluster["d"].voters == (A, B, D)
    assert not cluster["a"].changing
    assert cluster["a"].membership.tombstones == (cluster.nodes["c"].member,)
    cluster.advance(10_000)
    assert cluster["a"].voters == (A, B, D)


def test_a_dead_voter_stays_one_by_default() -> None:
    cluster = with_a_learner_and_a_dead_voter()
    cluster.advance(60_000)
    assert cluster["a"].voters == (A, B, C)


def test_a_dead_voter_without_a_successor_stays_one() -> None:
    """Fewer voters would tolerate fewer failures when it comes back."""
    cluster = with_a_learner_and_a_dead_voter(replace_dead_after=5000.0)
    cluster.cut |= {("a", "d"), ("d", "a")}
    cluster.advance(10_000)
    assert cluster["a"].voters == (A, B, C)
    cluster.heal()
    cluster.advance(1000)
    assert cluster["a"].voters == (A, B, D)


def test_of_two_dead_voters_the_one_that_is_dead_longer_is_replaced_first() -> None:
    cluster = Cluster(*"abcde", settings=Settings(replace_dead_after=5000.0))
    cluster.elect("a")
    cluster.change("a", AddLearner(cluster.add("f").member))
    cluster.advance(2000)
    cluster.nodes["e"].crash()
    cluster.advance(1000)
    cluster.nodes["b"].crash()
    cluster.advance(10_000)
    assert cluster["a"].voters == (A, B, C, D, "f")


def test_it_is_dead_only_as_long_as_its_leader_has_listened() -> None:
    cluster = with_a_learner_and_a_dead_voter(replace_dead_after=5000.0)
    cluster.advance(4000)
    cluster["a"].transfer(B, cluster.now)
    cluster.advance(4000)
    assert cluster.leader() == B
    assert cluster["b"].voters == (A, B, C)
    cluster.advance(1500)
    assert cluster["b"].voters == (A, B, D)


# -------------------------------------------------------------------------------------------------------------- paused


def paused(cluster: Cluster, whether: bool) -> Cluster:
    for node in cluster.live:
        node.core.set_paused(whether)
    return cluster


def test_while_paused_nobody_is_promoted_removed_or_replaced() -> None:
    cluster = paused(with_a_learner_and_a_dead_voter(replace_dead_after=1000.0), True)
    cluster["a"].depart(B, cluster.now)
    cluster.nodes["c"].wipe()
    cluster.nodes["c"].start()
    cluster.advance(11_000)
    assert ask(cluster, "c", "a").reason == "the cluster is paused, and c (incarnation i-c) is not replaced"
    assert (cluster["a"].voters, cluster["a"].learners) == ((A, B, C), (D,))
    paused(cluster, False)
    cluster.advance(1000)
    assert cluster["a"].voters == (A, D), "b has left, and a learner took the place of c"


def test_while_paused_a_newcomer_learns_and_a_person_decides() -> None:
    cluster = paused(led_by_a(), True)
    cluster.add("d")
    assert ask(cluster, "d", "a").reason == "d is being added"
    cluster.advance(1000)
    assert cluster["a"].voters == (A, B, C)
    cluster.change("a", Promote(cluster.nodes["d"].member))
    cluster.advance(100)
    assert cluster["a"].voters == (A, B, C, D)


def test_a_leader_that_has_not_applied_the_log_before_its_election_leaves_the_members_alone() -> None:
    """It cannot know whether the cluster is paused."""
    cluster = led_by_a()
    cluster.change("a", AddLearner(cluster.add("d").member))
    first = cluster["a"]._core.role
    assert isinstance(first, Leader)
    cluster["a"]._core.applied = Index(first.first_index - 1)
    cluster["a"].depart(C, cluster.now)
    assert cluster["a"].voters == (A, B, C)
    cluster["a"].applied(first.first_index)
    cluster.advance(500)
    assert cluster["a"].voters == (A, B, D)


# ------------------------------------------------------------------------------------------------------------- leaving


def test_a_member_that_asks_to_leave_is_removed() -> None:
    cluster = led_by_a()
    cluster["b"].depart(B, cluster.now)
    cluster.advance(200)
    assert cluster["a"].voters == (A, C)
    assert cluster["a"].membership.tombstones == (cluster.nodes["b"].member,)
    assert cluster["b"].standing.role == "follower"


def test_it_asks_again_until_somebody_hears_it() -> None:
    cluster = led_by_a()
    cluster.isolate("b")
    cluster["b"].depart(B, cluster.now)
    cluster.advance(1000)
    assert cluster["a"].voters == (A, B, C)
    cluster.heal()
    cluster.advance(1500)
    assert cluster["c"].voters == (A, C)


def test_only_a_member_is_noted_to_leave() -> None:
    """And no other incarnation that it invents."""
    cluster = led_by_a()
    cluster.deliver([LeaveRequest(B, A, Term(1), Incarnation(f"invented-{number}")) for number in range(10)])
    assert not cluster["a"]._core.departing
    cluster.advance(300)
    assert cluster["a"].voters == (A, B, C)


def test_nobody_is_removed_without_whom_the_rest_would_stand_still() -> None:
    """c is dead: a and b are just enough."""
    cluster = led_by_a()
    cluster.nodes["c"].crash()
    cluster.advance(300)
    cluster["a"].depart(B, cluster.now)
    cluster.advance(1000)
    assert cluster["a"].voters == (A, B, C)
    cluster.nodes["c"].start()
    cluster.advance(500)
    assert cluster["a"].voters == (A, C)


def test_several_leave_one_after_another() -> None:
    cluster = led_by_a(*"abcde")
    for name in (B, C, D):
        cluster["a"].depart(name, cluster.now)
    cluster.advance(1000)
    assert cluster["a"].voters == (A, "e")


def test_who_is_no_member_cannot_leave() -> None:
    cluster = led_by_a()
    cluster["a"].depart(MemberId("z"), cluster.now)
    cluster.advance(300)
    assert cluster["a"].voters == (A, B, C)


def test_a_learner_that_leaves_is_not_promoted_first() -> None:
    cluster = led_by_a(max_voters=4)
    cluster.change("a", AddLearner(cluster.add("d").member))
    cluster["a"].depart(D, cluster.now)
    cluster.advance(500)
    assert cluster["a"].voters == (A, B, C)
    assert cluster["a"].learners == ()


def test_a_leader_that_leaves_hands_over() -> None:
    cluster = led_by_a()
    cluster["a"].depart(A, cluster.now)
    cluster.advance(300)
    assert cluster.leader() in (B, C)
    assert cluster["a"].fenced is not None
    assert cluster["a"].fenced.kind == "removed"


# ---------------------------------------------------------------------------------------------------------- applicants


def record(cluster: str = CLUSTER) -> BirthRecord:
    return BirthRecord(ClusterId(cluster), (Member(A, Incarnation("i-a")),), Term(1))


def applicant() -> Applicant:
    identity = Identity(None, D, Incarnation("i-d"), Generation(1), BootId("x"))
    return Applicant(identity, 200.0)


def answer(source: MemberId, *, granted: bool = False, leader: MemberId | None = None) -> JoinResponse:
    return JoinResponse(source, D, Term(3), Incarnation("i-d"), granted, leader, "not now")


def asked(process: Applicant, now: float) -> list[MemberId]:
    return [request.destination for request in process.ask(now)]


def test_an_applicant_asks_all_it_knows_and_then_whoever_leads() -> None:
    process = applicant()
    assert asked(process, 0.0) == []
    process.meet(B, record())
    process.meet(A, record())
    assert asked(process, 0.0) == [A, B]
    assert asked(process, 100.0) == []
    process.hear(answer(B, leader=A))
    assert asked(process, 100.0) == [A], "at once"
    assert process.wake_at == 300.0
    process.hear(answer(A, leader=A))
    assert "a says: not now" in process.waiting_for
    assert asked(process, 300.0) == [A, B], "who led may be gone"


def test_an_applicant_belongs_to_the_cluster_that_took_it_in() -> None:
    process = applicant()
    process.meet(A, record())
    process.hear(answer(B, granted=True))
    assert process.record is None, "b was never met"
    process.hear(JoinResponse(A, D, Term(3), Incarnation("another"), True, A, ""))
    assert process.record is None, "that was for another process"
    process.hear(answer(A, granted=True))
    assert process.record == record()
    assert asked(process, 1000.0) == []
    assert process.wake_at == float("inf")


def test_an_applicant_that_hears_of_two_clusters_joins_neither() -> None:
    process = applicant()
    process.meet(A, record())
    process.meet(B, record("other"))
    assert asked(process, 0.0) == []
    assert "different clusters (other, test)" in process.waiting_for
    process.lost(B)
    assert asked(process, 0.0) == [], "what was heard is not forgotten"
    process.forget(B)
    assert asked(process, 0.0) == [A], "it is blank itself"


def test_an_applicant_remembers_a_bounded_number_of_strangers() -> None:
    process = applicant()
    for number in range(MOST_MET):
        assert process.may_meet(ClusterId(CLUSTER))
        process.meet(MemberId(f"n{number}"), record())
    assert not process.may_meet(ClusterId(CLUSTER))
    assert not process.may_meet(ClusterId("other"))
