"""A `Raftq` whose state an application keeps."""

import asyncio
import json
from typing import Any

import pytest
from fake_time import clock, until

from raftq_k8s import RaftNode, Raftq, RaftqOptions
from raftq_k8s.node.errors import OutcomeUnknown
from raftq_k8s.raft.types import MemberId
from raftq_k8s.storage.memory import MemoryVolume
from raftq_k8s.storage.volume import VolumeUnusable

JUST_ME = {"node": {"id": "a", "time": 1}}


class Agent:
    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.failure: Exception | None = None
        self.longest = 0

    async def persist(self, node: RaftNode, data: Any) -> None:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        self.texts[node.id] = json.dumps(data)
        self.longest = max(self.longest, len(self.texts[node.id]))

    async def restore(self, node: RaftNode) -> Any:
        if self.failure is not None:
            raise self.failure
        text = self.texts.get(node.id)
        return None if text is None else json.loads(text)


def with_agent(agent: Agent) -> Raftq:
    return Raftq(RaftqOptions(bootstrap=True, persist_agent=agent), clock=clock)


async def leading(raft: Raftq) -> Raftq:
    await raft.dispatch("serviceStarted", JUST_ME)
    await until(lambda: raft.standing().established)
    return raft


async def test_what_was_replicated_is_there_after_a_crash() -> None:
    agent = Agent()
    raft = await leading(with_agent(agent))
    await raft.dispatch("replicateData", {"colour": "blue"})
    term = raft.standing().term
    persisted = dict(agent.texts)
    await raft.destroy()
    agent.texts = persisted  # as a kill leaves it

    again = await leading(with_agent(agent))
    assert again.get_data() == {"colour": "blue"}
    assert again.standing().term > term
    await again.destroy()


async def test_what_is_persisted_stays_small_however_much_was_replicated() -> None:
    agent = Agent()
    raft = await leading(with_agent(agent))
    for number in range(400):
        await raft.dispatch("replicateData", {"number": number, "filling": "x" * 1000})
    assert agent.longest < 250_000
    await raft.destroy()
    again = await leading(with_agent(agent))
    assert again.get_data()["number"] == 399
    await again.destroy()


async def test_a_state_that_cannot_be_restored_stops_the_start() -> None:
    agent = Agent()
    agent.failure = ValueError("the file is torn")
    raft = with_agent(agent)
    with pytest.raises(VolumeUnusable, match="the file is torn"):
        await raft.dispatch("serviceStarted", JUST_ME)
    agent.failure = None
    await leading(raft)  # it can be told to start again
    await raft.destroy()


async def test_a_node_whose_state_cannot_be_persisted_takes_no_further_part() -> None:
    agent = Agent()
    raft = await leading(with_agent(agent))
    agent.failure = OSError(5, "Input/output error")
    with pytest.raises(OutcomeUnknown):
        await raft.dispatch("replicateData", {"colour": "red"})
    with pytest.raises(Exception, match="Input/output error"):
        await raft.failure
    assert raft.get_leader() is None
    await raft.destroy()


def test_a_volume_beside_a_persist_agent_is_one_too_many() -> None:
    with pytest.raises(ValueError, match="one stable storage"):
        Raftq(RaftqOptions(persist_agent=Agent()), volume=MemoryVolume(MemberId("a")))
