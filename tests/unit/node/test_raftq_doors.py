"""The doors of `Raftq` beyond the contract: reads, members, transfers, what is told of the state."""

import asyncio
import time

import pytest
from bus_cluster import BusCluster, followers
from fake_time import run, until

from raftq_k8s import Raftq, RaftqOptions
from raftq_k8s.node.distribution import Distribution
from raftq_k8s.node.errors import NoLeader, NotLeader, NotStarted, OutcomeUnknown, TransferFailed
from raftq_k8s.raft.consensus import TransferRefused
from raftq_k8s.raft.membership import ChangeRefused, Member, Remove
from raftq_k8s.raft.types import Incarnation, MemberId
from raftq_k8s.state.agreements import Holding
from raftq_k8s.state.commands import (
    Condition,
    NotAsExpected,
    Noted,
    Patch,
    Pause,
    Put,
    Resume,
    Starting,
    Stopped,
    Transacted,
    Transaction,
)
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.storage.memory import MemoryVolume


async def three() -> tuple[BusCluster, Raftq, str]:
    cluster = BusCluster("a", "b", "c")
    await cluster.start(founder="a")
    leader = await cluster.leader()
    return cluster, cluster.nodes[leader], leader


def member(node: Raftq, name: str) -> Member:
    [found] = [status for status in node.members() if status.name == name]
    return Member(found.name, found.incarnation)


def test_a_transaction_and_a_patch_are_submitted_like_any_command() -> None:
    async def scenario() -> None:
        cluster, leader, name = await three()
        other = cluster.nodes[followers(cluster, name)[0]]
        put = await other.submit(Patch(b'{"a": {"b": 1.0}}'), 5)
        moved = Transaction((Condition("a", (put.revision,)),), (Put("c", b"2"), Patch(b'{"a": {"b": null}}')))
        done = await other.submit(moved, 5)
        assert isinstance(done, Transacted)
        assert done.existed == (False, True)
        assert await other.submit(moved, 5) == NotAsExpected(done.revision + 1, done.revision, 0)
        assert leader.document.whole()[0] == b'{"a":{},"c":2}'
        await leader.read(5)
        assert [change.key for change in leader.journal.since(put.revision)] == ["c", "a"]
        await cluster.stop()

    run(scenario())


def test_how_long_writes_and_changes_of_leader_took_is_counted() -> None:
    async def scenario() -> None:
        cluster, leader, name = await three()
        before = count(leader.timings.persist)
        for number in range(3):
            await leader.submit(Put("a", b"%d" % number), 5)
        assert count(leader.timings.commit) == 3
        assert 0 < leader.timings.commit.total < 3 * 5
        assert count(leader.timings.persist) > before
        assert count(leader.timings.election) == 0  # the first one replaced nobody
        await leader.transfer(None, 5)
        assert count(leader.timings.election) == 1
        await cluster.stop()
        assert count(Raftq(RaftqOptions(), volume=MemoryVolume(name)).timings.commit) == 0

    run(scenario())


def count(took: Distribution) -> int:
    return [total for _, total in took.cumulated()][-1]


def test_what_is_agreed_on_is_known_to_all() -> None:
    async def scenario() -> None:
        cluster, leader, name = await three()
        other = cluster.nodes[followers(cluster, name)[0]]
        term = leader.standing().term
        assert isinstance(await other.submit(Pause("disks"), 5), Noted)
        assert isinstance(await leader.submit(Starting(term, name, 1000), 5), Noted)
        await other.read(5)
        assert (other.paused, other.application) == ("disks", Holding(term, name, 1000))
        await leader.submit(Stopped(term), 5)
        await leader.submit(Resume(), 5)
        assert (leader.paused, leader.application) == (None, None)
        await cluster.stop()

    run(scenario())


def test_a_removal_is_committed_when_it_ends() -> None:
    async def scenario() -> None:
        cluster, leader, name = await three()
        gone, other = followers(cluster, name)
        with pytest.raises(NotLeader) as refused:
            await cluster.nodes[other].change(Remove(member(leader, gone)), 5)
        assert refused.value.leader == name
        await leader.change(Remove(member(leader, gone)), 5)
        assert leader.status().voters == tuple(sorted((name, other)))
        assert leader.status().commit_index == leader.status().last_index
        with pytest.raises(ChangeRefused, match="no member"):
            await leader.change(Remove(Member(MemberId("z"), Incarnation("i"))), 5)
        await cluster.stop()

    run(scenario())


def test_a_change_without_a_majority_ends_unknown() -> None:
    async def scenario() -> None:
        cluster, leader, name = await three()
        cluster.cut = {*followers(cluster, name)}
        with pytest.raises(OutcomeUnknown):
            await leader.change(Remove(member(leader, followers(cluster, name)[0])), 0.1)
        await cluster.stop()

    run(scenario())


def test_a_transfer_says_who_leads_then() -> None:
    async def scenario() -> None:
        cluster, leader, name = await three()
        target, other = followers(cluster, name)
        assert await leader.transfer(MemberId(target), 5) == target
        await until(lambda: cluster.nodes[target].standing().established)
        assert await cluster.nodes[target].transfer(None, 5) in (name, other)
        with pytest.raises(NotLeader):
            await cluster.nodes[target].transfer(None, 5)
        await cluster.stop()

    run(scenario())


