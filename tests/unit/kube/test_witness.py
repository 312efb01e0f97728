"""What follows from a state of the ConfigMap, without an API. `test_witness_keeper.py` has one, with weather."""

from typing import Any

import msgspec
import pytest

from raftq_k8s.kube.objects import ConfigMap, ObjectMeta
from raftq_k8s.kube.witness import (
    MOST_FORMER,
    Belongs,
    Blank,
    Join,
    Report,
    Rest,
    Tell,
    Witness,
    Write,
    afterwards,
    before_birth,
    merge_patch,
    shown,
)
from raftq_k8s.raft.birth import Doubtful, Named, Vacant
from raftq_k8s.raft.membership import BirthRecord, Member
from raftq_k8s.raft.types import LONGEST_STEP, ClusterId, Incarnation, MemberId, Term

MINE, OLD, NEW = ClusterId("mine"), ClusterId("old"), ClusterId("new")


def record(cluster: str = MINE, first_term: int = 1) -> BirthRecord:
    members = tuple(Member(MemberId(f"raftq-{number}"), Incarnation(f"i{number}")) for number in range(2))
    return BirthRecord(ClusterId(cluster), members, Term(first_term))


def config_map(data: dict[str, str] | None, version: str = "7") -> ConfigMap:
    return ConfigMap(ObjectMeta("raftq-birth", "uid", version), data)


def written(write: Write) -> dict[str, str]:
    data: dict[str, str] = merge_patch(write)["data"]
    return data


def naming(cluster: ClusterId, term: int = 1, former: tuple[ClusterId, ...] = ()) -> Witness:
    """As it is read after an agent wrote it."""
    return shown(config_map(written(Write(VACANT, record(cluster), Term(term), former))))


VACANT = shown(config_map(None))


def test_a_config_map_says_what_an_agent_wrote_into_it() -> None:
    witness = naming(MINE, term=9, former=(OLD, NEW))
    assert (witness.birth, witness.term, witness.former, witness.damage) == (record(), 9, (OLD, NEW), None)


def test_what_is_written_can_be_read_by_people() -> None:
    assert written(Write(VACANT, record(), Term(9), (OLD,))) == {
        "cluster": "mine",
        "birth": '{"members":{"raftq-0":"i0","raftq-1":"i1"},"firstTerm":1}',
        "term": "9",
        "former": "old",
    }


def test_every_write_names_the_object_and_its_state() -> None:
    write = before_birth(VACANT, Blank(record()))
    assert isinstance(write, Write)
    assert merge_patch(write)["metadata"] == {"uid": "uid", "resourceVersion": "7"}


GOOD = written(Write(VACANT, record(), Term(9), ()))

GARBAGE: list[dict[str, str]] = [
    {**GOOD, "birth": ""},
    {**GOOD, "birth": "["},
    {**GOOD, "birth": "[" * 100_000},
    {**GOOD, "birth": "[]"},
    {**GOOD, "birth": '{"members":{},"firstTerm":1}'},
    {**GOOD, "birth": '{"members":{"":"i0"},"firstTerm":1}'},
    {**GOOD, "birth": '{"members":{"raftq-0":"i0"},"firstTerm":0}'},
    {**GOOD, "birth": '{"members":{"raftq-0":"i0"},"firstTerm":4294967297}'},
    {**GOOD, "birth": '{"members":{"raftq-0":7},"firstTerm":1}'},
    {**GOOD, "term": "many"},
    {**GOOD, "term": "-1"},
    {**GOOD, "term": "٣"},
    {**GOOD, "term": "4294967297"},
    {**GOOD, "term": "9" * 5000},
    {"term": "many"},
    {"cluster": "mine"},
]


@pytest.mark.parametrize("data", GARBAGE, ids=lambda data: str(data)[:60])
def test_what_no_agent_wrote_is_no_vacancy_and_is_written_over_by_nobody(data: dict[str, str]) -> None:
    witness = shown(config_map(data))
    assert witness.damage is not None
    for wish in (None, record()):
        step = before_birth(witness, Blank(wish))
        assert isinstance(step, Tell)
        assert isinstance(step.testimony, Doubtful)
        assert """--patch '{"data":null}'""" in step.testimony.reason
    assert isinstance(afterwards(witness, Belongs(record(), leads=Term(3), recovered_from=OLD, silent=True)), Report)


@pytest.mark.parametrize("data", [None, {}, {"cluster": ""}, {"birth": "[", "former": ""}, {"note": "hands off"}])
def test_without_a_cluster_it_is_vacant(data: dict[str, str] | None) -> None:
    assert before_birth(shown(config_map(data)), Blank(None)) == Tell(Vacant())


def test_a_cluster_that_a_person_took_away_leaves_its_term_behind() -> None:
    witness = shown(config_map({**GOOD, "cluster": ""}))
    assert before_birth(witness, Blank(None)) == Tell(Vacant(Term(9)))


# ------------------------------------------------------------------------------------------------------ a node is blank


