"""Members come and go. The numbers in the names are those of the list of scenarios in `docs/consensus.md`."""

import msgspec
import pytest
from raft_cluster import Cluster

from raftq_k8s.raft.configuration import decode
from raftq_k8s.raft.consensus import Consensus, NotLeader
from raftq_k8s.raft.membership import (
    MOST_TOMBSTONES,
    AddLearner,
    ChangeRefused,
    Member,
    Membership,
    Promote,
    RaiseVersion,
    Remove,
    Replace,
    ReplaceVoters,
    changed,
)
from raftq_k8s.raft.messages import AppendEntries, AppendResponse, EntryKind, Message, TimeoutNow, VoteRequest
from raftq_k8s.raft.output import Refused
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import Incarnation, Index, MemberId, Term

NO_PROMOTION = Settings(max_voters=1)
"""Learners stay learners until a test promotes them."""


def led_by_a(*names: str) -> Cluster:
    """Windows after the start are over, and the first entry of the term is committed everywhere."""
    cluster = Cluster(*(names or ("a", "b", "c")), settings=NO_PROMOTION)
    cluster.elect("a")
    cluster.advance(cluster.settings.maximum_election)
    return cluster


def voters(cluster: Cluster, name: str) -> str:
    return "".join(voter.name for voter in cluster[name].membership.voters)


def change(cluster: Cluster, change: AddLearner | Promote | Remove | Replace | ReplaceVoters) -> None:
    """By the leader a, and committed."""
    cluster.change("a", change)
    cluster.advance(100)
    assert not cluster["a"].changing


def with_learner(name: str = "d") -> Cluster:
    cluster = led_by_a()
    change(cluster, AddLearner(cluster.add(name).member))
    cluster.advance(100)
    return cluster


# ------------------------------------------------------------------------------------------------------- one at a time


def test_32_one_change_at_a_time() -> None:
    cluster = led_by_a()
    d, e = cluster.add("d"), cluster.add("e")
    cluster.change("a", AddLearner(d.member))
    with pytest.raises(ChangeRefused, match="the last change is not committed yet"):
        cluster.change("a", AddLearner(e.member))
    cluster.settle()
    cluster.change("a", AddLearner(e.member))
    cluster.settle()
    assert cluster["a"].membership.learners == (d.member, e.member)


def test_33_config_after_noop() -> None:
    """A leader that has not committed anything in its term cannot know whether the last configuration in its log is the
    one to build on."""
    cluster = Cluster("a", "b", "c")
    for name in "bc":
        cluster.nodes[name].slow_disk = False
        cluster[name].set_eligible(False, cluster.now)
    while cluster["a"].standing.role != "leader":
        cluster.now += 5
        cluster["a"].tick(cluster.now)
        for node in cluster.live:
            node.collect()
            node.sync()
        cluster.deliver(cluster.take(lambda message: not isinstance(message, AppendEntries)))
    assert not cluster["a"].standing.established
    with pytest.raises(ChangeRefused, match="no entry of this term is committed yet"):
        cluster.change("a", Remove(cluster.nodes["b"].member))


def test_only_a_leader_begins_a_change() -> None:
    cluster = led_by_a()
    with pytest.raises(NotLeader):
        cluster.change("b", Remove(cluster.nodes["c"].member))


def test_no_change_is_begun_while_leadership_is_handed_over() -> None:
    cluster = led_by_a()
    cluster["a"].transfer(MemberId("b"), cluster.now)
    with pytest.raises(ChangeRefused, match="handed to b"):
        cluster.change("a", Remove(cluster.nodes["c"].member))


