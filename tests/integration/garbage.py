"""A leader at work to whom strangers say what nobody should, and what must hold afterwards whatever it was.

How many conversations there are is in the variable RAFTQ_MALFORMED; by default as many as a test may take.
"""

import asyncio
import os
import time
from contextlib import asynccontextmanager

from raftq_k8s.cli.local_cluster import LocalCluster
from raftq_k8s.cli.writer import Ledger, write_on

CONVERSATIONS = int(os.environ.get("RAFTQ_MALFORMED", "2000"))
AT_ONCE = 32
PATIENCE_S = 0.1


@asynccontextmanager
async def leader_at_work(folder):
    """A leader that somebody writes through, and its status. In the end it leads as before, has refused no put, and
    has neither grown nor complained."""
    ledger = Ledger("beside-garbage")
    async with LocalCluster(folder, arguments=("--profile", "steady")) as cluster:
        await cluster.all_ready()
        leader = await cluster.leader()
        before = await leader.status()
        writing = asyncio.create_task(write_on([leader], ledger, 0, 0.005))
        try:
            yield leader, before
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        cluster.check()
        after = await leader.status()
        memory = (await metrics(leader))["process_resident_memory_bytes"]
        log = leader.log.read_text()
    assert (after.leader, after.term) == (leader.name, before.term)
    assert after.voters == before.voters
    assert ledger.refused == 0
    assert ledger.unknown <= 1  # the last one was given up with its writer
    assert len(ledger.acknowledged) > 0
    assert memory < 150 << 20
    assert "ERROR" not in log, log[-4000:]


async def say(port, conversation):
    """Many conversations, some of them at once. Each is what `conversation` returns then: pieces, one after another."""
    left = CONVERSATIONS

    async def some():
        nonlocal left
        while left > 0:
            left -= 1
            await _talk(port, conversation())

    began = time.monotonic()
    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    print(f"{CONVERSATIONS} conversations in {time.monotonic() - began:.1f} s")


async def _talk(port, pieces):
    """Until it is hung up on, or that would be waited for in vain: there may be more promised than ever comes."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(PATIENCE_S):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                while await reader.read(1 << 16):
                    pass
        finally:
            writer.transport.abort()
    except (OSError, TimeoutError):
        pass


async def metrics(agent):
    """The samples by their names with labels."""
    lines = (await agent.get("/metrics")).body.decode().splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in samples}
