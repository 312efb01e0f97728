"""What agents take after very many puts on a thousand keys: memory is bounded, and the log cut.

The aim: after 1,000,000 puts at most 120 MiB.
"""

import asyncio
import sys

import msgspec

from bench.processes import mib
from raftq_k8s.cli.bench.load import Server, load
from raftq_k8s.cli.bench.local import three_agents
from raftq_k8s.cli.bench.puts_and_gets import requests_to_raftq
from raftq_k8s.cli.local_cluster import HOST, LocalAgent, LocalCluster

_CALLERS = 64
_PIECE_S = 10.0
_SETTLES_WITHIN_S = 30.0


class Memory(msgspec.Struct):
    member: str
    role: str
    puts: int
    rss_mib: float
    base_index: int
    failed: int


async def measure(puts: int) -> list[Memory]:
    requests, _ = requests_to_raftq()
    failed = 0
    async with three_agents() as cluster:
        leader = await cluster.leader()
        while (done := await _last_index(leader)) < puts:
            print(f"\rmemory: {done:,} of {puts:,} puts ", end="", file=sys.stderr, flush=True)
            failed += (await load(Server(HOST, leader.http_port), requests, _CALLERS, _PIECE_S)).failed
        print(file=sys.stderr)
        await cluster.until(lambda: _settled(cluster), "all members to have applied the same", _SETTLES_WITHIN_S)
        return [await _memory(agent, leader, done, failed) for agent in cluster.agents]


async def _memory(agent: LocalAgent, leader: LocalAgent, puts: int, failed: int) -> Memory:
    status = await agent.status()
    assert status is not None
    role = "leader" if agent is leader else "follower"
    return Memory(agent.name, role, puts, mib(agent, "Rss"), status.base_index, failed)


async def _last_index(agent: LocalAgent) -> int:
    status = await agent.status()
    return status.last_index if status is not None else 0


async def _settled(cluster: LocalCluster) -> bool:
    seen = await asyncio.gather(*(agent.status() for agent in cluster.agents))
    return len({one.applied_index if one else None for one in seen}) == 1 and None not in seen
