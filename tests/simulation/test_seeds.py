"""Clusters from seeds, with all faults: some seeds that are always the same, and some that nobody ever ran before."""

import secrets

import pytest

from raftq_k8s.sim.cluster import run
from raftq_k8s.sim.faults import calm, swarm, told

FIXED = 8
FRESH = 6


def no_violation(seed: int) -> None:
    plan = swarm(seed, lasts=8_000.0)
    result = run(plan)
    story = "\n".join(map(told, plan.faults))
    assert result.violation is None, f"raftq simulate --seed {seed} --seeds 1 --seconds 8\n{result.violation}\n{story}"


@pytest.mark.parametrize("seed", range(FIXED))
def test_the_rules_hold_in_histories_of_known_seeds(seed: int) -> None:
    no_violation(seed)


def test_the_rules_hold_in_histories_of_fresh_seeds() -> None:
    base = secrets.randbelow(1 << 40)
    print(f"fresh seeds from {base}")
    for seed in range(base, base + FRESH):
        no_violation(seed)


def test_a_calm_cluster_elects_once_and_serves_all() -> None:
    result = run(calm(3, clients=4, sessions=2, lasts=5_000.0))
    assert result.violation is None
    assert result.elections == 1
    assert result.commits > 50
    assert result.lease_reads > 20
    assert result.reads > 20


def test_histories_are_full_of_snapshots_and_some_are_sent() -> None:
    results = [run(swarm(seed, ("crash", "partition"), lasts=8_000.0, often=2.0)) for seed in range(100, 104)]
    assert sum(result.snapshots for result in results) > 20
    assert sum(result.installed for result in results) > 2
