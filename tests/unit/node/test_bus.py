"""Listeners: they hear everything they can take, and hold up nobody."""

import asyncio
import logging

import pytest
from bus_cluster import BusCluster
from fake_time import clock, run, until

from raftq_k8s import RaftEvent, RaftRole
from raftq_k8s.node.bus import Bus
from raftq_k8s.raft.types import MemberId

A, B = MemberId("a"), MemberId("b")


def test_event_names_are_the_contracts_letter_for_letter() -> None:
    assert {event.value for event in RaftEvent} == {
        "serviceStarted", "serviceCrashed", "replicateData", "ackNode", "log", "roleChanged",
        "voteRequest", "voteRequestReceived", "voteResponse", "voteResponseReceived",
        "syncData", "dataReceived", "dataResponse", "dataResponseReceived",
    }  # fmt: skip
    assert [(role.name, role.value) for role in RaftRole] == [("CANDIDATE", 1), ("FOLLOWER", 2), ("LEADER", 3)]


def test_52_flapping_listener_gets_the_latest_role() -> None:
    async def scenario() -> None:
        bus, heard, go_on = Bus(), [], asyncio.Event()

        async def slow(role: RaftRole) -> None:
            heard.append(role)
            await go_on.wait()

        bus.subscribe(RaftEvent.ROLE_CHANGED, slow)
        bus.emit(RaftEvent.ROLE_CHANGED, RaftRole.CANDIDATE)
        await until(lambda: len(heard) == 1)
        for role in (RaftRole.LEADER, RaftRole.FOLLOWER, RaftRole.CANDIDATE, RaftRole.LEADER):
            bus.emit(RaftEvent.ROLE_CHANGED, role)
        go_on.set()
        await until(lambda: len(heard) == 2)
        assert heard == [RaftRole.CANDIDATE, RaftRole.LEADER]
        bus.close()

    run(scenario())


def test_52_listeners_that_hang_or_raise_do_not_stall_consensus(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        cluster = BusCluster("a", "b", "c")

        async def hangs(message: object) -> None:
            await asyncio.Event().wait()

        def raises(message: object) -> None:
            raise RuntimeError("the application's own trouble")

        original = cluster.make

        def make(member: str, *, bootstrap: bool = False) -> object:
            raft = original(member, bootstrap=bootstrap)
            for event in RaftEvent:
                if not event.endswith("Received") and event not in ("serviceStarted", "ackNode", "replicateData"):
                    raft.subscribe(event, hangs)
                    raft.subscribe(event, raises)
            return raft

        cluster.make = make  # type: ignore[method-assign, assignment]
        await cluster.start(founder="a")
        leader = await cluster.leader()
        await cluster.nodes[leader].dispatch("replicateData", {"n": 1})
        assert cluster.nodes[leader].get_data() == {"n": 1}
        await cluster.stop()

    with caplog.at_level(logging.WARNING):
        run(scenario())
    assert "the application's own trouble" in caplog.text


def test_a_destination_that_hangs_does_not_delay_the_others_and_is_tried_again() -> None:
    async def scenario() -> None:
        bus, heard = Bus(), []

        async def carry(message: str) -> None:
            if message.startswith("a"):
                await asyncio.Event().wait()
            heard.append(message)

        bus.subscribe(RaftEvent.SYNC_DATA, carry)
        before = clock()
        bus.emit(RaftEvent.SYNC_DATA, "a1", A, 200)
        bus.emit(RaftEvent.SYNC_DATA, "b1", B, 200)
        await until(lambda: heard == ["b1"])
        assert clock() - before < 200
        await until(lambda: clock() - before > 5_000)
        bus.emit(RaftEvent.SYNC_DATA, "b2", B, 200)
        await until(lambda: heard == ["b1", "b2"])
        bus.close()

    run(scenario())


def test_52_a_slow_listeners_queue_is_bounded_and_drops_the_oldest() -> None:
    async def scenario() -> None:
        bus, heard, go_on = Bus(), [], asyncio.Event()

        async def slow(number: int) -> None:
            await go_on.wait()
            heard.append(number)

        bus.subscribe(RaftEvent.SYNC_DATA, slow)
        for number in range(1_000):
            bus.emit(RaftEvent.SYNC_DATA, number, A)
        go_on.set()
        await until(lambda: 999 in heard)
        assert heard == list(range(936, 1_000))
        bus.close()

    run(scenario())


def test_who_unsubscribed_hears_nothing_more() -> None:
    async def scenario() -> None:
        bus, heard = Bus(), []
        unsubscribe = bus.subscribe(RaftEvent.LOG, heard.append)
        bus.emit(RaftEvent.LOG, 1)
        await until(lambda: heard == [1])
        unsubscribe()
        unsubscribe()
        bus.emit(RaftEvent.LOG, 2)
        await bus.dispatch(RaftEvent.LOG, 3)
        assert heard == [1]
        bus.close()

    run(scenario())


def test_dispatch_awaits_every_listener_and_returns_what_one_raises() -> None:
    async def scenario() -> None:
        bus, heard = Bus(), []

        async def later(message: object) -> None:
            await asyncio.sleep(1)
            heard.append(message)

        async def raises(message: object) -> None:
            raise RuntimeError("no")

        bus.subscribe(RaftEvent.LOG, raises)
        bus.subscribe(RaftEvent.LOG, later)
        with pytest.raises(RuntimeError):
            await bus.dispatch(RaftEvent.LOG, "hello")
        assert heard == ["hello"]

    run(scenario())
