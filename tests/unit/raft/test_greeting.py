"""Whom a member listens to."""

import msgspec
import pytest
from raft_cluster import CLUSTER, Cluster

from raftq_k8s.raft.consensus import NotLeader
from raftq_k8s.raft.greeting import STRANGERS_KEPT
from raftq_k8s.raft.membership import AddLearner, Hello, Identity, Member, Refusal, Remove
from raftq_k8s.raft.messages import AppendEntries, AppendResponse
from raftq_k8s.raft.output import Accepted, Refused
from raftq_k8s.raft.persistence import Receipt
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import BootId, ClusterId, Generation, Incarnation, Index, MemberId, Term

A, B, Z = MemberId("a"), MemberId("b"), MemberId("z")


def hello(
    member: str = "b",
    generation: int = 1,
    boot: str = "x",
    cluster: str | None = CLUSTER,
    incarnation: str | None = None,
) -> Hello:
    identity = Identity(
        ClusterId(cluster) if cluster else None,
        MemberId(member),
        Incarnation(incarnation or f"i-{member}"),
        Generation(generation),
        BootId(boot),
    )
    return Hello(1, 1, identity, None, "")


def verdict(cluster: Cluster, said: Hello) -> str:
    """What node a answers: `accepted`, or the kind of its refusal. Its disk syncs."""
    core = cluster["a"]
    core.step(said, cluster.now)
    output = core.take_output()
    if output.receipt is not None:
        assert not any(isinstance(greeting, Accepted) for greeting in output.greetings), "accepted before it was synced"
        core.persisted(output.receipt, cluster.now)
        output = core.take_output()
    (answer,) = output.greetings
    match answer:
        case Accepted(identity=identity):
            assert identity == said.identity
            assert core.recognises(said.identity)
            return "accepted"
        case Refused(refusal=refusal):
            assert not core.recognises(said.identity)
            assert core.ignored[f"hello-{refusal.kind}"] > 0
            return refusal.kind


def test_66_reconnect() -> None:
    """The same process comes back after its connection dropped: it is accepted again, and nothing is written for it."""
    cluster = Cluster("a", "b", "c")
    assert verdict(cluster, hello()) == "accepted"
    cluster["a"].peer_lost(MemberId("b"), cluster.now)
    cluster["a"].step(hello(), cluster.now)
    output = cluster["a"].take_output()
    assert output.write is None
    assert output.greetings == (Accepted(hello().identity),)


def test_59_the_younger_process_fences_the_older_one() -> None:
    cluster = Cluster("a", "b", "c")
    old, new = hello(generation=3, boot="old"), hello(generation=4, boot="new")
    assert verdict(cluster, old) == "accepted"
    assert verdict(cluster, new) == "accepted"
    assert not cluster["a"].recognises(old.identity)
    assert verdict(cluster, old) == "older-process"
    assert cluster["a"].recognises(new.identity)


def test_59_two_processes_of_one_generation_are_not_both_heard() -> None:
    cluster = Cluster("a", "b", "c")
    assert verdict(cluster, hello(generation=3, boot="one")) == "accepted"
    assert verdict(cluster, hello(generation=3, boot="two")) == "older-process"


def test_59_a_restart_remembers_the_youngest_process_it_met() -> None:
    cluster = Cluster("a", "b", "c")
    node = cluster.nodes["a"]
    node.core.step(hello(generation=5), cluster.now)
    node.collect()
    node.sync()
    node.crash()
    node.start()
    assert verdict(cluster, hello(generation=4)) == "older-process"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (hello(cluster="another"), "other-cluster"),
        (hello(member="a"), "own-name"),
        (hello(incarnation="wiped"), "namesake"),
        (hello(cluster=None, incarnation="wiped"), "namesake"),
        (hello(cluster=None), "accepted"),
        (hello(member="z"), "accepted"),
        (hello(member="z", cluster=None), "accepted"),
    ],
)
def test_49_who_is_listened_to(said: Hello, kind: str) -> None:
    assert verdict(Cluster("a", "b", "c"), said) == kind


@pytest.mark.parametrize(
    "changed",
    [{"protocol_min": 2}, {"protocol_min": -1}, {"term": -1}, {"last_index": -1}, {"protocol_max": 1 << 40}],
)
def test_what_no_correct_process_says_of_itself_is_refused(changed: dict[str, int]) -> None:
    assert verdict(Cluster("a", "b", "c"), msgspec.structs.replace(hello(), **changed)) == "malformed"


