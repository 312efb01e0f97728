"""Durable puts of 256 bytes over HTTP to the leader, ours beside etcd's, by the same load tool in the same run.

Both sides are three processes on loopback that sync before they answer; they take turns, and only one of them runs at a
time. Each put goes to the next of a thousand keys.
"""

import asyncio
import base64
import json
import shutil
import tempfile
from pathlib import Path

import msgspec

from bench.cluster import three_agents
from bench.etcd import three_etcds
from raftq_k8s.cli.local_cluster import HOST

CLIENTS = (1, 16, 64)
_VALUE = "v" * 254
"""256 bytes as a JSON string."""
_KEYS = 1000
_SCRIPT = Path(__file__).with_name("put.lua")
_WARM_UP_S = 1.0


class MissingTool(Exception):
    """The message says what to install."""


class Puts(msgspec.Struct):
    server: str
    clients: int
    per_second: int
    p50_ms: float
    p99_ms: float
    failed: int


async def measure(seconds: float) -> list[Puts]:
    if shutil.which("wrk") is None:
        raise MissingTool("puts are made by wrk, which is not installed: apt-get install wrk")
    if shutil.which("etcd") is None:
        raise MissingTool("puts are measured beside etcd, which is not installed: apt-get install etcd-server")
    found = []
    for clients in CLIENTS:
        async with three_agents() as cluster:
            leader = await cluster.leader()
            found.append(await _load("raftq", leader.http_port, clients, seconds))
        async with three_etcds() as port:
            found.append(await _load("etcd", port, clients, seconds))
    return found


async def _load(server: str, port: int, clients: int, seconds: float) -> Puts:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requests:
        requests.write("\n".join(_ours() if server == "raftq" else _etcds()))
        requests.flush()
        await _wrk(port, clients, _WARM_UP_S, requests.name)
        result = await _wrk(port, clients, seconds, requests.name)
    return Puts(
        server=server,
        clients=clients,
        per_second=round(result["requests"] / (result["duration_us"] / 1e6)),
        p50_ms=round(result["p50_us"] / 1000, 2),
        p99_ms=round(result["p99_us"] / 1000, 2),
        failed=result["failed"],
    )


async def _wrk(port: int, clients: int, seconds: float, requests: str) -> dict[str, int]:
    process = await asyncio.create_subprocess_exec(
        *("wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "-s", str(_SCRIPT), f"http://{HOST}:{port}"),
        *("--", requests),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    found: dict[str, int] = json.loads(output.decode().strip().splitlines()[-1])
    return found


def _ours() -> list[str]:
    return [line for number in range(_KEYS) for line in ("PUT", f"/v1/data/key-{number:04d}", json.dumps(_VALUE))]


def _etcds() -> list[str]:
    value = base64.b64encode(json.dumps(_VALUE).encode()).decode()
    keys = [base64.b64encode(f"key-{number:04d}".encode()).decode() for number in range(_KEYS)]
    return [line for key in keys for line in ("POST", "/v3/kv/put", json.dumps({"key": key, "value": value}))]