@pytest.mark.parametrize(
    ("nonsense", "reason"),
    [
        (AddLearner(Member(MemberId("b"), Incarnation("other"))), "b is a member already"),
        (AddLearner(Member(MemberId("b"), Incarnation("i-b"))), "b is a member already"),
        (AddLearner(Member(MemberId(""), Incarnation("x"))), "a name and an incarnation"),
        (Promote(Member(MemberId("b"), Incarnation("i-b"))), "is no learner"),
        (Remove(Member(MemberId("b"), Incarnation("other"))), "is no member"),
        (Replace(Member(MemberId("b"), Incarnation("i-b"))), "no other incarnation of b"),
        (Replace(Member(MemberId("z"), Incarnation("i-z"))), "no other incarnation of z"),
        (ReplaceVoters(()), "to be named, each once"),
        (
            ReplaceVoters((Member(MemberId("z"), Incarnation("1")), Member(MemberId("z"), Incarnation("2")))),
            "to be named, each once",
        ),
        (ReplaceVoters((Member(MemberId("b"), Incarnation("other")),)), "with another incarnation"),
        (ReplaceVoters(tuple(Member(MemberId(n), Incarnation(f"i-{n}")) for n in "cab")), "the voters already"),
        (RaiseVersion(1), "the version is 1 already"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(nonsense: AddLearner, reason: str) -> None:
    cluster = led_by_a()
    last = cluster["a"].last_index
    with pytest.raises(ChangeRefused, match=reason):
        cluster.change("a", nonsense)
    assert cluster["a"].last_index == last


def test_the_only_voter_cannot_be_removed() -> None:
    cluster = Cluster("a")
    cluster.elect("a")
    with pytest.raises(ChangeRefused, match="a is the only voter"):
        cluster.change("a", Remove(cluster.nodes["a"].member))


def test_a_truncated_change_is_undone() -> None:
    """It stood in the log of a leader that was cut off, and of one follower; the next leader never had it."""
    cluster = led_by_a()
    cluster.isolate("a")
    cluster.change("a", Remove(cluster.nodes["c"].member))
    cluster.settle()
    assert voters(cluster, "a") == "ab"
    cluster.elect("b")
    cluster.heal()
    cluster.advance(300)
    assert voters(cluster, "a") == "abc"
    assert cluster["a"].last_index == cluster["b"].last_index


def test_a_change_survives_a_change_of_leader() -> None:
    """The leader that began it is gone before it hears that anybody has it."""
    cluster = led_by_a("a", "b", "c")
    cluster.change("a", Remove(cluster.nodes["c"].member))
    cluster.deliver(cluster.take(lambda message: message.destination == "b"))
    cluster.nodes["b"].sync()
    cluster.nodes["a"].crash()
    cluster.take()
    cluster.nodes["a"].start()
    assert voters(cluster, "a") == "abc", "its disk had not ended the write"
    cluster.elect("b")
    assert voters(cluster, "b") == voters(cluster, "a") == "ab"
    assert not cluster["b"].changing


def test_a_restart_finds_the_configuration_in_the_log() -> None:
    cluster = with_learner()
    cluster.change("a", Promote(cluster.nodes["d"].member))
    cluster.advance(100)
    for name in "abcd":
        cluster.nodes[name].crash()
    for name in "abcd":
        cluster.nodes[name].start()
        assert voters(cluster, name) == "abcd"
    cluster.elect("d")


# ------------------------------------------------------------------------------------------------- learners and voters


def test_a_learner_counts_for_nothing() -> None:
    cluster = with_learner()
    for name in "bc":
        cluster.isolate(name)
    cluster.propose("a", b"x")
    cluster.settle()
    assert cluster["d"].last_index == cluster["a"].last_index > cluster["a"].commit_index
    cluster.advance(300)
    assert cluster["a"].standing.role == "follower", "a learner keeps nobody in office"


def test_37_learner_never_campaigns() -> None:
    cluster = with_learner()
    for name in "abc":
        cluster.nodes[name].crash()
    cluster["d"].peer_lost(MemberId("a"), cluster.now)
    cluster.advance(5000)
    assert cluster["d"].standing.role == "follower"
    assert not any(isinstance(message, VoteRequest) for message in cluster.take())
    assert cluster["d"].elections == {"won": 0, "lost": 0, "pre-vote-lost": 0}


def test_37_a_learner_is_not_told_to_stand() -> None:
    cluster = with_learner()
    cluster.deliver([TimeoutNow(MemberId("a"), MemberId("d"), Term(1), 1)])
    assert cluster["d"].standing.role == "follower"


def test_37_a_learner_that_lacks_much_is_not_promoted() -> None:
    """Nor one that has all but is not heard any more."""
    cluster = with_learner()
    cluster.isolate("d")
    cluster.propose("a", b"x")
    cluster.advance(300)
    with pytest.raises(ChangeRefused, match="d has not caught up yet"):
        cluster.change("a", Promote(cluster.nodes["d"].member))
    cluster.heal()
    cluster.advance(300)
    cluster.change("a", Promote(cluster.nodes["d"].member))
    cluster.settle()
    assert voters(cluster, "a") == "abcd"


def test_36_stale_learner_votes() -> None:
    """A candidate's configuration makes d a voter, and d has not heard of it: it votes all the same, or that
    configuration would never be committed."""
    cluster = with_learner()
    cluster.cut |= {("a", "d"), ("a", "c"), ("c", "a"), ("d", "a")}
    cluster.advance(60)
    assert cluster["d"].membership.learners
    cluster.change("a", Promote(cluster.nodes["d"].member))
    cluster.settle()
    cluster.nodes["a"].crash()
    cluster.nodes["c"].crash()
    cluster.heal()
    cluster["b"].set_eligible(True, cluster.now)
    for _ in range(100):
        cluster.advance(20)
        if cluster["b"].standing.role == "leader":
            break
    assert voters(cluster, "b") == "abcd"
    assert cluster.leader() is None, "two of four elect nobody"
    cluster.nodes["c"].start()
    cluster.elect("b")
    assert cluster["d"].standing.leader == "b"
    assert voters(cluster, "d") == "abcd"


def test_a_promise_that_a_learner_made_counts_once_it_votes() -> None:
    """The lone leader makes its learner a voter: it goes on leading, for that has promised all along."""
    cluster = Cluster("a", settings=Settings(max_voters=1))
    cluster.elect("a")
    cluster.change("a", AddLearner(cluster.add("b").member))
    cluster.advance(200)
    assert cluster["a"].quorum_until == float("inf")
    cluster.change("a", Promote(cluster.nodes["b"].member))
    assert cluster["a"].quorum_until is not None
    assert cluster.now < cluster["a"].quorum_until < cluster.now + cluster.settings.window
    cluster.advance(1000)
    assert cluster["a"].standing.established
    cluster.isolate("b")
    cluster.advance(cluster.settings.window)
    assert cluster["a"].standing.role == "follower", "it needs the other's word from then on"


# ------------------------------------------------------------------------------------------------------------- removal


def test_38_commit_after_remove() -> None:
    """Two of four are dead to each other: what waits for a third is committed once the configuration needs two."""
    cluster = led_by_a("a", "b", "c", "d")
    cluster.isolate("d")
    cluster.cut |= {("c", "a")}
    cluster.propose("a", b"x")
    cluster.settle()
    waiting = cluster["a"].last_index
    assert cluster["a"].commit_index < waiting
    cluster.change("a", Remove(cluster.nodes["d"].member))
    cluster.settle()
    assert cluster["a"].commit_index == cluster["a"].last_index > waiting
    assert cluster.nodes["a"].commands == [b"x"]


def test_a_removal_that_would_leave_no_majority_is_refused() -> None:
    cluster = led_by_a()
    cluster.isolate("c")
    cluster.advance(300)
    with pytest.raises(ChangeRefused, match="no majority is connected and caught up"):
        cluster.change("a", Remove(cluster.nodes["b"].member))
    assert cluster["a"].standing.established


def test_whose_connection_died_a_moment_ago_is_not_relied_upon() -> None:
    """It promised until later, but it may never come back."""
    cluster = led_by_a()
    cluster["a"].peer_lost(MemberId("c"), cluster.now)
    with pytest.raises(ChangeRefused, match="no majority is connected and caught up"):
        cluster.change("a", Remove(cluster.nodes["b"].member))


def test_35_remove_leader() -> None:
    """It leads until its removal is committed without it, then lets another one stand at once."""
    cluster = led_by_a()
    cluster.change("a", Remove(cluster.nodes["a"].member))
    assert cluster["a"].standing.role == "leader"
    cluster.nodes["a"].sync()
    cluster.deliver(cluster.take(lambda message: message.destination == "b"))
    cluster.nodes["b"].sync()
    cluster.deliver(cluster.take(lambda message: message.source == "b"))
    assert cluster["a"].commit_index < cluster["a"].last_index, "its own copy and b's are no majority of b and c"
    began = cluster.now
    cluster.settle()
    assert cluster["a"].standing.role == "follower"
    cluster.advance(20)
    leader = cluster.leader()
    assert leader in ("b", "c")
    assert cluster.now - began < cluster.settings.minimum_election, "nobody waited for a timeout"
    assert voters(cluster, leader) == "bc"
    term = cluster[leader].standing.term
    cluster.advance(5000)
    assert cluster.leader() == leader
    assert cluster[leader].standing.term == term, "the removed one disturbs nobody"
    assert cluster["a"].standing.role == "follower"


def test_35_a_removed_leader_whose_entry_is_lost_leads_on() -> None:
    cluster = led_by_a()
    cluster.change("a", Remove(cluster.nodes["a"].member))
    cluster.take(lambda message: isinstance(message, AppendEntries))
    cluster.advance(100)
    assert cluster["a"].standing.role == "follower", "the next round brought it"
    assert cluster.leader() in ("b", "c")


def test_35_a_leader_that_lost_office_before_its_removal_was_heard_stands_again() -> None:
    """It alone holds the entry that removes it, so nobody else can win its vote, and of two both are needed."""
    cluster = led_by_a("a", "b")
    cluster.cut |= {("a", "b"), ("b", "a")}
    cluster.change("a", Remove(cluster.nodes["a"].member))
    cluster.advance(1000)
    assert cluster["a"].standing.role != "leader"
    cluster.heal()
    cluster.advance(3000)
    assert cluster.leader() == "b"
    assert voters(cluster, "b") == "b"
    assert not cluster["b"].changing
    assert cluster["a"].fenced is not None


def test_35_a_removed_member_without_whose_log_nobody_wins_stands() -> None:
    """The leader told only whom it removed, and died: two of the three that remain are there, and three of the four
    before, but the longest log is the removed one's. It finds that log again after a restart, too."""
    cluster = led_by_a("a", "b", "c", "d")
    cluster.change("a", Remove(cluster.nodes["d"].member))
    cluster.deliver(cluster.take(lambda message: message.destination == "d"))
    cluster.nodes["d"].sync()
    cluster.nodes["a"].crash()
    cluster.take()
    cluster.nodes["d"].crash()
    cluster.nodes["d"].start()
    assert voters(cluster, "d") == "abc"
    cluster.advance(10 * cluster.settings.maximum_election)
    assert cluster.leader() in ("b", "c")
    assert voters(cluster, "b") == voters(cluster, "c") == "abc"
    assert cluster["d"].fenced is not None


def test_34_an_outgoing_voter_whose_log_alone_ends_the_joint_configuration_stands() -> None:
    cluster = joint_by_a()
    cluster.change("a", ReplaceVoters(members(cluster, "de")))
    cluster.settle_without(lambda message: isinstance(message, AppendEntries) and len(message.entries) > 0)
    for _ in range(20):
        if not cluster["a"].membership.outgoing:
            break
        cluster.take(lambda message: isinstance(message, AppendEntries) and _ends_joint(message))
        cluster.deliver()
        cluster.sync()
    assert not cluster["a"].membership.outgoing
    cluster.take()
    cluster.nodes["a"].sync()
    cluster.nodes["a"].crash()
    cluster.nodes["a"].start()
    cluster.nodes["b"].crash()
    cluster.advance(10 * cluster.settings.maximum_election)
    assert cluster.leader() in ("d", "e")
    assert voters(cluster, "d") == voters(cluster, "e") == "de"


def _ends_joint(append: AppendEntries) -> bool:
    written = [decode(entry.command) for entry in append.entries if entry.kind is EntryKind.CONFIGURATION]
    return any(membership is not None and not membership.outgoing for membership in written)


def test_the_latest_of_those_that_were_removed_are_remembered() -> None:
    """Pods without a volume that lasts leave one behind at each start: without a bound no piece of a snapshot would
    fit a message any more."""
    starts = [Member(MemberId("b"), Incarnation(f"volume{number}")) for number in range(MOST_TOMBSTONES + 2)]
    keeper = Member(MemberId("a"), Incarnation("kept"))
    membership = changed(Membership(voters=(keeper,)), AddLearner(starts[0]))
    for start in starts[1:]:
        membership = changed(membership, Replace(start))
    assert membership.is_possible
    assert membership.tombstones == tuple(starts[1:-1])
    assert changed(membership, Remove(starts[-1])).tombstones == tuple(starts[2:])


def test_a_removed_member_hears_of_it_and_stops() -> None:
    """Until it hears that its removal is committed it may ask whether it is needed, and disturbs nobody."""
    cluster = led_by_a()
    cluster.change("a", Remove(cluster.nodes["c"].member))
    cluster.settle()
    assert voters(cluster, "c") == "ab"
    cluster.advance(5000)
    assert cluster.leaders == {Term(1): "a"}
    assert cluster["a"].membership.tombstones == (cluster.nodes["c"].member,)
    cluster["a"].step(cluster.nodes["c"].hello, cluster.now)
    (verdict,) = cluster["a"].take_output().greetings
    assert isinstance(verdict, Refused)
    cluster["c"].refused_by(cluster.nodes["a"].identity, verdict.refusal, cluster.now)
    asked = cluster["c"].elections
    cluster.advance(5000)
    assert cluster["c"].standing.role == "follower"
    assert cluster["c"].elections == asked


def test_a_removed_incarnation_is_never_added_again() -> None:
    cluster = led_by_a()
    change(cluster, Remove(cluster.nodes["c"].member))
    for again in (AddLearner(cluster.nodes["c"].member), ReplaceVoters((cluster.nodes["c"].member,))):
        with pytest.raises(ChangeRefused, match="never comes back"):
            cluster.change("a", again)


# --------------------------------------------------------------------------------------------------------- replacement


def test_49_a_wiped_member_counts_under_its_new_incarnation_only() -> None:
    """c lost its volume. What it acknowledges is not counted before it was replaced; nor is what its predecessor
    promised, afterwards."""
    cluster = led_by_a()
    cluster.nodes["c"].wipe()
    cluster.nodes["c"].start()
    cluster.isolate("b")
    cluster.propose("a", b"x")
    cluster.settle()
    assert cluster["a"].commit_index < cluster["a"].last_index, "an amnesiac's word commits nothing"
    cluster.heal()
    cluster.advance(100)
    change(cluster, Replace(cluster.nodes["c"].member))
    leader = cluster["a"]._core.role
    assert cluster["a"].membership == Membership(
        voters=(cluster.nodes["a"].member, cluster.nodes["b"].member),
        learners=(cluster.nodes["c"].member,),
        tombstones=(Member(MemberId("c"), Incarnation("i-c")),),
    )
    assert cluster["c"].commit_index == cluster["a"].commit_index
    assert leader is cluster["a"]._core.role
    cluster.change("a", Promote(cluster.nodes["c"].member))
    cluster.settle()
    cluster.isolate("b")
    cluster.propose("a", b"y")
    cluster.settle()
    assert cluster["a"].commit_index == cluster["a"].last_index


def test_49_amnesia() -> None:
    """A member whose disk was wiped does not vote under its old identity, and does not stand."""
    cluster = led_by_a()
    cluster.nodes["b"].wipe()
    cluster.nodes["b"].start()
    cluster.isolate("c")
    cluster.nodes["a"].crash()
    cluster.heal()
    cluster.advance(5000)
    assert cluster.leader() is None
    assert cluster["b"].ignored["incarnation"] > 0
    assert cluster["b"].standing.role == "follower", "the voter of that name is another incarnation"
    assert cluster["b"].elections == {"won": 0, "lost": 0, "pre-vote-lost": 0}


def test_a_replacement_forgets_what_the_former_incarnation_acknowledged() -> None:
    cluster = led_by_a()
    cluster.nodes["c"].crash()
    cluster.advance(60)
    before = cluster["a"].last_index
    cluster.nodes["c"].wipe()
    cluster.nodes["c"].start()
    cluster.cut |= {("a", "c")}
    cluster.change("a", Replace(cluster.nodes["c"].member))
    cluster.settle()
    progress = cluster["a"]._core.role.progress[MemberId("c")]  # type: ignore[union-attr]
    assert progress.match == 0 < before


# -------------------------------------------------------------------------------------------------------------- joint


def joint_by_a() -> Cluster:
    """a, b, c vote; d and e have caught up."""
    cluster = with_learner("d")
    change(cluster, AddLearner(cluster.add("e").member))
    cluster.advance(100)
    return cluster


def members(cluster: Cluster, names: str) -> tuple[Member, ...]:
    return tuple(cluster.nodes[name].member for name in names)


@pytest.mark.parametrize("apart", ["bc", "de"])
def test_34_joint_change(apart: str) -> None:
    """b and c are replaced by d and e in one change. While it is joint both majorities are needed: neither a, d and e
    nor a, b and c commit alone. Then it ends by itself."""
    cluster = joint_by_a()
    for name in apart:
        cluster.isolate(name)
    index = cluster.change("a", ReplaceVoters(members(cluster, "ade")))
    cluster.advance(60)
    assert cluster["a"].commit_index < index
    assert cluster["a"].standing.established
    cluster.heal()
    cluster.advance(100)
    assert not cluster["a"].changing
    assert voters(cluster, "a") == "ade"
    assert cluster["a"].membership.outgoing == ()
    assert cluster["a"].membership.tombstones == members(cluster, "bc")
    assert cluster["a"].last_index == index + 1
    cluster.propose("a", b"x")
    cluster.advance(100)
    assert cluster.nodes["d"].commands == cluster.nodes["e"].commands == [b"x"]


def test_34_another_leader_ends_the_joint_configuration() -> None:
    cluster = joint_by_a()
    cluster.change("a", ReplaceVoters(members(cluster, "ade")))
    cluster.deliver()
    for name in "bcde":
        cluster.nodes[name].sync()
    cluster.nodes["a"].crash()
    cluster.take()
    cluster.elect("d")
    cluster.advance(100)
    assert voters(cluster, "d") == "ade"
    assert not cluster["d"].changing


def test_34_an_outgoing_leader_ends_the_joint_configuration_and_leaves() -> None:
    cluster = joint_by_a()
    cluster.change("a", ReplaceVoters(members(cluster, "bde")))
    cluster.advance(100)
    leader = cluster.leader()
    assert leader in ("b", "d", "e")
    assert voters(cluster, leader) == "bde"
    assert cluster["a"].standing.role == "follower"


def test_34_an_election_in_a_joint_configuration_needs_both_halves() -> None:
    cluster = joint_by_a()
    cluster.change("a", ReplaceVoters(members(cluster, "ade")))
    cluster.deliver()
    for name in "bcde":
        cluster.nodes[name].sync()
    for name in "ade":
        cluster.nodes[name].crash()
    cluster.advance(5000)
    assert cluster.leader() is None, "b and c are no majority of a, d and e"
    cluster.nodes["d"].start()
    cluster.nodes["e"].start()
    cluster.advance(2000)
    assert cluster.leader() is not None


def test_a_joint_change_to_voters_out_of_reach_is_refused() -> None:
    cluster = led_by_a()
    empty = tuple(cluster.add(name).member for name in "xyz")
    with pytest.raises(ChangeRefused, match="no majority is connected and caught up"):
        cluster.change("a", ReplaceVoters(empty))


def test_whoever_did_not_greet_is_not_added() -> None:
    """Nor another incarnation of whoever did: what it understands is not known."""
    cluster = led_by_a()
    cluster.add("d")
    for name in ("x", "d"):
        with pytest.raises(ChangeRefused, match=f"{name} did not say yet that it understands version 1"):
            cluster.change("a", AddLearner(Member(MemberId(name), Incarnation("other"))))


def test_a_joint_configuration_is_not_left_during_a_transfer() -> None:
    """The new leader leaves it, or the old one once the transfer is given up."""
    cluster = joint_by_a()
    cluster.change("a", ReplaceVoters(members(cluster, "ade")))
    cluster["a"].transfer(MemberId("d"), cluster.now)
    cluster.isolate("d")
    cluster.advance(100)
    assert cluster["a"].membership.outgoing
    cluster["a"].cancel_transfer(cluster.now)
    cluster.advance(100)
    assert voters(cluster, "a") == "ade"
    assert not cluster["a"].membership.outgoing


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize("command", [b"", b"nonsense", b"\x95\x90\x90\x90\x90\x01"])
def test_an_impossible_configuration_is_ignored(command: bytes) -> None:
    cluster = led_by_a()
    core = cluster["b"]
    cluster["a"].propose([b"x"], cluster.now)
    cluster.nodes["a"].collect()

    def broken(message: Message) -> Message:
        assert isinstance(message, AppendEntries)
        entry = message.entries[0]
        bad = type(entry)(entry.index, entry.term, EntryKind.CONFIGURATION, command)
        return type(message)(
            *(getattr(message, field) if field != "entries" else (bad,) for field in message.__struct_fields__)
        )

    last = core.last_index
    (append,) = cluster.take(lambda message: message.destination == "b" and isinstance(message, AppendEntries))
    cluster.deliver([broken(append)])
    assert core.last_index == last
    assert core.ignored["impossible"] == 1


def test_an_answer_of_nobody_is_not_counted() -> None:
    cluster = led_by_a()
    cluster.add("z")
    answer = AppendResponse(MemberId("z"), MemberId("a"), Term(1), 1, True, Index(1), Index(0), Term(0), 200.0)
    cluster.deliver([answer])
    assert cluster["a"].ignored["no-member"] == 1


def test_a_volume_without_a_cluster_makes_no_member() -> None:
    cluster = Cluster("a")
    node = cluster.nodes["a"]
    restored = msgspec.structs.replace(node.disk.open(1 << 20), birth=None)
    with pytest.raises(ValueError, match="belongs to no cluster"):
        Consensus(node.identity, restored, Settings(), 1, 0.0)
    assert set(node.core.members) == {"a"}
