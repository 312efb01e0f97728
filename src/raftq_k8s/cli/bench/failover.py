"""From the SIGKILL of the leader to the first put that another member accepts, again and again.

The puts are tried at both survivors every few milliseconds, each sent once. The aim of the agent's fast profile: median
at most 0.33 s, slowest at most 0.7 s.
"""

import asyncio
import random
import sys
import time
from statistics import median

import msgspec

from raftq_k8s.cli.bench.local import three_agents
from raftq_k8s.cli.local_cluster import ClusterFailed, LocalCluster
from raftq_k8s.cli.writer import Ledger, first_accepted

_WITHIN_S = 15.0


class Failovers(msgspec.Struct):
    rounds: int
    median_s: float
    p90_s: float
    slowest_s: float
    seconds: list[float]


async def measure(rounds: int) -> Failovers:
    ledger = Ledger()
    seconds: list[float] = []
    async with three_agents() as cluster:
        for number in range(1, rounds + 1):
            # Anywhere between two heartbeats, or each kill would come at the same point of a round.
            await asyncio.sleep(0.3 + random.random() * 0.1)
            seconds.append(await _one(cluster, ledger))
            print(f"\rfailover {number}/{rounds}: {seconds[-1]:.3f} s ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    ordered = sorted(seconds)
    return Failovers(
        rounds=rounds,
        median_s=round(median(ordered), 3),
        p90_s=round(ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))], 3),
        slowest_s=round(ordered[-1], 3),
        seconds=[round(each, 3) for each in seconds],
    )


async def _one(cluster: LocalCluster, ledger: Ledger) -> float:
    victim = await cluster.leader()
    killed = time.monotonic()
    await cluster.kill(victim)
    if await first_accepted([each for each in cluster.agents if each is not victim], ledger, _WITHIN_S) is None:
        raise ClusterFailed(f"no put accepted for {_WITHIN_S:g} s after {victim.name} was killed\n{cluster.logs()}")
    failover_s = time.monotonic() - killed
    cluster.start(victim)
    await cluster.all_ready()
    return failover_s
