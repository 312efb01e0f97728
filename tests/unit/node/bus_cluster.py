"""A cluster of `Raftq` nodes in one loop, wired by dictionaries and nothing but the four channels of the contract."""

import asyncio
import json
from collections import Counter
from typing import Any

from fake_time import clock, until

from raftq_k8s import RaftEvent, Raftq, RaftqOptions
from raftq_k8s.raft.types import MemberId
from raftq_k8s.storage.memory import MemoryVolume

WIRES = {
    "voteRequest": "voteRequestReceived",
    "voteResponse": "voteResponseReceived",
    "syncData": "dataReceived",
    "dataResponse": "dataResponseReceived",
}


class BusCluster:
    def __init__(self, *ids: str, **options: Any) -> None:
        self.ids = ids
        self.options = options
        self.volumes = {member: MemoryVolume(MemberId(member)) for member in ids}
        self.nodes: dict[str, Raftq] = {}
        self.cut: set[str] = set()
        self.carried: Counter[str] = Counter()
        self.longest = 0
        self.logs: dict[str, list[str]] = {member: [] for member in ids}

    def add(self, member: str) -> Raftq:
        """A node with an empty volume."""
        self.volumes[member] = MemoryVolume(MemberId(member))
        self.logs[member] = []
        return self.make(member)

    def make(self, member: str, *, bootstrap: bool = False) -> Raftq:
        raft = Raftq(RaftqOptions(bootstrap=bootstrap, **self.options), volume=self.volumes[member], clock=clock)
        for sent, received in WIRES.items():
            raft.subscribe(sent, self._wire(member, sent, received))
        raft.subscribe("log", lambda message: self.logs[member].append(message["message"]))
        self.nodes[member] = raft
        return raft

    def _wire(self, source: str, sent: str, received: str) -> Any:
        async def carry(message: dict[str, Any]) -> None:
            text = json.dumps(message)
            self.longest = max(self.longest, len(text))
            self.carried[sent] += 1
            await asyncio.sleep(0.001)
            destination = message["destination"]["id"]
            if destination in self.nodes and not {source, destination} & self.cut:
                await self.nodes[destination].dispatch(received, json.loads(text))

        return carry

    async def start(self, *, founder: str | None = None) -> None:
        """All at once; each knows all others, as after the seed's start."""
        for member in self.ids:
            self.make(member, bootstrap=member == founder)
        for member, raft in self.nodes.items():
            for other in self.ids:
                if other != member:
                    await raft.dispatch("ackNode", {"id": other, "time": 1})
        await asyncio.gather(*(raft.dispatch("serviceStarted", _node(member)) for member, raft in self.nodes.items()))

    async def leader(self) -> str:
        """Whoever leads and is followed by all that are not cut off."""
        found: list[str] = []

        def agreed() -> bool:
            alive = {member: raft for member, raft in self.nodes.items() if member not in self.cut}
            names = {raft.get_leader() for raft in alive.values()}
            if len(names) == 1 and (name := names.pop()) in alive and alive[name].standing().established:
                found.append(name)
            return bool(found)

        await until(agreed)
        return found[0]

    async def crash(self, member: str) -> None:
        """As a kill: nothing is said to anybody."""
        self.cut.add(member)
        await self.nodes.pop(member).destroy()
        self.cut.discard(member)

    async def restart(self, member: str) -> None:
        raft = self.make(member)
        await raft.dispatch("serviceStarted", _node(member))

    async def stop(self) -> None:
        for raft in self.nodes.values():
            await raft.destroy()


def _node(member: str) -> dict[str, Any]:
    return {"node": {"id": member, "time": 1}}


def followers(cluster: BusCluster, leader: str) -> list[str]:
    return [member for member in cluster.nodes if member != leader]


__all__ = ["WIRES", "BusCluster", "RaftEvent", "followers"]
