"""Real nodes, disks and sockets: a member that was away while the log was cut comes back to where the others are."""

import asyncio
from pathlib import Path

from raftq_k8s import Raftq, RaftqOptions
from raftq_k8s.node.snapshots import SnapshotBounds
from raftq_k8s.raft.birth import lowest
from raftq_k8s.raft.types import MemberId
from raftq_k8s.state.commands import Put
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.transport.websocket import WebsocketTransport

NAMES = (MemberId("a"), MemberId("b"), MemberId("c"))
OFTEN = SnapshotBounds(after_entries=200)
WRITES = 4000
DEADLINE_S = 60


class Nodes:
    def __init__(self, volumes: Path) -> None:
        self._volumes = volumes
        self.running: dict[MemberId, Raftq] = {}
        self._transports: dict[MemberId, WebsocketTransport] = {}

    async def start(self, name: MemberId) -> None:
        directory = self._volumes / name
        directory.mkdir(exist_ok=True)
        transport = self._transports[name] = WebsocketTransport(name, "127.0.0.1", 0)
        node = self.running[name] = Raftq(
            RaftqOptions(minimum_election_time=300, maximum_election_time=600),
            volume=SqliteVolume(directory, name),
            transport=transport,
            birth=lowest(NAMES),
            snapshots=OFTEN,
        )
        await node.dispatch("serviceStarted", {"node": {"id": name, "time": 1}})
        for other in self.running:
            self._transports[other].sighted(name, "127.0.0.1", transport.port)
            transport.sighted(other, "127.0.0.1", self._transports[other].port)

    async def stop(self, name: MemberId) -> None:
        await self.running.pop(name).destroy()

    async def leader(self) -> MemberId:
        while True:
            for name, node in self.running.items():
                if node.standing().established:
                    return name
            await asyncio.sleep(0.02)

    async def write(self, count: int) -> None:
        room = asyncio.Semaphore(100)

        async def put(number: int) -> None:
            async with room:
                await node.submit(Put(f"key{number % 300}", b'"%d %s"' % (number, b"x" * 300)), timeout_s=30)

        node = self.running[await self.leader()]
        await asyncio.gather(*(put(number) for number in range(count)))

    async def all_agree(self) -> None:
        while True:
            if len({node.document.whole() for node in self.running.values()}) == 1:
                return
            await asyncio.sleep(0.02)


def test_39_a_member_that_was_away_while_the_log_was_cut_catches_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        nodes = Nodes(tmp_path)
        for name in NAMES:
            await nodes.start(name)
        leader = await nodes.leader()
        away = next(name for name in NAMES if name != leader)
        await nodes.stop(away)
        await nodes.write(WRITES)
        base = nodes.running[await nodes.leader()].status().base_index
        assert base > 100, "the others hold the whole log, and nothing is shown"
        await nodes.start(away)
        await nodes.all_agree()
        status = nodes.running[away].status()
        assert status.snapshot_index >= base
        assert status.base_index >= base
        await nodes.write(10)
        await nodes.all_agree()
        for name in NAMES:
            await nodes.stop(name)

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))
