"""Sessions as callers of `Raftq.submit` meet them: what a command did, or an error that says what to do."""

import asyncio

import pytest
from bus_cluster import BusCluster
from fake_time import clock, run, until

from raftq_k8s import Raftq, RaftqOptions
from raftq_k8s.node.errors import ReplyForgotten, SequenceReused, SessionExpired, TooManySessions
from raftq_k8s.raft.types import MemberId
from raftq_k8s.state.commands import (
    Applied,
    CloseSession,
    DocumentCommand,
    InSession,
    NotAsExpected,
    OpenSession,
    Put,
    PutIf,
    SessionClosed,
    SessionOpened,
    encode,
)
from raftq_k8s.state.sessions import IDLE_MS, WINDOW
from raftq_k8s.storage.memory import MemoryVolume

PATIENCE_S = 5.0


async def leading() -> Raftq:
    raft = Raftq(RaftqOptions(bootstrap=True), volume=MemoryVolume(MemberId("a")), clock=clock)
    await raft.dispatch("serviceStarted", {"node": {"id": "a", "time": 1}})
    await until(lambda: raft.standing().established)
    return raft


async def opened(raft: Raftq) -> int:
    return (await raft.submit(OpenSession(), PATIENCE_S)).session


async def once(raft: Raftq, session: int, sequence: int, command: DocumentCommand) -> object:
    return await raft.submit(InSession(session, sequence, encode(command)), PATIENCE_S)


def test_44_exactly_once_a_repeated_command_hears_the_first_answer() -> None:
    async def scenario() -> None:
        raft = await leading()
        session = await opened(raft)
        first = await once(raft, session, 1, Put("k", b"1"))
        assert isinstance(first, Applied)
        assert await once(raft, session, 2, PutIf("k", b"2", first.revision)) == Applied(first.revision + 1, True)
        assert await once(raft, session, 1, Put("k", b"1")) == first
        assert await once(raft, session, 3, PutIf("k", b"3", 77)) == NotAsExpected(
            first.revision + 3, first.revision + 1
        )
        assert raft.document.get("k") == (b"2", first.revision + 1)
        await raft.destroy()

    run(scenario())


def test_44_an_expired_session_is_an_error_with_what_to_do() -> None:
    async def scenario() -> None:
        raft = await leading()
        session = await opened(raft)
        await once(raft, session, 1, Put("k", b"1"))
        await asyncio.sleep(IDLE_MS / 1000 + 20)
        with pytest.raises(SessionExpired, match=f"session {session}"):
            await once(raft, session, 1, Put("k", b"1"))
        await raft.destroy()

    run(scenario())


def test_what_the_state_says_against_a_session_is_an_error() -> None:
    async def scenario() -> None:
        raft = await leading()
        session = await opened(raft)
        await once(raft, session, WINDOW + 1, Put("k", b"1"))
        with pytest.raises(ReplyForgotten, match="from sequence 2 on"):
            await once(raft, session, 1, Put("k", b"1"))
        with pytest.raises(SequenceReused, match=f"sequence {WINDOW + 1}"):
            await once(raft, session, WINDOW + 1, Put("k", b"2"))
        assert await raft.submit(CloseSession(session), PATIENCE_S) == SessionClosed(session)
        with pytest.raises(SessionExpired):
            await once(raft, session, WINDOW + 2, Put("k", b"1"))
        await raft.destroy()

    run(scenario())


def test_at_the_bound_of_sessions_the_next_is_an_error() -> None:
    async def scenario() -> None:
        raft = await leading()
        raft._state.sessions.limit = 1
        session = await opened(raft)
        with pytest.raises(TooManySessions, match="1 sessions"):
            await opened(raft)
        await raft.submit(CloseSession(session), PATIENCE_S)
        await opened(raft)
        await raft.destroy()

    run(scenario())


def test_sessions_are_carried_by_the_bus_from_any_node() -> None:
    async def scenario() -> None:
        cluster = BusCluster("a", "b", "c")
        await cluster.start(founder="a")
        leader = await cluster.leader()
        one, other = (cluster.nodes[name] for name in cluster.nodes if name != leader)
        opened_there = await one.submit(OpenSession(), PATIENCE_S)
        assert isinstance(opened_there, SessionOpened)
        first = await once(one, opened_there.session, 1, Put("k", b"1"))
        assert await once(other, opened_there.session, 1, Put("k", b"1")) == first
        with pytest.raises(SequenceReused):
            await once(other, opened_there.session, 1, Put("k", b"2"))
        await cluster.stop()

    run(scenario())
