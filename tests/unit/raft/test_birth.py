"""Birth: once, by the founder alone, and adopted by whom it names."""

from itertools import permutations

import msgspec
import pytest

from raftq_k8s.raft.birth import Birth, BirthRule, Doubtful, Named, Vacant, lowest
from raftq_k8s.raft.membership import BirthRecord, Hello, Identity, Member
from raftq_k8s.raft.messages import JoinResponse
from raftq_k8s.raft.types import BootId, ClusterId, Generation, Incarnation, MemberId, Term

NAMES = tuple(MemberId(f"raftq-{ordinal}") for ordinal in range(3))


def identity(name: str, incarnation: str = "first", cluster: str | None = None) -> Identity:
    return Identity(
        ClusterId(cluster) if cluster else None, MemberId(name), Incarnation(incarnation), Generation(1), BootId("b")
    )


def hello(name: str, incarnation: str = "first", record: BirthRecord | None = None) -> Hello:
    return Hello(1, 1, identity(name, incarnation, record.cluster if record else None), record, "")


def blank(name: str, rule: BirthRule | None = None, incarnation: str = "first") -> Birth:
    return Birth(identity(name, incarnation), rule or lowest(NAMES), ClusterId(f"by-{name}"), Term(7))


def record_of(birth: Birth) -> BirthRecord:
    assert birth.record is not None
    return birth.record


def test_the_lowest_ordinal_founds_when_all_expected_are_present_and_blank() -> None:
    for order in permutations(NAMES[1:]):
        birth = blank("raftq-0")
        assert birth.record is None
        birth.greet(hello(order[0]))
        assert birth.record is None
        assert order[1] in birth.waiting_for
        birth.greet(hello(order[1]))
        assert birth.record == BirthRecord(
            ClusterId("by-raftq-0"), tuple(Member(name, Incarnation("first")) for name in NAMES), Term(7)
        )


def test_nobody_else_ever_founds() -> None:
    for name in NAMES[1:]:
        birth = blank(name)
        for other in NAMES:
            if other != name:
                birth.greet(hello(other))
        assert birth.record is None
        assert "raftq-0" in birth.waiting_for


def test_a_peer_that_left_again_is_not_present() -> None:
    birth = blank("raftq-0")
    birth.greet(hello("raftq-1"))
    birth.lost(NAMES[1])
    birth.greet(hello("raftq-2"))
    assert birth.record is None


def test_the_record_names_the_incarnation_that_is_present() -> None:
    birth = blank("raftq-0")
    birth.greet(hello("raftq-1", "wiped meanwhile"))
    birth.greet(hello("raftq-1", "first"))
    birth.greet(hello("raftq-2"))
    assert Member(NAMES[1], Incarnation("first")) in record_of(birth).members


def test_57_a_named_node_adopts_the_record() -> None:
    founder = blank("raftq-0")
    founder.greet(hello("raftq-1"))
    founder.greet(hello("raftq-2"))
    other = blank("raftq-1")
    assert other.greet(hello("raftq-0", record=founder.record)) is None
    assert other.record == founder.record
    third = blank("raftq-2")
    third.greet(hello("raftq-1", record=other.record))
    assert third.record == founder.record


def test_57_a_node_whose_volume_was_lost_asks_to_be_added() -> None:
    founder = blank("raftq-0")
    founder.greet(hello("raftq-1"))
    founder.greet(hello("raftq-2"))
    wiped = blank("raftq-1", incarnation="second")
    wiped.greet(hello("raftq-0", record=founder.record))
    assert wiped.record is None
    assert "asking to be added" in wiped.waiting_for
    wiped.lost(NAMES[0])
    assert "asking to be added" in wiped.waiting_for


def test_51_a_founder_that_lost_its_volume_does_not_found_a_second_cluster() -> None:
    founder = blank("raftq-0")
    founder.greet(hello("raftq-1"))
    founder.greet(hello("raftq-2"))
    again = blank("raftq-0", incarnation="second")
    again.greet(hello("raftq-1", record=founder.record))
    again.greet(hello("raftq-2"))
    assert again.record is None
    again.lost(NAMES[1])
    assert again.record is None


def test_57_a_node_that_is_not_named_asks_until_it_is_taken_in() -> None:
    founder = blank("raftq-0")
    founder.greet(hello("raftq-1"))
    founder.greet(hello("raftq-2"))
    newcomer = blank("raftq-3")
    assert newcomer.wake_at == float("inf")
    newcomer.greet(hello("raftq-0", record=founder.record))
    (request,) = newcomer.ask(1000.0)
    assert (request.destination, request.incarnation) == ("raftq-0", "first")
    assert newcomer.ask(1000.0) == []
    assert 1000.0 < newcomer.wake_at < float("inf")
    answer = JoinResponse(NAMES[0], request.source, Term(9), request.incarnation, False, NAMES[0], "not now")
    newcomer.answered(answer)
    assert newcomer.record is None
    newcomer.answered(msgspec.structs.replace(answer, granted=True))
    assert newcomer.record == founder.record
    assert newcomer.ask(9000.0) == []
    assert newcomer.wake_at == float("inf")


