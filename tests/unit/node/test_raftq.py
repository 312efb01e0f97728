"""The doors of `Raftq`: what it refuses, what it ends with, and what it tells."""

import asyncio
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from bus_cluster import BusCluster
from fake_time import clock, run, until

from raftq_k8s import RaftEvent, RaftNode, Raftq, RaftqOptions, RaftRole
from raftq_k8s.node.actions import Actions, SliceReceipt
from raftq_k8s.node.errors import (
    BadMessage,
    NoLeader,
    NotLeader,
    NotStarted,
    OutcomeUnknown,
    TooLarge,
    UnknownEvent,
)
from raftq_k8s.raft.core import APPLIED_AT_ONCE
from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.output import EntriesWanted
from raftq_k8s.raft.persistence import Restored, Write
from raftq_k8s.raft.types import Index, MemberId, Term
from raftq_k8s.state.commands import Applied, Put
from raftq_k8s.storage.memory import MemoryVolume
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.storage.volume import WriteFailed

JUST_ME = {"node": {"id": "a", "time": 1}}


def alone(volume: Any = None, **options: Any) -> Raftq:
    return Raftq(RaftqOptions(bootstrap=True), volume=volume or MemoryVolume(MemberId("a")), clock=clock, **options)


async def leading(raft: Raftq) -> Raftq:
    await raft.dispatch("serviceStarted", JUST_ME)
    await until(lambda: raft.standing().established)
    return raft


class FailingVolume(MemoryVolume):
    failing = False

    def write(self, write: Write) -> "Future[None]":
        if not self.failing:
            return super().write(write)
        future: Future[None] = Future()
        future.set_exception(WriteFailed("the disk is full"))
        return future


def test_the_options_have_the_contracts_defaults() -> None:
    options = RaftqOptions()
    assert (options.heartbeat, options.minimum_election_time, options.maximum_election_time) == (100, 200, 800)
    assert options.max_message_bytes == 65536
    assert not options.bootstrap


def test_without_a_volume_it_says_what_to_pass() -> None:
    with pytest.raises(ValueError, match=r"volume=SqliteVolume\(directory, member\)"):
        Raftq(RaftqOptions())


def test_an_unknown_event_is_a_typed_error() -> None:
    async def scenario() -> None:
        raft = alone()
        with pytest.raises(UnknownEvent, match="voteRequested"):
            await raft.dispatch("voteRequested", {})
        with pytest.raises(UnknownEvent):
            raft.subscribe("rolechanged", print)

    run(scenario())


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("ackNode", {}),
        ("ackNode", {"id": 5}),
        ("ackNode", None),
        ("serviceStarted", {}),
        ("serviceStarted", {"node": {"time": 1}}),
        ("replicateData", object()),
        ("replicateData", {"x": {1, 2}.__iter__()}),
    ],
)
def test_what_the_application_got_wrong_is_a_typed_error(event: str, message: Any) -> None:
    async def scenario() -> None:
        with pytest.raises(BadMessage):
            await alone().dispatch(event, message)

    run(scenario())


def test_what_another_node_got_wrong_is_counted_and_nothing_else() -> None:
    async def scenario() -> None:
        raft = await leading(alone())
        for event in RaftEvent:
            if event.endswith("Received"):
                await raft.dispatch(event, {"garbage": event})
        assert raft.status().ignored_messages == {"malformed": 4}
        assert raft.get_role() == RaftRole.LEADER
        await raft.destroy()

    run(scenario())


def test_messages_before_the_start_are_left_alone() -> None:
    async def scenario() -> None:
        raft = alone()
        await raft.dispatch("voteRequestReceived", {"garbage": True})
        assert raft.status().waiting_for == "waiting for serviceStarted to be dispatched"
        assert raft.get_leader() is None
        assert raft.get_role() == RaftRole.FOLLOWER
        with pytest.raises(NotStarted):
            raft.get_node()
        with pytest.raises(NotStarted):
            await raft.submit(Put("k", b"1"), 1)
        with pytest.raises(NotLeader):
            await raft.dispatch("replicateData", {})

    run(scenario())


def test_the_node_is_its_volumes() -> None:
    async def scenario() -> None:
        raft = alone(MemoryVolume(MemberId("b")))
        with pytest.raises(BadMessage, match="belongs to b"):
            await raft.dispatch("serviceStarted", JUST_ME)

    run(scenario())


def test_it_starts_once() -> None:
    async def scenario() -> None:
        raft = await leading(alone())
        with pytest.raises(BadMessage, match="already"):
            await raft.dispatch("serviceStarted", JUST_ME)
        await raft.destroy()
        await raft.destroy()
        with pytest.raises(NotStarted):
            await raft.dispatch("serviceStarted", JUST_ME)

    run(scenario())


