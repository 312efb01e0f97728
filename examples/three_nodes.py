"""Three nodes of `Raftq` in one process: they elect a leader, replicate a document, and elect again.

The application carries the messages; here a dictionary is the network. These volumes forget everything when the
process ends: `SqliteVolume(directory, member)` of `raftq_k8s.storage.sqlite` keeps it.
"""

import asyncio
from typing import Any

from raftq_k8s import Raftq, RaftqOptions, RaftRole
from raftq_k8s.raft.types import MemberId
from raftq_k8s.storage.memory import MemoryVolume

NAMES = ("a", "b", "c")
WIRES = {  # what leaves one node as the first is dispatched to the other as the second
    "voteRequest": "voteRequestReceived",
    "voteResponse": "voteResponseReceived",
    "syncData": "dataReceived",
    "dataResponse": "dataResponseReceived",
}
network: dict[str, Raftq] = {}
elected: asyncio.Queue[str] = asyncio.Queue()


def make(name: str) -> Raftq:
    options = RaftqOptions(minimum_election_time=500, maximum_election_time=1000, bootstrap=name == "a")  # "a" founds
    node = Raftq(options, volume=MemoryVolume(MemberId(name)))
    for sent, received in WIRES.items():

        async def carry(message: dict[str, Any], received: str = received) -> None:
            destination = network.get(message["destination"]["id"])
            if destination is not None:
                await destination.dispatch(received, message)

        node.subscribe(sent, carry)
    node.subscribe("roleChanged", lambda role: elected.put_nowait(name) if role is RaftRole.LEADER else None)
    return node


async def main() -> None:
    network.update({name: make(name) for name in NAMES})
    for name in NAMES:
        for other in set(NAMES) - {name}:
            await network[name].dispatch("ackNode", {"id": other, "time": 1})  # it is there
    for name in NAMES:
        await network[name].dispatch("serviceStarted", {"node": {"id": name, "time": 1}})

    first = await elected.get()
    await network[first].dispatch("replicateData", {"colour": "blue"})  # ends when a majority has it
    print("one leads, and has", network[first].get_data())

    await network.pop(first).destroy()
    second = await elected.get()
    node = network[second]
    while not (standing := node.standing()).established:  # all that was committed before is applied then
        await node.next_standing(standing)
    print("another leads, and has", node.get_data())

    for node in network.values():
        await node.destroy()


if __name__ == "__main__":
    asyncio.run(main())