def test_a_transfer_that_nobody_takes_or_can_take_is_told_apart() -> None:
    async def scenario() -> None:
        cluster, leader, name = await three()
        target = followers(cluster, name)[0]
        cluster.cut = {target}
        with pytest.raises(TransferFailed, match=f"handed to {target}"):
            await leader.transfer(MemberId(target), 5)
        with pytest.raises(TransferRefused):
            await leader.transfer(MemberId(name), 5)
        ended = asyncio.ensure_future(leader.transfer(MemberId(target), 5))
        await asyncio.sleep(0.01)
        await cluster.stop()
        with pytest.raises(TransferFailed):
            await ended

    run(scenario())


def test_members_and_history_are_there_from_the_start_on() -> None:
    async def scenario() -> None:
        cluster, leader, name = await three()
        with pytest.raises(NotStarted):
            await Raftq(RaftqOptions(), volume=MemoryVolume(MemberId("z"))).transfer(None, 1)
        unstarted = Raftq(RaftqOptions(), volume=MemoryVolume(MemberId("z")))
        assert (unstarted.members(), unstarted.history()) == ((), ())
        assert [status.name for status in leader.members()] == ["a", "b", "c"]
        [first] = leader.history()
        assert (first.from_, first.to, first.reason) == (None, name, "first")
        assert abs(first.at - time.time()) < 60
        await cluster.stop()

    run(scenario())


def test_whoever_waits_for_what_is_applied_is_told_and_told_of_the_end() -> None:
    async def scenario() -> None:
        cluster, leader, name = await three()
        applied = leader.status().applied_index
        assert await leader.next_applied(applied - 1) == applied
        waits = asyncio.ensure_future(cluster.nodes[followers(cluster, name)[0]].next_applied(applied))
        result = await leader.submit(Put("a", b"1"), 5)
        assert await waits == result.revision
        ends = asyncio.ensure_future(leader.next_applied(result.revision))
        await asyncio.sleep(0.01)
        await cluster.stop()
        with pytest.raises(NotStarted):
            await ends

    run(scenario())


def test_questions_that_are_answered_or_given_up_leave_nothing_behind() -> None:
    async def scenario() -> None:
        cluster, leader, name = await three()
        runtime = leader._running()
        given_up = [
            asyncio.ensure_future(question)
            for question in (
                leader.submit(Put("a", b"1"), 1),
                leader.read(1),
                leader.change(Remove(member(leader, followers(cluster, name)[0])), 1),
                leader.transfer(MemberId("nobody"), 1),
            )
        ]
        await asyncio.sleep(0)
        for each in given_up:
            each.cancel()
        await asyncio.wait(given_up)
        await leader.transfer(MemberId(followers(cluster, name)[1]), 5)
        await until(lambda: not (runtime._callers or runtime._readers or runtime._transfers))
        await cluster.stop()

    run(scenario())


def test_a_command_that_a_node_never_looked_at_provably_did_nothing() -> None:
    async def scenario() -> None:
        cluster, leader, _ = await three()
        waits = asyncio.ensure_future(leader.submit(Put("a", b"1"), 5))
        await asyncio.sleep(0)
        leader._running()._take_no_part()
        with pytest.raises(NoLeader):
            await waits
        await cluster.stop()

    run(scenario())


def test_whoever_gives_up_waiting_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        cluster, leader, _ = await three()
        runtime = leader._running()
        for wait in leader.next_applied(leader.status().applied_index), leader.next_standing(leader.standing()):
            waits = asyncio.ensure_future(wait)
            await asyncio.sleep(0)
            assert len(runtime._applied_waiters) + len(runtime._standing_waiters) == 1
            waits.cancel()
            await asyncio.wait([waits])
            assert not runtime._applied_waiters
            assert not runtime._standing_waiters
        await cluster.stop()

    run(scenario())


def test_what_is_frozen_can_be_read_as_a_snapshot() -> None:
    async def scenario() -> None:
        cluster, leader, _ = await three()
        result = await leader.submit(Put("a", b"1"), 5)
        frozen, index = leader.freeze()
        await leader.submit(Put("a", b"2"), 5)
        assert index == result.revision
        state = StateMachine()
        restoring = state.restoring()
        for part in frozen.parts(10):
            restoring.feed(part)
        state.install(restoring)
        assert state.document.whole() == (b'{"a":1}', index)
        await cluster.stop()

    run(scenario())


def test_a_member_that_departs_is_removed() -> None:
    async def scenario() -> None:
        cluster, leader, name = await three()
        gone = followers(cluster, name)[0]
        cluster.nodes[gone].depart()
        await until(lambda: gone not in leader.status().voters)
        await cluster.stop()

    run(scenario())


def test_a_node_that_is_not_eligible_never_leads() -> None:
    async def scenario() -> None:
        cluster, _, name = await three()
        first, second = followers(cluster, name)
        cluster.nodes[first].set_eligible(False)
        await cluster.crash(name)
        await until(lambda: cluster.nodes[second].standing().established)
        await cluster.stop()

    run(scenario())