def test_61_replace_only_silent() -> None:
    """A blank namesake of a connected member is refused; when that is gone, it is listened to, and when that comes
    back, told to go."""
    cluster = Cluster("a", "b", "c")
    blank = hello(cluster=None, incarnation="wiped")
    assert verdict(cluster, blank) == "namesake"
    cluster["a"].peer_lost(B, cluster.now)
    assert verdict(cluster, blank) == "accepted"
    cluster["a"].step(hello(generation=2), cluster.now)
    cluster.nodes["a"].collect()
    cluster["a"].persisted(cluster.nodes["a"].disk.sync()[0], cluster.now)
    former, returned = cluster["a"].take_output().greetings
    assert isinstance(former, Refused)
    assert former.identity == blank.identity
    assert former.refusal.kind == "namesake"
    assert isinstance(returned, Accepted)
    assert cluster["a"].recognises(hello(generation=2).identity)
    assert not cluster["a"].recognises(blank.identity)


@pytest.mark.parametrize("first", ["member", "namesake"])
def test_61_a_namesake_does_not_slip_in_while_the_disk_is_slow(first: str) -> None:
    """Both say hello before either was written down: whoever is a member is listened to."""
    cluster = Cluster("a", "b", "c")
    cluster["a"].peer_lost(B, cluster.now)
    member, namesake = hello(generation=2), hello(cluster=None, incarnation="wiped")
    for said in (member, namesake) if first == "member" else (namesake, member):
        cluster["a"].step(said, cluster.now)
    greetings = list(cluster["a"].take_output().greetings)
    cluster["a"].persisted(Receipt(1), cluster.now)
    greetings += cluster["a"].take_output().greetings
    assert Accepted(member.identity) in greetings
    assert [greeting.refusal.kind for greeting in greetings if isinstance(greeting, Refused)] == ["namesake"]
    assert Accepted(namesake.identity) not in greetings
    assert cluster["a"].recognises(member.identity)


