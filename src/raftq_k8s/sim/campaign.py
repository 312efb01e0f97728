"""Many seeds on all cores: what was seen in sum, the shortest story of a violation, and the hunt for mutations."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import msgspec

from raftq_k8s.raft.types import Milliseconds
from raftq_k8s.sim.cluster import Found, Result, run
from raftq_k8s.sim.faults import Plan, plan_of
from raftq_k8s.sim.mutations import MUTATIONS, mutated
from raftq_k8s.sim.shrink import shrunk
from raftq_k8s.sim.violation import NO_EXCEPTION

AT_A_TIME = 4
"""Seeds that a process is given at once."""
MUTATION_SEEDS = 2000
"""Within so many a mutation has to be caught."""


class Story(msgspec.Struct, frozen=True):
    """A violation, and the smallest plan found that shows it. As JSON, this is what a replay file holds."""

    found: Found
    """As the seed's whole plan showed it."""
    smallest: Found
    plan: Plan


class Caught(msgspec.Struct, frozen=True):
    name: str
    meant_for: str
    what: str
    caught_by: str | None
    seed: int | None


class Summary:
    """What many runs saw in sum."""

    def __init__(self) -> None:
        self.seeds = 0
        self.simulated_ms: Milliseconds = 0.0
        self.steps = 0
        self.elections = 0
        self.commits = 0
        self.reads = 0
        self.lease_reads = 0
        self.snapshots = 0
        self.installed = 0
        self.faults: dict[str, int] = {}
        self.violating: list[Result] = []

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.simulated_ms += result.simulated_ms
        self.steps += result.steps
        self.elections += result.elections
        self.commits += result.commits
        self.reads += result.reads
        self.lease_reads += result.lease_reads
        self.snapshots += result.snapshots
        self.installed += result.installed
        for kind, times in result.faults.items():
            self.faults[kind] = self.faults.get(kind, 0) + times
        if result.violation is not None:
            self.violating.append(result)


def run_seeds(seeds: Sequence[int], kinds: tuple[str, ...], seconds: float) -> Iterator[Result]:
    """In the order of the seeds, whatever process ran them. One seed runs in this process."""
    one = partial(_run_seed, kinds=kinds, seconds=seconds)
    if len(seeds) == 1:
        yield one(seeds[0])
        return
    with _processes() as pool:
        yield from pool.map(one, seeds, chunksize=AT_A_TIME)


def hunt(names: Sequence[str], base: int, seeds: int = MUTATION_SEEDS) -> Iterator[Caught]:
    """For each mutation the first seed that catches it."""
    with _processes() as pool:
        yield from pool.map(partial(_hunt_one, base=base, seeds=seeds), names)


def story_of(result: Result, kinds: tuple[str, ...], seconds: float) -> Story:
    assert result.violation is not None
    plan, smallest = shrunk(plan_of(result.seed, kinds, seconds * 1000.0), result.violation)
    return Story(result.violation, smallest, plan)


def _processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=get_context("spawn"))


def _run_seed(seed: int, kinds: tuple[str, ...], seconds: float) -> Result:
    return run(plan_of(seed, kinds, seconds * 1000.0))


def _hunt_one(name: str, base: int, seeds: int) -> Caught:
    mutation = next(mutation for mutation in MUTATIONS if mutation.name == name)
    with mutated(mutation):
        for seed in range(base, base + seeds):
            violation = run(mutation.provoking(seed)).violation
            # A bug that only makes the code stumble was caught by no rule.
            if violation is not None and violation.invariant != NO_EXCEPTION:
                return Caught(name, mutation.meant_for, mutation.what, violation.invariant, seed)
    return Caught(name, mutation.meant_for, mutation.what, None, None)
