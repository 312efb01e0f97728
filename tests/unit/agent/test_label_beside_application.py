"""What the keeper of the label is told of a leader with an application beside it."""

import asyncio

import pytest

from raftq_k8s.agent.label import LabelledNode
from raftq_k8s.node.errors import NotStarted
from raftq_k8s.raft.output import Standing

LEADER = Standing("leader", 3, "raftq-0", established=True)
WAITING = Standing("leader", 3, "raftq-0", established=False)


class Changing:
    """A value, and who waits for its change."""

    def __init__(self, value):
        self.value = value
        self._waiting = asyncio.Event()

    def become(self, value):
        self.value = value
        self._waiting.set()

    async def next(self, seen):
        while self.value == seen:
            self._waiting.clear()
            await self._waiting.wait()
        return self.value


class Raft(Changing):
    def standing(self):
        return self.value

    next_standing = Changing.next


class Application(Changing):
    def promoted_in(self):
        return self.value

    next_promoted = Changing.next


async def test_without_an_application_the_leader_is_what_raft_says():
    assert LabelledNode(Raft(LEADER)).standing() == LEADER


async def test_a_leader_counts_once_its_application_serves_in_this_term_and_no_longer():
    application = Application(None)
    node = LabelledNode(Raft(LEADER), application)
    assert node.standing() == WAITING
    application.become(2)
    assert node.standing() == WAITING
    application.become(3)
    assert node.standing() == LEADER
    application.become(None)
    assert node.standing() == WAITING


async def test_it_is_told_when_the_application_changes_and_when_raft_does():
    raft, application = Raft(LEADER), Application(None)
    node = LabelledNode(raft, application)
    waiting = asyncio.create_task(node.next_standing(WAITING))
    await asyncio.sleep(0)
    application.become(2)  # says nothing new
    await asyncio.sleep(0.01)
    assert not waiting.done()
    application.become(3)
    assert await waiting == LEADER
    waiting = asyncio.create_task(node.next_standing(LEADER))
    await asyncio.sleep(0)
    raft.become(following := Standing("follower", 4, "raftq-1", established=False))
    assert await waiting == following


@pytest.mark.parametrize("application", [None, Application(None)])
async def test_a_node_that_takes_no_part_any_more_changes_no_more_and_nobody_fails_for_it(application):
    class Stopped(Raft):
        async def next_standing(self, seen):
            raise NotStarted("this node was stopped")

    node = LabelledNode(Stopped(Standing("follower", 3, None, established=False)), application)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await node.next_standing(node.standing())