def test_51_a_node_that_heard_of_a_cluster_founds_none_though_all_expected_are_blank_later() -> None:
    founder = blank("raftq-0")
    founder.greet(hello("raftq-1", record=record_of(blank("raftq-9", lowest((MemberId("raftq-9"),))))))
    founder.greet(hello("raftq-2"))
    assert founder.record is None
    founder.greet(hello("raftq-1", "second"))
    assert founder.record is not None, "it is blank itself now"


def test_two_strangers_of_different_clusters_do_not_confuse_a_node() -> None:
    """The first one heard of counts, for neither is expected."""
    newcomer = blank("raftq-3")
    for name, cluster in (("x", "first"), ("y", "second")):
        record = BirthRecord(ClusterId(cluster), (Member(MemberId(name), Incarnation("first")),), Term(1))
        newcomer.greet(Hello(1, 1, identity(name, cluster=cluster), record, ""))
    assert "cluster first" in newcomer.waiting_for


@pytest.mark.parametrize(
    ("members", "first_term", "cluster"),
    [
        (("raftq-1", "raftq-1", "raftq-0"), 1, "x"),
        ((), 1, "x"),
        (("raftq-1", ""), 1, "x"),
        (("raftq-1",), 0, "x"),
        (("raftq-1",), 1 << 62, "x"),
        (("raftq-1",), 1, "other"),
    ],
)
def test_a_record_that_no_correct_founder_wrote_is_refused(
    members: tuple[str, ...], first_term: int, cluster: str
) -> None:
    named = tuple(Member(MemberId(name), Incarnation("first")) for name in members)
    record = BirthRecord(ClusterId("x"), named, Term(first_term))
    birth = blank("raftq-1")
    refusal = birth.greet(Hello(1, 1, identity("raftq-0", cluster=cluster), record, ""))
    assert refusal is not None
    assert refusal.kind == "malformed"
    assert birth.record is None


def test_a_lone_node_is_born_at_once() -> None:
    assert record_of(blank("raftq-0", lowest(NAMES[:1]))).members == (Member(NAMES[0], Incarnation("first")),)


def test_a_node_outside_of_the_expected_only_joins() -> None:
    birth = blank("raftq-3")
    for name in NAMES:
        birth.greet(hello(name))
    assert birth.record is None


def test_another_node_under_the_own_name_is_refused() -> None:
    refusal = blank("raftq-0").greet(hello("raftq-0", "another"))
    assert refusal is not None
    assert refusal.kind == "own-name"


def test_a_node_that_was_told_which_cluster_to_join_listens_to_no_other() -> None:
    rule = BirthRule(NAMES, founder=None, only=ClusterId("new"))
    birth = blank("raftq-1", rule)
    old = BirthRecord(ClusterId("old"), (Member(NAMES[0], Incarnation("first")),), Term(1))
    new = BirthRecord(ClusterId("new"), (Member(NAMES[0], Incarnation("first")),), Term(1))
    refusal = birth.greet(hello("raftq-0", record=old))
    assert refusal is not None
    assert (refusal.kind, birth.ask(1e6)) == ("other-cluster", [])
    assert birth.waiting_for == "waiting to hear of cluster new"
    assert birth.greet(hello("raftq-0", record=new)) is None
    assert [request.destination for request in birth.ask(1e6)] == ["raftq-0"]


# ----------------------------------------------------------------------------------------------------- with a witness

HEEDED = BirthRule(NAMES, NAMES[0], witness="heeded")
DECIDES = BirthRule(NAMES, None, witness="decides")


def among_all(name: str, rule: BirthRule) -> Birth:
    birth = blank(name, rule)
    for other in NAMES:
        if other != name:
            birth.greet(hello(other))
    return birth


def named(*names: str, cluster: str = "before") -> Named:
    members = tuple(Member(MemberId(name), Incarnation("first")) for name in names)
    return Named(BirthRecord(ClusterId(cluster), members, Term(3)), "empty the witness")


def test_a_founder_that_heeds_a_witness_asks_first_and_founds_above_all_terms_found() -> None:
    birth = among_all("raftq-0", HEEDED)
    assert birth.record is None
    assert birth.waiting_for == "waiting for what the witness of births shows"
    wish = birth.wish
    birth.witnessed(Vacant(Term(57)))
    assert wish is not None
    assert birth.record == msgspec.structs.replace(wish, first_term=Term(58))
    assert birth.wish is None


