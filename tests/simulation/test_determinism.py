"""A seed is a history: the same steps in every process, whatever order its dictionaries and sets would like."""

import os
import subprocess
import sys

from raftq_k8s.sim.cluster import run
from raftq_k8s.sim.dice import Dice
from raftq_k8s.sim.faults import swarm

SEED = 5
PRINT_THE_TRACE = (
    "from raftq_k8s.sim.cluster import run; from raftq_k8s.sim.faults import swarm; "
    f"result = run(swarm({SEED}, lasts=6000.0)); print(result.steps, result.trace)"
)


def trace_in_a_process(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", PRINT_THE_TRACE], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_a_seed_means_the_same_history_in_every_process() -> None:
    here = run(swarm(SEED, lasts=6000.0))
    assert trace_in_a_process("1") == trace_in_a_process("4711") == f"{here.steps} {here.trace}\n"


def test_seeds_differ() -> None:
    assert len({run(swarm(seed, lasts=2000.0)).trace for seed in range(4)}) == 4


def test_streams_of_one_seed_do_not_disturb_each_other() -> None:
    one, other = Dice(7, 1), Dice(7, 2)
    first = [Dice(7, 1).below(1000) for _ in range(1)]
    other.below(1000)
    assert [one.below(1000)] == first
    assert [Dice(7, 1).below(1 << 30) for _ in range(3)] != [Dice(7, 2).below(1 << 30) for _ in range(3)]
