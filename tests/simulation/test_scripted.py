"""Old copies of volumes, and two processes on one: whoever reaches a peer that knows better takes no part any more."""

import pytest

from raftq_k8s.sim.cluster import Cluster
from raftq_k8s.sim.faults import scripted

SEEDS = 4


def refusals(cluster: Cluster) -> set[str]:
    cores = [core for machine in cluster.machines if (core := machine.core) is not None]
    return {kind for core in cores for kind in core.ignored}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_58_an_old_copy_of_a_volume_is_turned_away_and_the_rules_hold(seed: int) -> None:
    cluster = Cluster(scripted(seed, "rolled-back", 16_000.0))
    assert cluster.run().violation is None
    assert "hello-rolled-back" in refusals(cluster)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_59_of_two_processes_on_one_volume_the_older_is_fenced_and_the_rules_hold(seed: int) -> None:
    cluster = Cluster(scripted(seed, "twin", 16_000.0))
    assert cluster.run().violation is None
    assert "hello-older-process" in refusals(cluster)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_53_whose_volume_is_full_leads_no_longer_than_it_must_and_the_rules_hold(seed: int) -> None:
    cluster = Cluster(scripted(seed, "scarce", 16_000.0))
    assert cluster.run().violation is None
