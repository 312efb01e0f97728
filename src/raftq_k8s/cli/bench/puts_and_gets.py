"""Durable puts of 256 bytes and linearizable gets of them, ours beside etcd's and PySyncObj's, in the same run.

All are three processes on loopback; they take turns, and only one kind runs at a time. Raftq and etcd are asked over
HTTP by the same load tool, at the leader; PySyncObj has no such face, so its callers sit in its leader's process. Raftq
and etcd sync before they answer; PySyncObj with its journal does not. Each request is for the next of a thousand keys.
"""

import base64
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Literal, Protocol

import msgspec

from raftq_k8s.cli.bench.etcd import three_etcds
from raftq_k8s.cli.bench.load import Load, Request, Server, fill, load
from raftq_k8s.cli.bench.local import three_agents
from raftq_k8s.cli.bench.pysyncobj_peers import three_pysyncobjs
from raftq_k8s.cli.local_cluster import HOST

What = Literal["puts", "gets"]

KEYS = 1000
_VALUE = "v" * 254
"""256 bytes as a JSON string."""
_WARM_UP_S = 1.0


class Row(msgspec.Struct):
    server: str
    clients: int
    per_second: int
    p50_ms: float
    p99_ms: float
    failed: int
    tool: str


class Contender(Protocol):
    """Somebody who can be asked to put and to get, while it runs."""

    async def load(self, what: What, clients: int, seconds: float) -> Load: ...


class OverHttp:
    def __init__(self, server: Server, puts: Sequence[Request], gets: Sequence[Request]) -> None:
        self._server = server
        self._requests = {"puts": puts, "gets": gets}
        self._filled = False

    async def load(self, what: What, clients: int, seconds: float) -> Load:
        if not self._filled:
            await fill(self._server, self._requests["puts"])
            self._filled = True
        await load(self._server, self._requests[what], clients, _WARM_UP_S)
        return await load(self._server, self._requests[what], clients, seconds)


async def measure(
    what: What, clients: Sequence[int], seconds: float, beside: Sequence[str], server: Server | None
) -> list[Row]:
    """Raises `LoadFailed` or `ClusterFailed`. With a `server`, no agents are started: it is asked instead."""
    rows = []
    for count in clients:
        for each in ("raftq", *beside):
            if each == "pysyncobj" and what == "gets":
                continue  # it answers from its own memory
            async with _running(each, server) as contender:
                done = await contender.load(what, count, seconds)
            rows.append(Row(each, count, done.per_second, done.p50_ms, done.p99_ms, done.failed, done.tool))
    return rows


def installed() -> list[str]:
    """Who can be measured beside Raftq here."""
    etcd = ["etcd"] if shutil.which("etcd") else []
    return etcd + (["pysyncobj"] if find_spec("pysyncobj") else [])


@asynccontextmanager
async def _running(name: str, server: Server | None) -> AsyncIterator[Contender]:
    match name:
        case "etcd":
            async with three_etcds() as port:
                yield OverHttp(Server(HOST, port), *_etcds())
        case "pysyncobj":
            async with three_pysyncobjs() as pysyncobj:
                yield pysyncobj
        case _ if server is not None:
            yield OverHttp(server, *requests_to_raftq())
        case _:
            async with three_agents() as cluster:
                leader = await cluster.leader()
                yield OverHttp(Server(HOST, leader.http_port), *requests_to_raftq())


def requests_to_raftq() -> tuple[list[Request], list[Request]]:
    """Puts and gets."""
    paths = [f"/v1/data/raftq-bench-{number:04d}" for number in range(KEYS)]
    body = json.dumps(_VALUE)
    return [Request("PUT", path, body) for path in paths], [Request("GET", path, "") for path in paths]


def _etcds() -> tuple[list[Request], list[Request]]:
    keys = [_base64(f"raftq-bench-{number:04d}") for number in range(KEYS)]
    value = _base64(json.dumps(_VALUE))
    puts = [Request("POST", "/v3/kv/put", json.dumps({"key": key, "value": value})) for key in keys]
    return puts, [Request("POST", "/v3/kv/range", json.dumps({"key": key})) for key in keys]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