@pytest.mark.parametrize(
    ("in_witness", "on_pods", "first"),
    [(0, 0, 1), (9, 4, 10), (4, 9, 10), (4, LONGEST_STEP, 5), (LONGEST_STEP - 1, 0, LONGEST_STEP)],
)
def test_a_cluster_begins_above_the_highest_term_found(in_witness: int, on_pods: int, first: int) -> None:
    witness = shown(config_map({"term": str(in_witness)}))
    write = before_birth(witness, Blank(record(), Term(on_pods)))
    assert isinstance(write, Write)
    assert (write.birth.first_term, write.term) == (first, first)
    assert shown(config_map(written(write))).damage is None
    assert before_birth(witness, Blank(None, Term(on_pods))) == Tell(Vacant(Term(first - 1)))


def test_a_named_cluster_is_what_a_blank_node_is_told_whatever_it_wishes_for() -> None:
    for wish in (None, record(NEW)):
        step = before_birth(naming(MINE), Blank(wish))
        assert isinstance(step, Tell)
        assert isinstance(step.testimony, Named)
        assert step.testimony.record == record()
        for word in ("raftq-birth", "cluster mine", "backup", """--patch '{"data":{"cluster":null}}'"""):
            assert word in step.testimony.advice


# -------------------------------------------------------------------------------------------------- a node is a member


def state_after(write: Any) -> tuple[ClusterId | None, int, tuple[ClusterId, ...]]:
    assert isinstance(write, Write)
    witness = shown(config_map(written(write)))
    return witness.birth.cluster if witness.birth else None, witness.term, witness.former


LEADER = Belongs(record(), leads=Term(5))
FOLLOWER = Belongs(record())


def test_only_a_leader_fills_a_vacant_one() -> None:
    assert state_after(afterwards(VACANT, LEADER)) == (MINE, 5, ())
    assert afterwards(VACANT, FOLLOWER) == Rest()
    assert afterwards(VACANT, Belongs(record(), silent=True)) == Rest()


def test_the_term_is_raised_by_a_leader_and_never_falls() -> None:
    assert state_after(afterwards(naming(MINE, 4), LEADER)) == (MINE, 5, ())
    assert afterwards(naming(MINE, 5), LEADER) == Rest()
    assert afterwards(naming(MINE, 6), LEADER) == Rest()
    assert afterwards(naming(MINE, 4), FOLLOWER) == Rest()
    vacated = shown(config_map({"term": "60", "former": "old"}))
    assert state_after(afterwards(vacated, LEADER)) == (MINE, 60, (OLD,))


def test_a_term_above_all_that_a_cluster_can_begin_with_is_not_written() -> None:
    far = Belongs(record(), leads=Term(LONGEST_STEP + 1))
    assert afterwards(naming(MINE, 4), far) == Rest()


def test_another_cluster_is_reported_by_the_leader_and_not_written_over() -> None:
    step = afterwards(naming(NEW), LEADER)
    assert isinstance(step, Report)
    assert "names cluster new" in step.sentence
    assert "leader of cluster mine" in step.sentence
    assert afterwards(naming(NEW), FOLLOWER) == Rest()


def test_a_recovered_cluster_takes_the_place_of_the_one_that_it_was_recovered_from() -> None:
    for leads in (None, Term(1005)):
        recovered = Belongs(record(MINE, 1001), leads, recovered_from=OLD)
        expected = (MINE, leads or 1001, (OLD,))
        assert state_after(afterwards(naming(OLD, 4), recovered)) == expected
        assert afterwards(naming(MINE, 1005, (OLD,)), recovered) == Rest()
        assert state_after(afterwards(naming(MINE, 1005), recovered)) == (MINE, 1005, (OLD,)), (
            "others hear of it by that"
        )
        assert not isinstance(afterwards(naming(NEW), recovered), Write)


def test_a_cluster_that_is_recovered_often_names_the_latest_of_those_before() -> None:
    many = tuple(ClusterId(f"c{number}") for number in range(MOST_FORMER))
    recovered = Belongs(record(), Term(5), recovered_from=OLD)
    assert state_after(afterwards(naming(OLD, 1, many), recovered))[2] == (*many[1:], OLD)


def test_a_member_of_a_cluster_that_was_given_up_joins_the_new_one_when_nobody_leads() -> None:
    witness = naming(NEW, 1001, (MINE,))
    assert afterwards(witness, Belongs(record(), silent=True)) == Join(NEW)
    assert afterwards(witness, FOLLOWER) == Rest()
    assert isinstance(afterwards(witness, LEADER), Report)


def test_a_silent_member_joins_no_cluster_that_its_own_was_not_given_up_for() -> None:
    silent = Belongs(record(), silent=True)
    assert afterwards(naming(NEW), silent) == Rest()
    assert afterwards(naming(NEW, 1, (OLD,)), silent) == Rest()
    assert afterwards(naming(MINE), silent) == Rest()
    assert afterwards(VACANT, silent) == Rest()


def test_what_is_decided_names_the_state_it_was_decided_on() -> None:
    witness = msgspec.structs.replace(naming(MINE, 4), resource_version="99")
    write = afterwards(witness, LEADER)
    assert isinstance(write, Write)
    assert merge_patch(write)["metadata"]["resourceVersion"] == "99"
