"""A thousand clients of the event stream of one agent, the leader, while there are puts: does it still turn in time?

The clients are read by another process. How late the agent's loop turns is what it says itself on its metrics page;
beside it stands what somebody outside has of it: the time that a look at `/livez` takes, over and over, on one
connection. The aim: a lag of at most 20 ms in 99 of 100 cases, and no election.
"""

import asyncio
import json
import math
import os
import re
import sys
import time

import msgspec

from raftq_k8s.agent.application.watchdog import end_with
from raftq_k8s.cli.at_most_once import Connection
from raftq_k8s.cli.bench.local import three_agents
from raftq_k8s.cli.local_cluster import HOST, ClusterFailed, LocalAgent

_SETTLES_WITHIN_S = 2.0
_LAG = re.compile(r'^raftq_event_loop_lag_seconds_bucket\{le="([^"]+)"\} ([0-9.]+)$', re.MULTILINE)
_PUTS_A_SECOND = 10
_VALUE = json.dumps("v" * 254).encode()
_READER = """
import asyncio, sys

class Stream(asyncio.Protocol):
    connected = events = 0
    def connection_made(self, transport):
        Stream.connected += 1
        transport.write(b"GET /v1/events HTTP/1.1\\r\\nHost: localhost\\r\\nAccept: text/event-stream\\r\\n\\r\\n")
    def data_received(self, data):
        Stream.events += data.count(b"event: change")

async def main(host, port, streams):
    loop = asyncio.get_running_loop()
    kept = [await loop.create_connection(Stream, host, port) for _ in range(streams)]
    print("connected", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    print(Stream.events, flush=True)

import uvloop
uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


class Streams(msgspec.Struct):
    streams: int
    events: int
    lag_p99_ms: float
    """Between the bounds of its histogram it is taken to grow evenly."""
    look_p99_ms: float
    elections: int
    """Changes of the leader meanwhile."""


async def measure(streams: int, seconds: float) -> Streams:
    async with three_agents() as cluster:
        leader = await cluster.leader()
        reader = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _READER, HOST, str(leader.http_port), str(streams)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=end_with(os.getpid()),
        )
        assert reader.stdin is not None
        assert reader.stdout is not None
        if await reader.stdout.readline() != b"connected\n":
            raise ClusterFailed(f"{streams} event streams could not be opened")
        await asyncio.sleep(_SETTLES_WITHIN_S)
        term, lags = await _term(leader), await _lags(leader)
        putting = asyncio.create_task(_put_on(leader.connection()))
        try:
            took_ms = sorted(await _look(leader.connection(), seconds))
        finally:
            putting.cancel()
        reader.stdin.write(b"\n")
        events = int(await reader.stdout.readline())
        await reader.wait()
        return Streams(
            streams=streams,
            events=events,
            lag_p99_ms=round(
                _quantile(0.99, {bound: n - lags[bound] for bound, n in (await _lags(leader)).items()}), 1
            ),
            look_p99_ms=round(took_ms[int(0.99 * (len(took_ms) - 1))], 1),
            elections=await _term(leader) - term,
        )


async def _lags(agent: LocalAgent) -> dict[float, float]:
    """How many turns of its loop were at most so many ms late, by that bound."""
    page = (await agent.get("/metrics")).body.decode()
    return {float(bound) * 1e3: float(count) for bound, count in _LAG.findall(page)}


def _quantile(share: float, at_most: dict[float, float]) -> float:
    wanted, below, begin = share * at_most[math.inf], 0.0, 0.0
    for bound, count in at_most.items():
        if count >= wanted:
            return begin + (bound - begin) * (wanted - below) / (count - below) if bound < math.inf else math.inf
        below, begin = count, bound
    return math.inf


async def _look(connection: Connection, seconds: float) -> list[float]:
    took_ms = []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        await connection.request("GET", "/livez")
        took_ms.append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(0.005)
    return took_ms


async def _put_on(connection: Connection) -> None:
    while True:
        await connection.request("PUT", "/v1/data/raftq-bench", _VALUE)
        await asyncio.sleep(1 / _PUTS_A_SECOND)


async def _term(agent: LocalAgent) -> int:
    status = await agent.status()
    if status is None:
        raise ClusterFailed(f"{agent.name} does not answer\n{agent.last_lines()}")
    return status.term
