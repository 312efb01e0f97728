"""A node on a real disk that takes snapshots of itself and cuts its log, and is killed while it does.

This file is also the program that is killed.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec

from raftq_k8s import Raftq, RaftqOptions
from raftq_k8s.node.snapshots import SnapshotBounds
from raftq_k8s.raft.types import MemberId
from raftq_k8s.state.commands import Put
from raftq_k8s.storage.sqlite import SqliteVolume

WRITES = 4000
LAST = 1 << 30
KEYS = 150
AT_ONCE = 50
OFTEN = SnapshotBounds(after_entries=200, slice_bytes=2048)


async def started(directory: Path) -> Raftq:
    raft = Raftq(
        RaftqOptions(heartbeat=20, minimum_election_time=50, maximum_election_time=100, bootstrap=True),
        volume=SqliteVolume(directory, MemberId("a")),
        snapshots=OFTEN,
    )
    await raft.dispatch("serviceStarted", {"node": {"id": "a", "time": 1}})
    while not raft.standing().established:
        await raft.next_standing(raft.standing())
    return raft


async def write_for_ever(directory: Path) -> None:
    """Say the number of each write once it is acknowledged."""
    raft = await started(directory)
    room = asyncio.Semaphore(AT_ONCE)

    async def put(number: int) -> None:
        async with room:
            await raft.submit(Put(f"key{number % KEYS}", b'"%d %s"' % (number, b"x" * 200)), timeout_s=30)
        print(number, flush=True)

    number = 0
    while True:
        await asyncio.gather(*(put(number + ahead) for ahead in range(AT_ONCE)))
        number += AT_ONCE


async def what_is_there(directory: Path) -> tuple[dict[str, str], int, int]:
    """The document, where the log begins, and up to where the snapshot goes."""
    raft = await started(directory)
    await raft.submit(Put("key0", b'"%d"' % LAST), timeout_s=30)  # after it, all before it is applied
    status = raft.status()
    text, _ = raft.document.whole()
    await raft.destroy()
    return msgspec.json.decode(text, type=dict[str, str]), status.base_index, status.snapshot_index


def test_sigkill_after_compaction_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    with subprocess.Popen(
        [sys.executable, __file__, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            acknowledged.add(int(line))
            if len(acknowledged) == WRITES:
                process.kill()
        assert len(acknowledged) >= WRITES, process.stderr.read()
    latest = {f"key{number % KEYS}": number for number in sorted(acknowledged)}
    document, base, snapshot = asyncio.run(what_is_there(tmp_path))
    there = {key: int(value.split()[0]) for key, value in document.items()}
    assert 0 < base <= snapshot
    assert there.keys() == latest.keys()
    assert all(latest[key] <= there[key] for key in there)


if __name__ == "__main__":
    asyncio.run(write_for_ever(Path(sys.argv[1])))
