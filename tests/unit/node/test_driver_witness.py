"""A node whose birth rests on a witness: what it is told, and what it does then."""

import pytest
from driver_cluster import DriverCluster, member, record

from raftq_k8s.raft.birth import BirthRule, Doubtful, Named, Vacant
from raftq_k8s.raft.types import Term

ABC = ("a", "b", "c")
NAMES = tuple(map(member, ABC))
HEEDED = BirthRule(NAMES, NAMES[0], witness="heeded")
DECIDES = BirthRule(NAMES, None, witness="decides")


def waits_for(cluster: DriverCluster, name: str) -> str:
    return cluster[name].driver.status(cluster.now).waiting_for or ""


@pytest.mark.parametrize("rule", [HEEDED, DECIDES])
def test_a_refused_birth_is_said_in_the_status_and_once_in_the_log(rule: BirthRule) -> None:
    cluster = DriverCluster(*ABC, initialised=False, rule=rule)
    for held in cluster.nodes.values():
        for _ in range(3):
            held.driver.witnessed(Named(record("x", "y", "z"), "all volumes are empty: bring them back"))
            cluster.settle()
        assert waits_for(cluster, held.name) == "all volumes are empty: bring them back"
        assert held.driver.birth is None
        said = [note for actions in held.history for note in actions.notes]
        assert said.count("all volumes are empty: bring them back") == 1


def test_the_founder_that_heeds_a_witness_founds_above_the_terms_found_and_the_others_adopt() -> None:
    cluster = DriverCluster(*ABC, initialised=False, rule=HEEDED)
    assert [held.driver.wish is not None for held in cluster.nodes.values()] == [True, False, False]
    cluster["a"].driver.witnessed(Vacant(Term(41)))
    cluster.settle()
    births = {held.driver.birth for held in cluster.nodes.values()}
    assert {birth.first_term for birth in births if birth} == {42}
    assert cluster["a"].driver.wish is None
    cluster.elect()
    assert cluster["a"].driver.standing.term >= 42


def test_whoever_hears_that_it_is_named_adopts_and_the_others_hear_it_from_there() -> None:
    """The winner may be gone before it said a word."""
    cluster = DriverCluster(*ABC, initialised=False, rule=DECIDES)
    wish = cluster["a"].driver.wish
    assert wish is not None
    cluster["b"].driver.witnessed(Named(wish, ""))
    cluster.settle()
    assert [held.driver.birth for held in cluster.nodes.values()] == [wish, wish, wish]
    cluster.elect()


def test_a_member_is_told_nothing_by_a_witness() -> None:
    cluster = DriverCluster(*ABC)
    cluster["a"].driver.witnessed(Doubtful("nobody answers"))
    cluster.settle()
    assert waits_for(cluster, "a") == ""
    cluster.elect()
