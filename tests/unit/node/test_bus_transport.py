"""Greetings without connections: who counts as connected, and when that is over."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from fake_time import clock, run, until

from raftq_k8s import RaftEvent, RaftNode, RaftqOptions
from raftq_k8s.node import bus_transport
from raftq_k8s.node.bus_greetings import Greeting, Verdict
from raftq_k8s.node.bus_messages import Spoken, decode, encode
from raftq_k8s.node.bus_transport import BusTransport
from raftq_k8s.node.transport import Wire
from raftq_k8s.raft.membership import Hello, Identity, Member, Membership, Refusal
from raftq_k8s.raft.messages import AppendEntries, Entry, EntryKind, SnapshotChunk, SnapshotMark, VoteResponse
from raftq_k8s.raft.types import BootId, ClusterId, Generation, Incarnation, Index, MemberId, Term

A, B = MemberId("a"), MemberId("b")
OPTIONS = RaftqOptions(max_message_bytes=4096)


def identity(member: MemberId, boot: str = "boot") -> Identity:
    return Identity(ClusterId("cluster"), member, Incarnation("volume"), Generation(1), BootId(boot))


def hello(who: Identity) -> Hello:
    return Hello(1, 1, who, None, "")


class Node:
    """The receiver, as a node would be it, and what was said through the bus."""

    def __init__(self) -> None:
        self.verdict: Refusal | None = None
        self.heard: list[Wire] = []
        self.gone: list[MemberId] = []
        self.refused_by: list[tuple[Identity, Refusal]] = []
        self.said: list[tuple[RaftEvent, dict[str, Any]]] = []
        self.notes: list[str] = []
        self.failures: list[BaseException] = []
        self.transport = BusTransport(OPTIONS, self.emit, lambda: Term(3), self.notes.append, clock)

    def hello(self) -> Hello:
        return hello(identity(A))

    def greet(self, hello: Hello) -> "asyncio.Future[Refusal | None]":
        future: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()
        future.set_result(self.verdict)
        return future

    def receive(self, sender: Identity, messages: Sequence[Wire]) -> None:
        self.heard.extend(messages)

    def refused(self, by: Identity, refusal: Refusal) -> None:
        self.refused_by.append((by, refusal))

    def failed(self, error: BaseException) -> None:
        self.failures.append(error)

    def lost(self, peer: MemberId) -> None:
        self.gone.append(peer)

    def emit(self, event: RaftEvent, message: Any, destination: MemberId | None, timeout_ms: float | None) -> None:
        self.said.append((event, json.loads(json.dumps(message))))

    def hears(self, spoken: Spoken, sender: Identity | None = None) -> None:
        event, message = encode(sender or identity(B), spoken, Term(3), RaftNode(A), 200)
        self.transport.receive(event, message)

    def spoken(self) -> list[Spoken]:
        said, self.said = self.said, []
        return [decode(event, message)[2] for event, message in said]

    async def start(self) -> "Node":
        await self.transport.start(self)
        return self

    async def connect(self) -> "Node":
        self.transport.sighted(RaftNode(B, 1))
        self.hears(Verdict(hello(identity(B)), identity(A), None))
        await until(lambda: self.transport.connected(B))
        self.said.clear()
        return self


def test_both_have_to_listen_before_they_are_connected() -> None:
    async def scenario() -> None:
        node = await Node().start()
        node.transport.sighted(RaftNode(B, 1))
        assert isinstance(node.spoken()[0], Greeting)
        node.hears(Greeting(hello(identity(B))))
        await until(lambda: any(event == RaftEvent.VOTE_RESPONSE for event, _ in node.said))
        assert [said.refusal for said in node.spoken() if isinstance(said, Verdict)] == [None]
        assert not node.transport.connected(B)  # it is listened to, but did not say that it listens
        node.hears(Verdict(hello(identity(B)), identity(A), None))
        assert node.transport.connected(B)
        await node.transport.close()

    run(scenario())


def test_who_refuses_us_is_not_connected_and_its_reason_is_told_once() -> None:
    async def scenario() -> None:
        node = await Node().start()
        node.transport.sighted(RaftNode(B, 1))
        for _ in range(3):
            node.hears(Verdict(hello(identity(B)), identity(A), Refusal("older-process", "a younger process was seen")))
        await asyncio.sleep(1)
        assert not node.transport.connected(B)
        assert node.notes == ["b does not listen to this node: a younger process was seen"]
        await node.transport.close()

    run(scenario())


def test_hello_is_said_until_it_is_answered_and_not_to_who_is_away() -> None:
    async def scenario() -> None:
        node = await Node().start()
        node.transport.sighted(RaftNode(B, 1))
        await asyncio.sleep(2)
        assert 5 <= len(node.spoken()) <= 15
        node.transport.away(B)
        node.said.clear()
        await asyncio.sleep(2)
        assert node.said == []
        node.transport.sighted(RaftNode(B, 2))
        assert isinstance(node.spoken()[0], Greeting)
        await node.transport.close()

    run(scenario())


def test_whoever_the_node_has_to_speak_to_is_greeted_though_nobody_named_it() -> None:
    """It joined by another member, and the application has not said so."""

    async def scenario() -> None:
        node = await Node().start()
        node.transport.send(B, [VoteResponse(A, B, Term(3), True, False, 0.0)])
        (said,) = node.spoken()
        assert isinstance(said, Greeting)
        node.hears(Verdict(hello(identity(B)), identity(A), None))
        await until(lambda: node.transport.connected(B))
        node.said.clear()
        node.transport.send(B, [VoteResponse(A, B, Term(3), True, False, 0.0)])
        assert [type(said) for said in node.spoken()] == [VoteResponse]
        await node.transport.close()

    run(scenario())


def test_a_silent_peer_is_lost_and_greeted_again() -> None:
    async def scenario() -> None:
        node = await (await Node().start()).connect()
        await until(lambda: node.gone == [B], within_ms=5_000)
        assert not node.transport.connected(B)
        assert any(isinstance(spoken, Greeting) for spoken in node.spoken())
        await node.connect()
        await node.transport.close()

    run(scenario())


def test_who_is_away_is_lost_at_once() -> None:
    async def scenario() -> None:
        node = await (await Node().start()).connect()
        node.transport.away(B)
        assert node.gone == [B]
        await node.transport.close()

    run(scenario())


def test_another_process_of_a_peer_has_to_say_for_itself_that_it_listens() -> None:
    async def scenario() -> None:
        node = await (await Node().start()).connect()
        node.hears(Greeting(hello(identity(B, "younger"))), identity(B, "younger"))
        await until(lambda: bool(node.said))
        assert not node.transport.connected(B)
        await node.transport.close()

    run(scenario())


def test_59_a_late_verdict_on_a_former_process_of_this_node_does_not_fence_the_present_one() -> None:
    """A greeting that was under way when this node restarted is refused after the restart, and rightly so."""

    async def scenario() -> None:
        node = await (await Node().start()).connect()
        for kind in ("older-process", "removed", "rolled-back"):
            node.hears(Verdict(hello(identity(B)), identity(A, "before"), Refusal(kind, "why")))
        assert node.refused_by == []
        assert node.transport.connected(B)
        node.hears(Verdict(hello(identity(B)), identity(A), Refusal("removed", "why")))
        assert node.refused_by == [(identity(B), Refusal("removed", "why"))]
        await node.transport.close()

    run(scenario())


def test_a_verdict_names_the_process_that_it_is_said_of() -> None:
    async def scenario() -> None:
        node = await (await Node().start()).connect()
        node.verdict = Refusal("older-process", "why")
        node.hears(Greeting(hello(identity(B, "before"))), identity(B, "before"))
        await until(lambda: bool(node.said))
        (refused,) = node.spoken()
        assert refused == Verdict(node.hello(), identity(B, "before"), node.verdict)
        node.transport.dismiss(identity(B), Refusal("removed", "why"))
        (dismissed,) = node.spoken()
        assert dismissed == Verdict(node.hello(), identity(B), Refusal("removed", "why"))
        await node.transport.close()

    run(scenario())


def test_a_message_for_somebody_else_is_not_heard() -> None:
    async def scenario() -> None:
        node = await (await Node().start()).connect()
        event, message = encode(identity(B), Greeting(hello(identity(B))), Term(3), RaftNode(MemberId("c")), 200)
        node.transport.receive(event, message)
        await asyncio.sleep(0)
        assert node.said == []
        await node.transport.close()

    run(scenario())


def test_an_append_is_cut_to_fit_one_message() -> None:
    async def scenario() -> None:
        node = await (await Node().start()).connect()
        entries = tuple(Entry(Index(8 + offset), Term(3), EntryKind.NOOP) for offset in range(2_000))
        node.transport.send(B, [AppendEntries(A, B, Term(3), 4, Index(7), Term(2), Index(6), entries)])
        ((_, message),) = node.said
        assert len(json.dumps(message)) <= 4096
        (append,) = node.spoken()
        assert isinstance(append, AppendEntries)
        assert append.entries == entries[: len(append.entries)]
        assert append.entries
        await node.transport.close()

    run(scenario())


def test_invented_names_fill_no_memory() -> None:
    async def scenario() -> None:
        node = await Node().start()
        for number in range(1_000):
            who = identity(MemberId(f"stranger-{number}"))
            node.hears(Greeting(hello(who)), who)
        await asyncio.sleep(0)
        answered = {message["destination"]["id"] for _, message in node.said}
        assert len(answered) == 256
        await node.transport.close()

    run(scenario())


def test_a_piece_of_a_snapshot_is_cut_to_what_its_members_leave_of_a_message() -> None:
    """The peer says how far it is, so the rest comes with the next piece."""

    async def scenario() -> None:
        node = await (await Node().start()).connect()
        many = tuple(Member(MemberId(f"gone-{number:02}"), Incarnation("0123456789abcdef")) for number in range(60))
        mark = SnapshotMark(
            Index(9), Term(3), Membership((Member(A, Incarnation("volume")),), tombstones=many), 5000, 7
        )
        piece = SnapshotChunk(A, B, Term(3), 1, mark, 1000, bytes(range(250)) * 6)
        node.transport.send(B, [piece])
        assert len(json.dumps(node.said[0][1])) <= OPTIONS.max_message_bytes
        (said,) = node.spoken()
        assert isinstance(said, SnapshotChunk)
        assert (said.mark, said.offset, said.data) == (mark, 1000, piece.data[:750])
        await node.transport.close()

    run(scenario())


def test_an_error_that_nobody_foresaw_while_it_greets_ends_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        node = await Node().start()
        node.transport.sighted(RaftNode(B, 1))
        monkeypatch.setattr(bus_transport, "encode", lambda *_: 1 / 0)
        await until(lambda: bool(node.failures))
        assert [type(failure) for failure in node.failures] == [ZeroDivisionError]
        await node.transport.close()

    run(scenario())
