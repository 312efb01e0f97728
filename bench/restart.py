"""The start of a follower whose log is long, and which has no snapshot: how soon it answers, and takes its part; what
that takes of memory; and when it has applied everything.

The log is written to its volume beforehand: puts of 256 bytes on a thousand keys. The two others run already. The aims,
with 1,000,000 entries: it answers within a second, with at most 80 MiB; everything is applied within 15 s.
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path

import msgspec

from bench.processes import cpu_s, mib, most_mib
from raftq_k8s.cli.local_cluster import ClusterFailed, LocalAgent, LocalCluster
from raftq_k8s.raft.configuration import encode as encode_membership
from raftq_k8s.raft.membership import BirthRecord, Member, Membership
from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.persistence import HardState, Write
from raftq_k8s.raft.types import ClusterId, Index, MemberId, Term
from raftq_k8s.state.commands import Put, encode
from raftq_k8s.storage.sqlite import SqliteVolume

_TERM = Term(1)
_KEYS = 1000
_VALUE = json.dumps("v" * 254).encode()
_AT_ONCE = 64
"""Entries that came in one write, as under a load of so many clients."""
_WITHIN_S = 120.0


class Restart(msgspec.Struct):
    member: str
    role: str
    entries: int
    answers_s: float
    cpu_s_then: float
    ready_s: float
    rss_mib_then: float
    applied_s: float
    rss_mib_most: float


async def measure(entries: int) -> Restart:
    with tempfile.TemporaryDirectory(prefix="raftq-bench-") as folder:
        cluster = LocalCluster(Path(folder), arguments=("--profile", "fast", "--log-level", "warning"))
        await asyncio.to_thread(_write_logs, cluster, entries)
        *others, last = cluster.agents
        try:
            for agent in others:
                cluster.start(agent)
            await cluster.leader()
            for agent in others:
                await _applied(cluster, agent, entries)
            return await _start(cluster, last, entries)
        finally:
            for agent in cluster.agents:
                agent.disconnect()
                await agent.stop()


async def _start(cluster: LocalCluster, agent: LocalAgent, entries: int) -> Restart:
    began = time.monotonic()
    cluster.start(agent)
    await cluster.until(lambda: _answers(agent), f"{agent.name} to answer", _WITHIN_S)
    answers_s, cpu_s_then, rss_mib = time.monotonic() - began, cpu_s(agent), mib(agent, "Rss")
    await _applied(cluster, agent, entries)
    applied_s = time.monotonic() - began
    await cluster.until(agent.ready, f"{agent.name} to be ready", _WITHIN_S)
    ready_s = time.monotonic() - began
    return Restart(
        member=agent.name,
        role="follower",
        entries=entries,
        answers_s=round(answers_s, 2),
        cpu_s_then=round(cpu_s_then, 2),
        ready_s=round(ready_s, 2),
        rss_mib_then=rss_mib,
        applied_s=round(applied_s, 2),
        rss_mib_most=most_mib(agent),
    )


async def _answers(agent: LocalAgent) -> bool:
    return await agent.status() is not None


async def _applied(cluster: LocalCluster, agent: LocalAgent, entries: int) -> None:
    async def all_of_it() -> bool:
        status = await agent.status()
        return status is not None and status.applied_index >= entries

    await cluster.until(all_of_it, f"{agent.name} to have applied {entries:,} entries", _WITHIN_S)


def _write_logs(cluster: LocalCluster, entries: int) -> None:
    volumes = {}
    for agent in cluster.agents:
        agent.data.mkdir()
        volumes[MemberId(agent.name)] = SqliteVolume(agent.data, MemberId(agent.name))
    members = tuple(Member(name, volume.open().incarnation) for name, volume in volumes.items())
    birth = BirthRecord(ClusterId("bench"), members, _TERM)
    first = Entry(Index(1), _TERM, EntryKind.CONFIGURATION, encode_membership(Membership(voters=members)))
    try:
        for volume in volumes.values():
            volume.write(Write(birth=birth, hard_state=HardState(_TERM), entries=(first,))).result()
        for begin in range(2, entries + 1, _AT_ONCE):
            write = Write(entries=tuple(map(_entry, range(begin, min(begin + _AT_ONCE, entries + 1)))))
            for done in [volume.write(write) for volume in volumes.values()]:
                done.result()
    except Exception as error:
        raise ClusterFailed(f"the logs could not be written: {error}") from error
    finally:
        for volume in volumes.values():
            volume.close()


def _entry(index: int) -> Entry:
    return Entry(Index(index), _TERM, EntryKind.COMMAND, encode(Put(f"raftq-bench-{index % _KEYS:04d}", _VALUE)))
