"""Three etcd processes on loopback, as Debian's `etcd-server` brings them, to measure beside ours."""

import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from raftq_k8s.agent.application.watchdog import end_with
from raftq_k8s.cli.at_most_once import Connection, Unanswered, Unsent
from raftq_k8s.cli.local_cluster import HOST, ClusterFailed, free_ports

_UP_WITHIN_S = 20.0


@asynccontextmanager
async def three_etcds() -> AsyncIterator[int]:
    """The port on which the leader's HTTP gateway listens."""
    ports = free_ports(6)
    clients, peers = ports[::2], ports[1::2]
    initial = ",".join(f"etcd-{number}=http://{HOST}:{port}" for number, port in enumerate(peers))
    with tempfile.TemporaryDirectory(prefix="raftq-bench-etcd-") as folder:
        processes = [_start(Path(folder), number, clients[number], peers[number], initial) for number in range(3)]
        try:
            yield await _leader(clients)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                await asyncio.to_thread(process.wait)


def _start(folder: Path, number: int, client: int, peer: int, initial: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *("etcd", "--name", f"etcd-{number}", "--data-dir", str(folder / str(number)), "--log-level", "error"),
            *("--listen-client-urls", f"http://{HOST}:{client}", "--advertise-client-urls", f"http://{HOST}:{client}"),
            *("--listen-peer-urls", f"http://{HOST}:{peer}", "--initial-advertise-peer-urls", f"http://{HOST}:{peer}"),
            *("--initial-cluster", initial, "--initial-cluster-state", "new"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=end_with(os.getpid()),
    )


async def _leader(clients: list[int]) -> int:
    deadline = time.monotonic() + _UP_WITHIN_S
    while time.monotonic() < deadline:
        for port in clients:
            connection = Connection(HOST, port)
            try:
                answer = await connection.request("POST", "/v3/maintenance/status", b"{}", timeout_s=2.0)
            except (Unsent, Unanswered):
                continue
            finally:
                connection.close()
            status = json.loads(answer.body)
            if answer.status == 200 and status.get("leader") == status["header"]["member_id"]:
                return port
        await asyncio.sleep(0.1)
    raise ClusterFailed(f"no etcd led within {_UP_WITHIN_S:g} s")