def test_a_node_that_was_not_started_yet_removes_nobody() -> None:
    async def scenario() -> None:
        raft = alone()
        await raft.dispatch("ackNode", {"id": "b", "time": 0, "leave": True})
        assert raft.get_followers() == []

    run(scenario())


def test_acknowledged_nodes_are_followers_until_they_are_away() -> None:
    async def scenario() -> None:
        raft = alone()
        await raft.dispatch(RaftEvent.ACK_NODE, RaftNode(MemberId("b"), 17))
        await raft.dispatch("ackNode", {"id": "c", "time": 18})
        assert raft.get_followers() == [RaftNode(MemberId("b"), 17), RaftNode(MemberId("c"), 18)]
        await raft.dispatch("ackNode", {"id": "b", "time": 0})
        assert [node.id for node in raft.get_followers()] == ["c"]

    run(scenario())


def test_the_own_node_can_be_said_to_be_away_as_in_the_seeds_example() -> None:
    async def scenario() -> None:
        raft = await leading(alone())
        raft.get_node().time = 0
        assert raft.get_node() == RaftNode(MemberId("a"), 0)
        await raft.dispatch("serviceCrashed", {"reason": "SIGINT"})
        assert raft.get_leader() is None
        assert raft.status().role == RaftRole.FOLLOWER
        assert raft.status().quorum_left_ms == 0
        await raft.destroy()

    run(scenario())


def test_role_changes_and_the_log_are_told() -> None:
    async def scenario() -> None:
        raft, roles, lines = alone(), [], []
        raft.subscribe(RaftEvent.ROLE_CHANGED, roles.append)
        raft.subscribe("log", lambda message: lines.append(message["message"]))
        await leading(raft)
        await until(lambda: roles[-1:] == [RaftRole.LEADER])
        assert "a is elected leader in term 1" in lines
        raft.observe_term(Term(7))
        await until(lambda: raft.standing().term > 7 and raft.standing().established)
        assert "a leads no longer: nobody is known to lead in term 7" in lines
        assert RaftRole.FOLLOWER in roles
        await raft.destroy()

    run(scenario())


def test_next_standing_gives_the_latest_that_differs() -> None:
    async def scenario() -> None:
        raft = alone()
        before = raft.standing()
        await raft.dispatch("serviceStarted", JUST_ME)
        seen = await raft.next_standing(before)
        while not seen.established:
            seen = await raft.next_standing(seen)
        assert seen == raft.standing()
        waiting = asyncio.ensure_future(raft.next_standing(seen))
        await asyncio.sleep(1)
        assert not waiting.done()
        await raft.destroy()
        last = await waiting
        assert (last.role, last.leader) == ("follower", None)
        with pytest.raises(NotStarted):
            await raft.next_standing(last)

    run(scenario())


def test_many_submitted_in_one_turn_are_one_write() -> None:
    async def scenario() -> None:
        writes: list[Write] = []

        class Watched(MemoryVolume):
            def write(self, write: Write) -> "Future[None]":
                writes.append(write)
                return super().write(write)

        raft = await leading(alone(Watched(MemberId("a"))))
        writes.clear()
        results = await asyncio.gather(*(raft.submit(Put(f"k{n}", b"1"), 5) for n in range(100)))
        assert all(isinstance(result, Applied) for result in results)
        assert [len(write.entries) for write in writes] == [100]
        await raft.destroy()

    run(scenario())


def test_others_have_their_turn_while_much_is_applied() -> None:
    """On a slow machine: whenever it is asked, 4 ms have passed."""

    async def scenario() -> None:
        asked = count()
        raft = Raftq(
            RaftqOptions(bootstrap=True),
            volume=MemoryVolume(MemberId("a")),
            clock=lambda: clock() + 4.0 * next(asked),
        )
        await leading(raft)
        written = asyncio.gather(*(raft.submit(Put(f"k{n}", b"1"), 60) for n in range(4 * APPLIED_AT_ONCE)))
        seen = set()
        while not written.done():
            seen.add(raft.document.applied_index)
            await asyncio.sleep(0)
        assert len(seen) > 2, "before, after, and in between"
        await raft.destroy()

    run(scenario())


async def test_writes_that_end_on_another_thread_come_back_to_the_loop(tmp_path: Path) -> None:
    """The one test here with real time: a disk, a thread and the clock of the machine."""
    raft = Raftq(RaftqOptions(bootstrap=True), volume=SqliteVolume(tmp_path, MemberId("a")))
    await raft.dispatch("serviceStarted", JUST_ME)
    async with asyncio.timeout(20):
        results = await asyncio.gather(*(raft.submit(Put(f"k{n}", b"1"), 20) for n in range(50)))
        assert all(isinstance(result, Applied) for result in results)
    await raft.destroy()

    again = Raftq(RaftqOptions(), volume=SqliteVolume(tmp_path, MemberId("a")))
    await again.dispatch("serviceStarted", JUST_ME)
    async with asyncio.timeout(20):
        await again.submit(Put("after", b"1"), 20)
    assert len(again.get_data()) == 51
    await again.destroy()


