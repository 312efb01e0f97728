"""A simulator that finds nothing proves little: bugs that are made on purpose are found, and told in few words."""

import pytest

from raftq_k8s.sim.campaign import Caught, hunt
from raftq_k8s.sim.cluster import run
from raftq_k8s.sim.faults import swarm
from raftq_k8s.sim.mutations import MUTATIONS, mutated
from raftq_k8s.sim.shrink import shrunk

BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}
SEEDS = 60
"""Within so many each is caught here, and most by the first few; `raftq simulate --mutations` hunts them elsewhere."""


@pytest.fixture(scope="module")
def caught() -> dict[str, Caught]:
    """All of them at once, on all cores."""
    return {one.name: one for one in hunt(list(BY_NAME), 0, SEEDS)}


@pytest.mark.timeout(600)  # the first one waits for the hunt
@pytest.mark.parametrize("name", BY_NAME)
def test_a_deliberate_bug_is_caught(caught: dict[str, Caught], name: str) -> None:
    assert caught[name].caught_by is not None, f"{name} survived {SEEDS} seeds"


def test_each_invariant_has_two_mutations_and_each_mutation_a_name_of_its_own() -> None:
    meant_for = [mutation.meant_for for mutation in MUTATIONS]
    assert {number for number in meant_for if meant_for.count(number) >= 2} == {
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "8",
        "9",
        "10",
        "11",
    }
    assert len(BY_NAME) == len(MUTATIONS)


def test_a_mutation_ends_with_its_context() -> None:
    for mutation in MUTATIONS:
        before = [getattr(target, name) for target, name, _ in mutation.patches]
        with mutated(mutation):
            assert [getattr(target, name) for target, name, _ in mutation.patches] != before
        assert [getattr(target, name) for target, name, _ in mutation.patches] == before


def test_the_story_of_a_violation_is_made_short() -> None:
    with mutated(BY_NAME["two-votes-a-term"]):
        plan, found = next(
            (plan, found)
            for plan in (swarm(seed, lasts=8_000.0) for seed in range(SEEDS))
            if (found := run(plan).violation) is not None and len(plan.faults) > 12
        )
        smaller, smallest = shrunk(plan, found)
        assert smallest.invariant == found.invariant
        assert len(smaller.faults) < len(plan.faults) / 2
        assert run(smaller).violation == smallest
    assert run(smaller).violation is None