def test_a_vacant_witness_lowers_no_term() -> None:
    birth = among_all("raftq-0", HEEDED)
    birth.witnessed(Vacant(Term(2)))
    assert record_of(birth).first_term == 7


def test_a_founder_founds_only_on_what_the_witness_shows_when_all_are_present() -> None:
    """An answer of before they came is an old one."""
    birth = blank("raftq-0", HEEDED)
    birth.witnessed(Vacant())
    birth.greet(hello("raftq-1"))
    birth.greet(hello("raftq-2"))
    assert birth.record is None
    birth.lost(NAMES[2])
    birth.witnessed(Vacant())
    assert birth.record is None
    assert "waiting for raftq-2 to be present" in birth.waiting_for


@pytest.mark.parametrize("rule", [HEEDED, DECIDES])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_born_in_place_of_a_cluster_that_the_witness_names(name: str, rule: BirthRule) -> None:
    birth = among_all(name, rule)
    birth.witnessed(named("raftq-7", "raftq-8"))
    assert birth.record is None
    assert birth.waiting_for == "empty the witness", "everybody is blank, and people have to do something"
    birth.lost(NAMES[0] if name != NAMES[0] else NAMES[1])
    birth.lost(NAMES[2] if name != NAMES[2] else NAMES[1])
    assert birth.waiting_for == "waiting to hear of cluster before, which was born before"


@pytest.mark.parametrize("rule", [HEEDED, DECIDES])
def test_a_node_that_the_witness_names_adopts_that_record(rule: BirthRule) -> None:
    """It may have been the winner, and have crashed before the record was on its volume."""
    birth = blank("raftq-1", rule)
    testimony = named("raftq-1", "raftq-2")
    birth.witnessed(testimony)
    assert birth.record == testimony.record
    birth.witnessed(named("raftq-1", cluster="later"))
    assert birth.record == testimony.record, "what was adopted is final"


def test_a_node_with_an_empty_volume_under_a_name_of_the_record_does_not_adopt_it() -> None:
    birth = blank("raftq-1", DECIDES, incarnation="second")
    birth.witnessed(named("raftq-1", "raftq-2"))
    assert birth.record is None


def test_a_node_that_was_told_which_cluster_to_join_adopts_no_other_from_the_witness() -> None:
    birth = blank("raftq-1", BirthRule(NAMES, None, only=ClusterId("new"), witness="heeded"))
    birth.witnessed(named("raftq-1", cluster="old"))
    assert birth.record is None
    assert birth.waiting_for == "waiting to hear of cluster new"
    birth.witnessed(named("raftq-1", cluster="new"))
    assert record_of(birth).cluster == "new"


def test_where_the_witness_decides_a_majority_suffices_and_anybody_may_propose_it() -> None:
    for name in NAMES:
        birth = blank(name, DECIDES)
        assert birth.wish is None
        assert "waiting for a majority of raftq-0, raftq-1, raftq-2 to be present" in birth.waiting_for
        other = NAMES[1] if name == NAMES[0] else NAMES[0]
        birth.greet(hello(other))
        wish = birth.wish
        assert wish is not None
        assert [member.name for member in wish.members] == sorted([MemberId(name), other])
        birth.witnessed(Vacant())
        assert birth.record is None, "a node that has not won founds nothing"


def test_half_of_the_expected_is_no_majority() -> None:
    birth = blank("raftq-0", BirthRule((*NAMES, MemberId("raftq-3")), None, witness="decides"))
    birth.greet(hello("raftq-1"))
    assert birth.wish is None
    birth.greet(hello("raftq-9"))
    assert birth.wish is None, "a stranger is no part of it"
    birth.greet(hello("raftq-3"))
    assert birth.wish is not None


@pytest.mark.parametrize("rule", [HEEDED, DECIDES])
def test_who_has_met_a_member_of_a_cluster_wishes_for_none(rule: BirthRule) -> None:
    birth = among_all("raftq-0", rule)
    assert birth.wish is not None
    birth.greet(hello("raftq-1", "second", record=named("raftq-1").record))
    assert birth.wish is None
    birth.witnessed(Vacant())
    assert birth.record is None


def test_a_node_outside_of_the_expected_proposes_nothing() -> None:
    assert among_all("raftq-3", DECIDES).wish is None


def test_what_cannot_be_told_is_said_where_it_is_all_that_is_waited_for() -> None:
    birth = blank("raftq-0", DECIDES)
    birth.witnessed(Doubtful("the witness cannot be read"))
    assert "waiting for a majority" in birth.waiting_for
    birth.greet(hello("raftq-1"))
    assert birth.waiting_for == "the witness cannot be read"
