"""A planned transfer while there are puts: the longest time in which none is answered, and how many fail.

Sixteen callers put through all three members, each request sent once. The aim: a gap of at most 100 ms, and no failed
request.
"""

import asyncio
import json
import sys
import time
from statistics import median

import msgspec

from raftq_k8s.cli.at_most_once import Connection, Unanswered, Unsent
from raftq_k8s.cli.bench.local import three_agents
from raftq_k8s.cli.local_cluster import ClusterFailed, LocalAgent, LocalCluster

_CALLERS = 16
_KEYS = 1000
_VALUE = json.dumps("v" * 254).encode()
_AROUND_S = 0.5
"""Before and after a transfer; what takes longer than that belongs to it as well."""


class Transfers(msgspec.Struct):
    transfers: int
    median_gap_ms: float
    slowest_gap_ms: float
    puts: int
    failed: int
    gaps_ms: list[float]


async def measure(rounds: int) -> Transfers:
    gaps_ms: list[float] = []
    async with three_agents() as cluster:
        callers = [_Caller(cluster.agents[number % len(cluster.agents)], number) for number in range(_CALLERS)]
        tasks = [asyncio.create_task(caller.put_on()) for caller in callers]
        try:
            for number in range(1, rounds + 1):
                gaps_ms.append(await _one(cluster, callers))
                print(f"\rtransfer {number}/{rounds}: {gaps_ms[-1]:.1f} ms ", end="", file=sys.stderr, flush=True)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    print(file=sys.stderr)
    return Transfers(
        transfers=rounds,
        median_gap_ms=round(median(gaps_ms), 1),
        slowest_gap_ms=round(max(gaps_ms), 1),
        puts=sum(len(caller.answered_at) for caller in callers),
        failed=sum(caller.failed for caller in callers),
        gaps_ms=[round(each, 1) for each in gaps_ms],
    )


async def _one(cluster: LocalCluster, callers: list["_Caller"]) -> float:
    """The longest time between two answers, around a transfer; in ms."""
    began = time.monotonic()
    await asyncio.sleep(_AROUND_S)
    leader = await cluster.leader()
    connection = leader.connection()
    try:
        answer = await connection.request("POST", "/v1/transfer", b"{}", timeout_s=10.0)
    finally:
        connection.close()
    if answer.status >= 300:
        raise ClusterFailed(f"the transfer was answered with {answer.status}: {answer.body.decode()}")
    await asyncio.sleep(_AROUND_S)
    answered = sorted(at for caller in callers for at in caller.answered_at if at >= began)
    return max(after - before for before, after in zip(answered, [*answered[1:], time.monotonic()], strict=True)) * 1e3


class _Caller:
    def __init__(self, agent: LocalAgent, number: int) -> None:
        self._connection: Connection = agent.connection()
        self._number = number
        self.answered_at: list[float] = []
        self.failed = 0

    async def put_on(self) -> None:
        turn = self._number
        while True:
            turn += _CALLERS
            try:
                path = f"/v1/data/raftq-bench-{turn % _KEYS:04d}"
                answer = await self._connection.request("PUT", path, _VALUE, timeout_s=10.0)
            except (Unsent, Unanswered):
                self.failed += 1
                continue
            if answer.status < 300:
                self.answered_at.append(time.monotonic())
            else:
                self.failed += 1
