"""The simulator: simulated minutes that one second of CPU is enough for, all invariants checked after every step.

The aims: at least 5 for three members that are left in peace, a heartbeat every 100 ms; at least 1 with all kinds of
faults and four clients that write.
"""

import time
from collections.abc import Iterable

import msgspec

from raftq_k8s.raft.types import Milliseconds
from raftq_k8s.sim.cluster import run
from raftq_k8s.sim.faults import Plan, calm, swarm

_CALM_SEEDS = range(3)
_CALM_LASTS: Milliseconds = 120_000.0
_FAULTY_SEEDS = range(40)
_CLIENTS = 4


class SimulatorSpeed(msgspec.Struct):
    what: str
    seeds: int
    simulated_minutes: float
    cpu_s: float
    minutes_per_cpu_second: float


def measure() -> list[SimulatorSpeed]:
    calm_plans = [calm(seed, lasts=_CALM_LASTS) for seed in _CALM_SEEDS]
    faulty_plans = [msgspec.structs.replace(swarm(seed), clients=_CLIENTS, sessions=0) for seed in _FAULTY_SEEDS]
    return [_measure("in peace", calm_plans), _measure("all faults, 4 clients", faulty_plans)]


def _measure(what: str, plans: Iterable[Plan]) -> SimulatorSpeed:
    began = time.process_time()
    results = [run(plan) for plan in plans]
    cpu_s = time.process_time() - began
    minutes = sum(result.simulated_ms for result in results) / 60_000
    return SimulatorSpeed(what, len(results), round(minutes, 2), round(cpu_s, 2), round(minutes / cpu_s, 2))