def test_49_what_a_namesake_says_is_not_counted() -> None:
    """It may speak, for it wants to join. Its acknowledgements are nobody's."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster["a"].peer_lost(B, cluster.now)
    assert verdict(cluster, hello(cluster=None, incarnation="wiped")) == "accepted"
    cluster.deliver([AppendResponse(B, A, Term(1), 1, True, Index(1), Index(0), Term(0), 200.0)])
    assert cluster["a"].ignored["no-member"] == 1


def test_a_stranger_of_this_cluster_may_lead() -> None:
    """It was made a member, and a leader, while this node was away."""
    cluster = Cluster("a", "b", "c")
    assert verdict(cluster, hello(member="z")) == "accepted"
    cluster.deliver([AppendEntries(Z, A, Term(7), 1, Index(0), Term(0), Index(0), ())])
    assert cluster["a"].standing.leader == "z"
    cluster.deliver([AppendEntries(MemberId("y"), A, Term(8), 1, Index(0), Term(0), Index(0), ())])
    assert cluster["a"].standing.leader == "z", "nobody heard y greet"


def test_a_process_that_turns_out_to_belong_elsewhere_is_not_listened_to_any_more() -> None:
    """It was blank when it was accepted, and was born into another cluster since."""
    cluster = Cluster("a", "b", "c")
    assert verdict(cluster, hello(member="z", cluster=None)) == "accepted"
    assert verdict(cluster, hello(member="z", cluster="another")) == "other-cluster"
    cluster.deliver([AppendEntries(Z, A, Term(7), 1, Index(0), Term(0), Index(0), ())])
    assert cluster["a"].standing.leader is None


def test_strangers_that_are_gone_fill_no_memory() -> None:
    cluster = Cluster("a", "b", "c")
    for number in range(10):
        assert verdict(cluster, hello(member=f"z{number}")) == "accepted"
        cluster["a"].peer_lost(MemberId(f"z{number}"), cluster.now)
    cluster["a"].peer_lost(B, cluster.now)
    core = cluster["a"]._core
    assert set(core.accepted) == set(core.speaks) == {"b", "c"}


def test_the_connection_of_a_strangers_former_process_may_die_after_its_next_one_said_hello() -> None:
    """That one waits for the disk, and becomes a member: what it speaks is known."""
    cluster = Cluster("a", settings=Settings(max_voters=1))
    cluster.elect("a")
    assert verdict(cluster, hello(member="z")) == "accepted"
    cluster["a"].step(hello(member="z", generation=2), cluster.now)
    cluster["a"].peer_lost(Z, cluster.now)
    cluster.settle()
    assert cluster["a"].recognises(hello(member="z", generation=2).identity)
    cluster.change("a", AddLearner(Member(Z, Incarnation("i-z"))))
    cluster.nodes["a"].sync()
    cluster["a"].tick(cluster.now)
    assert cluster["a"].membership.learners


def test_strangers_fill_no_volume() -> None:
    cluster = Cluster("a", "b", "c")
    verdict(cluster, hello())
    for number in range(2 * STRANGERS_KEPT):
        verdict(cluster, hello(member=f"z{number}"))
    cluster.nodes["a"].collect()
    remembered = cluster["a"]._core.seen
    assert len(remembered) <= STRANGERS_KEPT + 2
    assert Member(B, Incarnation("i-b")) in remembered


# ---------------------------------------------------------------------------------------------------------- tombstones


def test_60_tombstone() -> None:
    """Removed while it was away: its hello is refused, and it stops when it hears why. Nobody is disturbed."""
    cluster = Cluster("a", "b", "c", settings=Settings(max_voters=1))
    cluster.elect("a")
    cluster.isolate("c")
    cluster.change("a", Remove(cluster.nodes["c"].member))
    cluster.advance(100)
    assert not cluster["a"].recognises(cluster.nodes["c"].identity), "its connection is told to end"
    term = cluster["a"].standing.term
    cluster.heal()
    cluster["a"].step(cluster.nodes["c"].hello, cluster.now)
    (answer,) = cluster["a"].take_output().greetings
    assert isinstance(answer, Refused)
    assert answer.refusal.kind == "removed"
    cluster.advance(3000)
    assert cluster["c"].standing.role != "leader"
    assert cluster["a"].standing.term == term

    cluster["c"].refused_by(cluster.nodes["a"].identity, answer.refusal, cluster.now)
    campaigns = dict(cluster["c"].elections)
    cluster.advance(5000)
    assert cluster["c"].fenced == answer.refusal
    assert cluster["c"].standing.role == "follower"
    assert cluster["c"].elections == campaigns
    assert cluster["c"].wake_at == float("inf")
    assert cluster["a"].standing.term == term


def test_60_a_blank_process_under_a_removed_incarnation_is_refused() -> None:
    cluster = Cluster("a", "b", "c", settings=Settings(max_voters=1))
    cluster.elect("a")
    cluster.change("a", Remove(cluster.nodes["c"].member))
    cluster.advance(100)
    assert verdict(cluster, hello(member="c", cluster=None)) == "removed"
    assert verdict(cluster, hello(member="c", cluster=None, incarnation="new")) == "accepted"


def test_60_a_removal_that_is_committed_while_a_hello_waits_for_the_disk_is_heeded() -> None:
    cluster = Cluster("a", "b", "c", settings=Settings(max_voters=1))
    cluster.elect("a")
    cluster.isolate("c")
    cluster.change("a", Remove(cluster.nodes["c"].member))
    cluster.nodes["a"].slow_disk = True
    said = restarted(cluster, "c")
    cluster["a"].step(said, cluster.now)
    cluster.advance(20)
    cluster.nodes["b"].sync()
    cluster.nodes["a"].slow_disk = False
    cluster.advance(100)
    assert not cluster["a"].changing
    assert not cluster["a"].recognises(said.identity)


def test_a_removal_that_is_not_committed_bars_nobody() -> None:
    cluster = Cluster("a", "b", "c", settings=Settings(max_voters=1))
    cluster.elect("a")
    cluster.isolate("a")
    cluster.change("a", Remove(cluster.nodes["c"].member))
    assert verdict(cluster, restarted(cluster, "c")) == "accepted"


# ------------------------------------------------------------------------------------------------------------- fencing


@pytest.mark.parametrize("kind", ["removed", "older-process", "rolled-back"])
def test_59_a_fenced_process_takes_no_part(kind: str) -> None:
    """It does not vote, lead, acknowledge or stand; what had not left stays unsaid."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.propose("a", b"x")
    cluster["a"].refused_by(cluster.nodes["b"].identity, Refusal(kind, "why"), cluster.now)
    cluster.take()
    assert cluster["a"].standing.role == "follower"
    assert cluster["a"].standing.leader is None
    assert cluster["a"].take_output().messages == ()
    cluster.nodes["a"].sync()
    with pytest.raises(NotLeader):
        cluster.propose("a", b"y")
    cluster.isolate("b")
    cluster.advance(3000)
    assert cluster.leader() is None, "it votes for nobody"
    assert cluster["a"].ignored["fenced"] > 0
    cluster["a"].refused_by(cluster.nodes["b"].identity, Refusal("removed", "later"), cluster.now)
    assert cluster["a"].fenced == Refusal(kind, "why"), "the first reason stays"


