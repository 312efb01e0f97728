"""What an agent takes while nothing is asked of it: resident and proportional memory, and its share of a core.

The aim of the fast profile: at most 55 MiB; a leader at most 1.5 % of a core, a follower 1 %.
"""

import asyncio
import time

import msgspec

from bench.processes import cpu_s, mib
from raftq_k8s.cli.bench.local import three_agents

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
        before = {agent.name: cpu_s(agent) for agent in cluster.agents}
        began = time.monotonic()
        await asyncio.sleep(seconds)
        passed = time.monotonic() - began
        return [
            Idle(
                member=agent.name,
                role="leader" if agent is leader else "follower",
                profile=profile,
                rss_mib=mib(agent, "Rss"),
                pss_mib=mib(agent, "Pss"),
                cpu_percent=round(100 * (cpu_s(agent) - before[agent.name]) / passed, 2),
            )
            for agent in cluster.agents
        ]