def test_destroyed_while_it_starts_it_does_not_run() -> None:
    async def scenario() -> None:
        raft = alone()
        starting = asyncio.ensure_future(raft.dispatch("serviceStarted", JUST_ME))
        await asyncio.sleep(0)
        await raft.destroy()
        await starting
        with pytest.raises(NotStarted):
            await raft.submit(Put("k", b"1"), 1)

    run(scenario())


def test_a_failed_write_is_final() -> None:
    async def scenario() -> None:
        volume = FailingVolume(MemberId("a"))
        raft, lines = alone(volume), []
        raft.subscribe("log", lambda message: lines.append(message["message"]))
        await leading(raft)
        last = raft.status().last_index
        volume.failing = True
        with pytest.raises(OutcomeUnknown):
            await raft.submit(Put("k", b"1"), 5)
        assert raft.failure.done()
        assert raft.get_leader() is None
        with pytest.raises(WriteFailed):
            await raft.failure
        volume.failing = False
        with pytest.raises(NotStarted):
            await raft.submit(Put("k", b"2"), 5)
        await asyncio.sleep(5)
        assert raft.document.get("k") is None
        assert raft.status().commit_index == last
        assert any("the disk is full" in line for line in lines)
        await raft.destroy()

    run(scenario())


def test_a_volume_that_raises_instead_of_taking_a_write_is_final() -> None:
    class Broken(MemoryVolume):
        def write(self, write: Write) -> "Future[None]":
            raise RuntimeError("no volume at all")

    async def scenario() -> None:
        raft = alone(Broken(MemberId("a")))
        await raft.dispatch("serviceStarted", {"node": {"id": "a", "time": 1}})
        with pytest.raises(RuntimeError, match="no volume at all"):
            await raft.failure
        await raft.destroy()

    run(scenario())


def test_the_volume_is_told_to_write_before_it_is_told_to_load_and_nothing_after_the_end() -> None:
    class Noting(MemoryVolume):
        def write(self, write: Write) -> "Future[None]":
            told.append("write")
            return Future()

        def load(self, first: Index, last: Index, max_bytes: int) -> "Future[tuple[Entry, ...]]":
            told.append("load")
            return Future()

    told: list[str] = []

    async def scenario() -> None:
        raft = await leading(alone())
        runtime = raft._running()
        runtime._volume = Noting(MemberId("a"))
        runtime._volume.open()
        actions = Actions(loads=[EntriesWanted(Index(1), Index(1), 1)], writes=[(SliceReceipt(1), Write())])
        runtime._hand_over(actions)
        await raft.destroy()
        runtime._hand_over(actions)

    run(scenario())
    assert told == ["write", "load"]


def test_a_caller_that_gave_up_disturbs_nobody() -> None:
    async def scenario() -> None:
        raft = await leading(alone())
        attempt = asyncio.ensure_future(raft.submit(Put("k", b"1"), 5))
        await asyncio.sleep(0)
        attempt.cancel()
        assert isinstance(await raft.submit(Put("l", b"1"), 5), Applied)
        await raft.destroy()

    run(scenario())


def test_destroy_tells_who_waits() -> None:
    async def scenario() -> None:
        cluster = BusCluster("a", "b")
        await cluster.start()
        attempt = asyncio.ensure_future(cluster.nodes["a"].submit(Put("k", b"1"), 50))
        await asyncio.sleep(1)
        await cluster.nodes["a"].destroy()
        with pytest.raises(NoLeader):
            await attempt
        await cluster.stop()

    run(scenario())


def test_a_time_that_never_ends_is_told_as_a_number() -> None:
    async def scenario() -> None:
        raft = await leading(alone())
        status = raft.status()
        assert status.quorum_left_ms == status.lease_left_ms == 3_600_000
        await raft.destroy()

    run(scenario())


def test_a_document_past_its_bound_is_refused() -> None:
    async def scenario() -> None:
        raft = await leading(alone())
        raft.document.limit_bytes = 100
        with pytest.raises(TooLarge, match="100 bytes"):
            await raft.dispatch("replicateData", "x" * 200)
        await raft.destroy()

    run(scenario())


def test_a_volume_that_cannot_be_opened_stops_the_start() -> None:
    class Unusable(MemoryVolume):
        def open(self) -> Restored:
            raise OSError("no such volume")

    async def scenario() -> None:
        raft = alone(Unusable(MemberId("a")))
        with pytest.raises(OSError, match="no such volume"):
            await raft.dispatch("serviceStarted", JUST_ME)
        await raft.destroy()

    run(scenario())
