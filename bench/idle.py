"""What an agent takes while nothing is asked of it: resident and proportional memory, and its share of a core.

The aim: at most 60 MiB, at most 2 % of a core.
"""

import asyncio
import os
import time
from pathlib import Path

import msgspec

from bench.cluster import three_agents
from raftq_k8s.cli.local_cluster import LocalAgent

_SETTLES_WITHIN_S = 3.0


class Idle(msgspec.Struct):
    member: str
    role: str
    profile: str
    rss_mib: float
    pss_mib: float
    cpu_percent: float


async def measure(seconds: float) -> list[Idle]:
    return [each for profile in ("fast", "steady") for each in await _measure(profile, seconds)]


async def _measure(profile: str, seconds: float) -> list[Idle]:
    async with three_agents(profile) as cluster:
        leader = await cluster.leader()
        await asyncio.sleep(_SETTLES_WITHIN_S)
        before = {agent.name: _cpu_s(agent) for agent in cluster.agents}
        began = time.monotonic()
        await asyncio.sleep(seconds)
        passed = time.monotonic() - began
        return [
            Idle(
                member=agent.name,
                role="leader" if agent is leader else "follower",
                profile=profile,
                rss_mib=_mib(agent, "Rss"),
                pss_mib=_mib(agent, "Pss"),
                cpu_percent=round(100 * (_cpu_s(agent) - before[agent.name]) / passed, 2),
            )
            for agent in cluster.agents
        ]


def _cpu_s(agent: LocalAgent) -> float:
    assert agent.process is not None
    fields = Path(f"/proc/{agent.process.pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def _mib(agent: LocalAgent, what: str) -> float:
    assert agent.process is not None
    for line in Path(f"/proc/{agent.process.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise LookupError(what)
