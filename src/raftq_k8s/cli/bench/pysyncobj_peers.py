"""Three PySyncObj processes on loopback with their journals on, and their leader asked to make a load of puts."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from raftq_k8s.agent.application.watchdog import end_with
from raftq_k8s.cli.bench.load import Load, LoadFailed
from raftq_k8s.cli.local_cluster import HOST, ClusterFailed, free_ports

_UP_WITHIN_S = 20.0


class PySyncObjLeader:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def load(self, what: str, clients: int, seconds: float) -> Load:
        answer = await asyncio.wait_for(_ask(self._process, f"{what} {clients} {seconds:g}"), seconds + 30.0)
        if not answer:
            raise LoadFailed("PySyncObj ended by itself")
        return msgspec.json.decode(answer, type=Load)


@asynccontextmanager
async def three_pysyncobjs() -> AsyncIterator[PySyncObjLeader]:
    addresses = [f"{HOST}:{port}" for port in free_ports(3)]
    with tempfile.TemporaryDirectory(prefix="raftq-bench-pysyncobj-") as folder:
        processes = [await _start(Path(folder), number, addresses) for number in range(len(addresses))]
        try:
            yield PySyncObjLeader(await _leader(processes))
        finally:
            for process in processes:
                process.kill()
            await asyncio.gather(*(process.wait() for process in processes))


async def _start(folder: Path, number: int, addresses: list[str]) -> asyncio.subprocess.Process:
    others = addresses[:number] + addresses[number + 1 :]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "raftq_k8s.cli.bench.pysyncobj_member"),
        *(str(folder / str(number)), addresses[number], *others),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=end_with(os.getpid()),
    )


async def _leader(processes: list[asyncio.subprocess.Process]) -> asyncio.subprocess.Process:
    deadline = time.monotonic() + _UP_WITHIN_S
    while time.monotonic() < deadline:
        for process in processes:
            if (await _ask(process, "leads?")).strip() == b"yes":
                return process
        await asyncio.sleep(0.1)
    raise ClusterFailed(f"no PySyncObj led within {_UP_WITHIN_S:g} s")


async def _ask(process: asyncio.subprocess.Process, question: str) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{question}\n".encode())
    return await process.stdout.readline()