def test_a_process_is_not_fenced_by_another_cluster_nor_for_less() -> None:
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    stranger = msgspec.structs.replace(cluster.nodes["b"].identity, cluster=ClusterId("other"))
    cluster["a"].refused_by(stranger, Refusal("removed", "why"), cluster.now)
    for kind in ("other-cluster", "namesake", "version", "own-name", "stopped", ""):
        cluster["a"].refused_by(cluster.nodes["b"].identity, Refusal(kind, "why"), cluster.now)
    assert cluster["a"].fenced is None
    assert cluster["a"].standing.established


# ---------------------------------------------------------------------------------------------------------- rolled back


def restarted(
    cluster: Cluster, name: str, *, term: int | None = None, vote: str | None = "", last: int | None = None
) -> Hello:
    """The hello of that node after another start, with its volume as it is, but for what is named."""
    said = cluster.nodes[name].hello
    identity = msgspec.structs.replace(said.identity, generation=Generation(9), boot=BootId("again"))
    return msgspec.structs.replace(
        said,
        identity=identity,
        term=said.term if term is None else Term(term),
        vote=said.vote if vote == "" else None if vote is None else MemberId(vote),
        last_index=said.last_index if last is None else Index(last),
    )


def led_with_x() -> Cluster:
    """a leads term 1, b and c voted for it and hold x at index 2, which is committed."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.propose("a", b"x")
    cluster.advance(100)
    return cluster


def test_58_rolled_back_volume() -> None:
    for changed in ({"term": 0}, {"vote": None}, {"vote": "c"}, {"last": 1}, {"term": 5, "last": 1}):
        cluster = led_with_x()
        assert verdict(cluster, restarted(cluster, "b", **changed)) == "rolled-back"  # type: ignore[arg-type]


def test_58_a_whole_volume_is_none() -> None:
    for changed in ({}, {"term": 5}, {"term": 5, "vote": "c"}, {"last": 7}):
        cluster = led_with_x()
        assert verdict(cluster, restarted(cluster, "b", **changed)) == "accepted"  # type: ignore[arg-type]


def test_58_a_legally_truncated_node_is_no_rolled_back_one() -> None:
    """b acknowledged what a could not commit; the next leader removed it."""
    cluster = Cluster("a", "b", "c", "d", "e")
    cluster.elect("a")
    cluster.advance(100)
    for name in "cde":
        cluster.isolate(name)
    cluster.propose("a", b"lost")
    cluster.settle()
    cluster.propose("a", b"lost too")
    cluster.settle()
    assert cluster["b"].last_index == 3
    shortened = restarted(cluster, "b", term=2, vote=None, last=2)
    assert verdict(cluster, shortened) == "accepted"


def test_58_what_the_running_process_said_long_ago_accuses_nobody() -> None:
    """A hello may be overtaken by acknowledgements of the same process, on another connection."""
    cluster = Cluster("a", "b", "c")
    early = cluster.nodes["b"].hello
    cluster.elect("a")
    cluster.propose("a", b"x")
    cluster.advance(100)
    assert verdict(cluster, early) == "accepted"


def test_58_a_namesake_answers_for_itself() -> None:
    cluster = led_with_x()
    cluster["a"].peer_lost(B, cluster.now)
    assert verdict(cluster, hello(incarnation="wiped", cluster=None)) == "accepted"


def test_58_a_vote_alone_is_remembered() -> None:
    """b voted for a, which has not heard it acknowledge anything yet."""
    cluster = Cluster("a", "b", "c")
    cluster.isolate("c")
    while cluster["a"].standing.role != "leader":
        cluster["b"].set_eligible(False, cluster.now)
        cluster.now += 5
        cluster["a"].tick(cluster.now)
        cluster.deliver(cluster.take(lambda message: not isinstance(message, AppendEntries)))
        cluster.sync()
    voted = restarted(cluster, "b")
    assert verdict(cluster, msgspec.structs.replace(voted, vote=None)) == "rolled-back"
    assert verdict(cluster, msgspec.structs.replace(voted, term=Term(0), vote=None)) == "rolled-back"
    assert verdict(cluster, voted) == "accepted"


def test_a_process_is_recognised_whatever_it_knew_of_its_cluster_when_it_said_hello() -> None:
    """Its hellos travel on two connections: the one of before it adopted the record may be heard last."""
    for order in ([None, CLUSTER], [CLUSTER, None]):
        cluster = Cluster("a", "b", "c")
        for known in order:
            assert verdict(cluster, hello(cluster=known)) == "accepted"
        assert cluster["a"].recognises(hello(cluster=None).identity)
        assert cluster["a"].recognises(hello(cluster=CLUSTER).identity)
        assert not cluster["a"].recognises(hello(boot="another").identity)
