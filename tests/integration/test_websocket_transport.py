"""The transport over real sockets on loopback. A fake node stands behind each end: it keeps what it was told."""

import asyncio
import base64
import contextlib
import hashlib
import inspect
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import msgspec
import pytest
import uvloop
from aiohttp.abc import AbstractResolver, ResolveResult

from raftq_k8s import Raftq, RaftqOptions
from raftq_k8s.node.forwarding import Forward
from raftq_k8s.node.transport import Wire
from raftq_k8s.raft.membership import Hello, Identity, Refusal
from raftq_k8s.raft.types import BootId, ClusterId, Generation, Incarnation, MemberId
from raftq_k8s.storage.memory import MemoryVolume
from raftq_k8s.transport import connection, frames, listener, websocket
from raftq_k8s.transport.websocket import WebsocketTransport

A, B, C = MemberId("raftq-a"), MemberId("raftq-b"), MemberId("raftq-c")
DEADLINE_S = 10.0


async def until(condition: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.002)
    except TimeoutError:
        pytest.fail(f"not within {DEADLINE_S} s: {what}")


def identity(member: MemberId, generation: int = 1) -> Identity:
    return Identity(
        ClusterId("c1"), member, Incarnation(f"{member}'s"), Generation(generation), BootId(f"{member} {generation}")
    )


def forward(source: MemberId, destination: MemberId, ticket: int, size: int = 1) -> Forward:
    return Forward(source, destination, ticket, b"x" * size)


class Node:
    """A fake node and the transport in front of it."""

    def __init__(self, member: MemberId, generation: int = 1, *, resolver: AbstractResolver | None = None) -> None:
        self.identity = identity(member, generation)
        self.refusal: Refusal | None = None
        self.gate: asyncio.Event | None = None
        self.greetings: list[Hello] = []
        self.received: list[Wire] = []
        self.frames: list[int] = []
        self.lost_peers: list[MemberId] = []
        self.refusals: list[tuple[Identity, Refusal]] = []
        self.failures: list[BaseException] = []
        self.transport = WebsocketTransport(member, "127.0.0.1", 0, resolver=resolver)
        self.tasks: set[asyncio.Task[Refusal | None]] = set()

    async def start(self) -> "Node":
        await self.transport.start(self)
        return self

    def hello(self) -> Hello:
        return Hello(1, 1, self.identity, None, "")

    def greet(self, hello: Hello) -> "asyncio.Future[Refusal | None]":
        self.greetings.append(hello)

        async def verdict() -> Refusal | None:
            if self.gate is not None:
                await self.gate.wait()
            return self.refusal

        task = asyncio.create_task(verdict())
        self.tasks.add(task)
        return task

    def receive(self, sender: Identity, messages: Sequence[Wire]) -> None:
        assert messages
        assert all(message.source == sender.member for message in messages)
        self.received.extend(messages)
        self.frames.append(len(messages))

    def refused(self, by: Identity, refusal: Refusal) -> None:
        self.refusals.append((by, refusal))

    def failed(self, error: BaseException) -> None:
        self.failures.append(error)

    def lost(self, peer: MemberId) -> None:
        assert not self.transport.connected(peer)
        self.lost_peers.append(peer)

    def knows(self, *others: "Node") -> None:
        for other in others:
            self.transport.sighted(other.identity.member, "127.0.0.1", other.transport.port)

    def connected(self, other: "Node") -> bool:
        return self.transport.connected(other.identity.member)

    def sockets(self) -> int:
        """How many conversations are open."""
        return len(self.transport._connections)


MakeNode = Callable[..., Awaitable[Node]]


@contextlib.asynccontextmanager
async def some_nodes() -> AsyncIterator[MakeNode]:
    made: list[Node] = []

    async def make(member: MemberId, generation: int = 1, *, resolver: AbstractResolver | None = None) -> Node:
        made.append(await Node(member, generation, resolver=resolver).start())
        return made[-1]

    yield make
    await asyncio.gather(*(each.transport.close() for each in made))
    assert [each.failures for each in made] == [[] for _ in made]
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in left if "transport" in repr(task) or "aiohttp" in repr(task)]


@pytest.fixture
async def node() -> AsyncIterator[MakeNode]:
    async with some_nodes() as make:
        yield make


async def pair(node: MakeNode) -> tuple[Node, Node]:
    a, b = await node(A), await node(B)
    a.knows(b)
    await until(lambda: a.connected(b) and b.connected(a), "connected")
    return a, b


class Stranger:
    """Somebody who speaks websocket to a node, and then whatever it likes."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def say(self, *messages: object) -> None:
        await self.ws.send_bytes(msgspec.msgpack.encode(messages))

    async def hear(self) -> list[object]:
        return list(frames.decode(await self.ws.receive_bytes(timeout=DEADLINE_S)))

    async def end(self) -> tuple[int | None, str]:
        """Reads on to the end; returns the code and the reason."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                message = await self.ws.receive()
                if message.type is aiohttp.WSMsgType.CLOSE:
                    return message.data, message.extra or ""
                if message.type is not aiohttp.WSMsgType.BINARY:
                    return None, ""


Visit = Callable[[Node], Awaitable[Stranger]]


@contextlib.asynccontextmanager
async def some_strangers() -> AsyncIterator[Visit]:
    async with aiohttp.ClientSession() as session:

        async def connect(host: Node) -> Stranger:
            return Stranger(await session.ws_connect(f"ws://127.0.0.1:{host.transport.port}/raft"))

        yield connect


@pytest.fixture
async def visit() -> AsyncIterator[Visit]:
    async with some_strangers() as connect:
        yield connect


def hello_of(member: MemberId, generation: int = 1, *, minimum: int = 1, maximum: int = 1) -> Hello:
    return Hello(minimum, maximum, identity(member, generation), None, "")


async def test_messages_arrive_in_order_and_one_turn_of_the_loop_is_one_frame(node: MakeNode) -> None:
    a, b = await pair(node)
    for ticket in range(6):
        a.transport.send(B, [forward(A, B, ticket)])
    await until(lambda: len(b.received) == 6, "six messages")
    assert b.received == [forward(A, B, ticket) for ticket in range(6)]
    assert b.frames == [6]
    b.transport.send(A, [forward(B, A, 7)])
    await until(lambda: a.received, "an answer on the same connection")


async def test_both_dial_and_one_connection_is_left(node: MakeNode) -> None:
    a, b = await node(A), await node(B)
    for _ in range(10):
        a.knows(b)
        b.knows(a)
        await until(lambda: a.connected(b) and b.connected(a), "connected")
        await until(lambda: a.sockets() == b.sockets() == 1, "one connection")
        assert a.lost_peers == b.lost_peers == []
        a.transport.send(B, [forward(A, B, 1)])
        b.transport.send(A, [forward(B, A, 1)])
        await until(lambda: a.received and b.received, "messages both ways")
        a.received.clear()
        b.received.clear()
        await next(iter(a.transport._connections)).close(4999, "again")
        await until(lambda: a.lost_peers and b.lost_peers, "lost")
        a.lost_peers.clear()
        b.lost_peers.clear()


async def test_of_two_sockets_both_sides_keep_the_one_dialled_by_the_lower_name(node: MakeNode) -> None:
    a, b = await node(A), await node(B)
    a.gate = b.gate = asyncio.Event()
    a.knows(b)
    b.knows(a)
    await until(lambda: len(a.greetings) == len(b.greetings) == 2, "both sockets said hello")
    a.gate.set()
    await until(lambda: a.sockets() == b.sockets() == 1, "one connection")
    assert [line.dialled_by for line in a.transport._peers[B].lines] == [A]
    assert [line.dialled_by for line in b.transport._peers[A].lines] == [A]
    assert a.lost_peers == b.lost_peers == []


async def test_three_nodes_find_each_other(node: MakeNode) -> None:
    nodes = [await node(A), await node(B), await node(C)]
    for one in nodes:
        one.knows(*(other for other in nodes if other is not one))
    await until(lambda: all(one.sockets() == 2 for one in nodes), "two connections each")
    await until(lambda: all(x.connected(y) for x in nodes for y in nodes if x is not y), "all pairs")
    assert [one.lost_peers for one in nodes] == [[], [], []]


async def test_a_peer_that_restarts_elsewhere_is_found_when_it_is_sighted_there(node: MakeNode) -> None:
    a, b = await pair(node)
    await b.transport.close()
    await until(lambda: a.lost_peers == [B], "lost")
    assert b.lost_peers == []
    again = await node(B, 2)
    a.knows(again)
    await until(lambda: a.connected(again) and again.connected(a), "connected")
    assert a.lost_peers == [B]


async def test_a_younger_process_replaces_the_older_and_is_not_reported_lost(node: MakeNode, visit: Visit) -> None:
    a = await node(A)
    old = await visit(a)
    await old.say(hello_of(B, 1))
    await until(lambda: a.transport.connected(B), "connected")
    young = await visit(a)
    await young.say(hello_of(B, 2))
    assert (await old.end())[0] == connection.SURPLUS
    a.transport.send(B, [forward(A, B, 1)])
    assert isinstance((await young.hear())[0], Hello)
    assert await young.hear() == []
    assert await young.hear() == [forward(A, B, 1)]
    assert a.lost_peers == []
    await young.ws.close()
    await until(lambda: a.lost_peers == [B], "lost once")


async def test_a_killed_peer_is_lost_at_once(node: MakeNode) -> None:
    a = await node(A)
    script = (
        "import asyncio, sys\n"
        "from test_websocket_transport import Node, B, A\n"
        "async def main():\n"
        "    b = await Node(B).start()\n"
        "    b.transport.sighted(A, '127.0.0.1', int(sys.argv[1]))\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    path = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])  # noqa: PTH120
    child = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", script, str(a.transport.port)], env={**os.environ, "PYTHONPATH": path}
    )
    try:
        await until(lambda: a.transport.connected(B), "connected")
        child.send_signal(signal.SIGKILL)
        started = time.monotonic()
        await until(lambda: a.lost_peers == [B], "lost")
        assert time.monotonic() - started < 1.0 < connection.HEARTBEAT_S
    finally:
        child.kill()
        child.wait()


async def test_a_refused_hello_is_dialled_again_without_hurry_and_logged_once(
    node: MakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = await node(A), await node(B)
    b.refusal = Refusal("cluster", "you belong to another cluster")
    started = time.monotonic()
    a.knows(b)
    await until(lambda: len(b.greetings) >= 4, "dialled again")
    assert time.monotonic() - started > 0.025 + 0.05
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "raftq-b refuses this node: you belong to another cluster"
    ]
    assert not b.connected(a)
    assert b.lost_peers == []
    b.refusal = None
    await until(lambda: a.connected(b) and b.connected(a), "welcome after all")


async def test_a_refusal_reaches_the_node_that_is_refused_with_its_kind_whoever_dialled(node: MakeNode) -> None:
    a, b = await node(A), await node(B)
    refusal = Refusal("removed", "this incarnation was removed: for good")
    b.refusal = refusal
    a.knows(b)
    await until(lambda: a.refusals, "the refused one dialled, and hears of it")
    assert a.refusals[0] == (b.identity, refusal)
    b.knows(a)
    heard = len(a.refusals)
    await until(lambda: len(a.refusals) > heard + 1, "the refusing one dialled, and says it, too")
    assert set(a.refusals) == {(b.identity, refusal)}
    assert b.refusals == []
    b.refusal = None
    await until(lambda: a.connected(b) and b.connected(a), "welcome after all")


async def test_a_process_that_is_dismissed_hears_why_and_is_lost(node: MakeNode) -> None:
    a, b = await node(A), await node(B)
    a.knows(b)
    await until(lambda: a.connected(b) and b.connected(a), "connected")
    b.refusal = Refusal("removed", "by the log")
    b.transport.dismiss(msgspec.structs.replace(a.identity, boot=BootId("another")), b.refusal)
    b.transport.dismiss(msgspec.structs.replace(a.identity, member=MemberId("raftq-z")), b.refusal)
    await asyncio.sleep(0.05)
    assert b.connected(a)
    b.transport.dismiss(a.identity, b.refusal)
    await until(lambda: a.refusals and b.lost_peers, "told, and gone")
    assert a.refusals[0] == (b.identity, b.refusal)
    assert not b.connected(a)
    b.refusal = None
    await until(lambda: a.connected(b) and b.connected(a), "welcome after all")


async def test_a_refused_stranger_is_told_why(node: MakeNode, visit: Visit) -> None:
    a = await node(A)
    a.refusal = Refusal("cluster", "é" * 200)
    stranger = await visit(a)
    await stranger.say(hello_of(B))
    code, reason = await stranger.end()
    assert (code, reason) == (connection.REFUSED, "cluster: " + "é" * 57)
    assert not a.transport.connected(B)
    assert a.lost_peers == []
    assert a.transport.bad_frames == {}


async def test_60_a_refusal_is_said_by_whoever_the_peer_is_by_then(node: MakeNode, visit: Visit) -> None:
    """It was blank when it said hello first, as all are before their cluster is born: a removal is heard from a member
    of this cluster."""
    a = await node(A)
    peer = await visit(a)
    born = identity(B)
    blank = msgspec.structs.replace(born, cluster=None)
    await peer.say(msgspec.structs.replace(hello_of(B), identity=blank))
    await peer.say(msgspec.structs.replace(hello_of(B), identity=born))
    await until(lambda: len(a.greetings) == 2, "both hellos heard")
    await peer.ws.close(code=connection.REFUSED, message=b"removed: why")
    await until(lambda: bool(a.refusals), "the refusal")
    assert a.refusals == [(born, Refusal("removed", "why"))]


async def test_a_peer_of_another_protocol_version_is_refused_with_a_sentence(node: MakeNode, visit: Visit) -> None:
    a = await node(A)
    stranger = await visit(a)
    await stranger.say(hello_of(B, minimum=2, maximum=4))
    code, reason = await stranger.end()
    assert code == connection.REFUSED
    assert "protocol" in reason
    assert a.greetings == []


async def test_nothing_is_received_before_the_greeting_ends(node: MakeNode, visit: Visit) -> None:
    a = await node(A)
    a.gate = asyncio.Event()
    stranger = await visit(a)
    await stranger.say(hello_of(B))
    await stranger.say(forward(B, A, 1))
    await until(lambda: a.greetings, "the hello arrived")
    assert isinstance((await stranger.hear())[0], Hello)
    assert not a.transport.connected(B)
    assert a.received == []
    a.gate.set()
    await until(lambda: a.received == [forward(B, A, 1)], "the message behind it")


async def test_an_announced_hello_is_greeted_again_before_what_follows_it(node: MakeNode) -> None:
    a, b = await pair(node)
    a.identity = msgspec.structs.replace(a.identity, cluster=ClusterId("c2"))
    b.gate = asyncio.Event()
    a.transport.announce()
    a.transport.send(B, [forward(A, B, 1)])
    await until(lambda: len(b.greetings) == 2, "greeted again")
    assert b.greetings[1].identity.cluster == "c2"
    assert b.received == []
    b.gate.set()
    await until(lambda: b.received, "the message behind it")
    assert (a.lost_peers, b.lost_peers) == ([], [])


@pytest.mark.parametrize(
    ("kind", "messages"),
    [
        ("misaddressed", [forward(C, A, 1)]),
        ("misaddressed", [forward(B, A, 1), forward(B, C, 2)]),
        ("misaddressed", [forward(B, A, 1), hello_of(B)]),
        ("another-process", [hello_of(C)]),
        ("another-process", [hello_of(B, 2)]),
        ("undecodable", ["nonsense"]),
        ("undecodable", [["append?", "raftq-b"]]),
    ],
)
async def test_a_frame_that_is_not_ours_closes_the_connection_and_is_counted_not_logged(
    kind: str, messages: list[object], node: MakeNode, visit: Visit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    a = await node(A)
    stranger = await visit(a)
    await stranger.say(hello_of(B))
    await until(lambda: a.transport.connected(B), "connected")
    await stranger.say(*messages)
    assert (await stranger.end())[0] == connection.NOT_OURS
    await until(lambda: a.lost_peers == [B], "lost")
    assert a.transport.bad_frames == {kind: 1}
    assert a.received == []
    assert not caplog.records


async def test_text_and_frames_beyond_the_bound_are_not_ours(node: MakeNode, visit: Visit) -> None:
    a = await node(A)
    text = await visit(a)
    await text.say(hello_of(B))
    await text.ws.send_str("hello")
    assert (await text.end())[0] == connection.NOT_OURS
    long = await visit(a)
    await long.say(hello_of(C))
    with contextlib.suppress(ConnectionError):  # it may be cut off in the middle
        await long.ws.send_bytes(b"x" * (frames.MAX_FRAME_BYTES + 1))
    await long.end()
    await until(lambda: a.transport.bad_frames == {"text": 1, "too-large": 1}, "both counted")
    await until(lambda: sorted(a.lost_peers) == [B, C], "both lost")


async def test_a_first_frame_without_a_hello_is_not_ours(node: MakeNode, visit: Visit) -> None:
    a = await node(A)
    stranger = await visit(a)
    await stranger.say(forward(B, A, 1))
    assert (await stranger.end())[0] == connection.NOT_OURS
    assert a.transport.bad_frames == {"no-hello": 1}
    assert a.received == []


async def test_our_own_name_is_refused(node: MakeNode, visit: Visit) -> None:
    a = await node(A)
    stranger = await visit(a)
    await stranger.say(hello_of(A))
    assert (await stranger.end())[0] == connection.REFUSED
    assert a.greetings == []


async def test_whoever_is_no_websocket_is_answered_and_counted(node: MakeNode) -> None:
    a = await node(A)
    base = f"http://127.0.0.1:{a.transport.port}"
    async with aiohttp.ClientSession() as session:
        for path in ("/raft", "/"):
            async with session.get(base + path) as response:
                assert response.status == 426
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(base + "/elsewhere")
    assert a.transport.bad_frames == {"not-websocket": 3}
    reader, writer = await asyncio.open_connection("127.0.0.1", a.transport.port)
    writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        assert b"400" in await reader.read()
    writer.close()
    assert a.transport.bad_frames == {"not-websocket": 3, "not-http": 1}


async def test_silence_is_cut_off(node: MakeNode, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "GREETING_S", 0.1)
    a = await node(A)
    peer = await visit(a)
    await peer.say(hello_of(B))
    stranger = await visit(a)
    reader, writer = await asyncio.open_connection("127.0.0.1", a.transport.port)
    writer.write(b"GET /raft HTTP/1.1\r\nHost: ")
    async with asyncio.timeout(DEADLINE_S):
        await reader.read()
    writer.close()
    await stranger.end()
    assert a.transport.bad_frames == {"no-hello": 2}
    assert a.transport.connected(B)


def reads_its_stranger(host: Node) -> bool:
    [caller] = host.transport._listener._strangers
    return caller.transport is not None and caller.transport.is_reading()


async def test_a_stranger_is_read_no_further_than_a_hello_needs(
    node: MakeNode, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "GREETING_S", 1.0)
    a = await node(A)
    stranger = await visit(a)
    assert reads_its_stranger(a)
    shouting = asyncio.create_task(stranger.ws.send_bytes(bytes(frames.MAX_MESSAGE_BYTES)))
    await until(lambda: not reads_its_stranger(a), "left unread")
    await until(lambda: a.transport.bad_frames == {"no-hello": 1}, "sent off")
    await asyncio.wait([shouting])


async def test_what_a_peer_sends_before_it_is_greeted_waits_in_its_socket(node: MakeNode, visit: Visit) -> None:
    a = await node(A)
    a.gate = asyncio.Event()
    peer = await visit(a)
    await peer.say(hello_of(B))
    sending = asyncio.create_task(send_many(peer, 40))
    await until(lambda: not reads_its_stranger(a), "left unread")
    assert a.received == []
    a.gate.set()
    await until(lambda: len(a.received) == 40, "all of it")
    assert a.transport.bad_frames == {}
    await sending


async def send_many(peer: Stranger, count: int) -> None:
    for ticket in range(count):
        await peer.say(forward(B, A, ticket, 256 << 10))


async def test_a_peer_that_answers_no_ping_is_lost(node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "HEARTBEAT_S", 0.1)
    a, b = await pair(node)
    async with aiohttp.ClientSession() as session:
        ws = await session.ws_connect(f"ws://127.0.0.1:{a.transport.port}/raft", autoping=False)
        await Stranger(ws).say(hello_of(C))
        await until(lambda: a.transport.connected(C), "connected")
        await until(lambda: a.lost_peers == [C], "lost")
    assert a.connected(b)


async def test_a_ping_that_cannot_be_answered_any_more_is_the_end_and_no_error(
    node: MakeNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def too_late(*_: object) -> None:  # as after a freeze: the ping was read, and the socket has ended since
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")

    a, b = await pair(node)
    monkeypatch.setattr(aiohttp.ClientWebSocketResponse, "pong", too_late)
    monkeypatch.setattr(websocket, "HEARTBEAT_S", 0.1)
    c = await node(C)
    c.knows(a)
    await until(lambda: c.lost_peers and a.lost_peers, "lost by both")
    assert a.connected(b)
    assert "a task of the transport failed" not in caplog.text


async def test_ipv6_addresses_are_dialled(node: MakeNode) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    b = Node(B)
    b.transport = WebsocketTransport(B, "::1", 0)
    await b.start()
    a = await node(A)
    a.transport.sighted(B, "::1", b.transport.port)
    await until(lambda: a.connected(b) and b.connected(a), "connected")
    await b.transport.close()


async def test_a_crowd_of_strangers_does_not_keep_a_peer_out(node: MakeNode) -> None:
    a, b = await node(A), await node(B)
    crowd = [await asyncio.open_connection("127.0.0.1", a.transport.port) for _ in range(listener.MAX_STRANGERS + 3)]
    await until(lambda: a.transport.bad_frames == {"crowded": 3}, "the first three are sent off")
    b.knows(a)
    await until(lambda: a.connected(b) and b.connected(a), "connected")
    for _, writer in crowd:
        writer.close()


async def test_what_a_slow_peer_does_not_take_is_dropped_and_others_are_not_held_up(
    node: MakeNode, visit: Visit
) -> None:
    a, c = await node(A), await node(C)
    a.knows(c)
    slow = await visit(a)
    await slow.say(hello_of(B))
    await until(lambda: a.transport.connected(B) and a.connected(c) and c.connected(a), "connected")
    slow.ws._conn.transport.pause_reading()  # type: ignore[union-attr]
    size = 1 << 20
    for ticket in range(60):
        a.transport.send(B, [forward(A, B, ticket, size)])
        a.transport.send(C, [forward(A, C, ticket)])
        await asyncio.sleep(0)
    await until(lambda: len(c.received) == 60, "the other peer has everything")
    dropped = a.transport.dropped_messages["full"]
    assert 0 < dropped < 60 - frames.MAX_QUEUE_BYTES // size + 2
    assert a.transport.connected(B)


async def test_messages_for_nobody_are_dropped_and_counted(node: MakeNode) -> None:
    a = await node(A)
    a.transport.send(B, [forward(A, B, 1), forward(A, B, 2)])
    assert a.transport.dropped_messages == {"unconnected": 2}
    assert not a.transport.connected(B)


class Names(AbstractResolver):
    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        if not self.addresses:
            raise OSError(None, "no such name")
        return [
            ResolveResult(hostname=host, host=ip, port=port, family=family, proto=0, flags=0) for ip in self.addresses
        ]

    async def close(self) -> None: ...


async def test_a_name_is_resolved_on_every_dial_and_the_last_good_address_outlives_it(node: MakeNode) -> None:
    names = Names()
    b = await node(B)
    a = await node(A, resolver=names)
    a.transport.sighted(B, "raftq-b.raftq", b.transport.port)
    await until(lambda: names.asked >= 2, "asked again though there was no answer")
    names.addresses = ["127.0.0.2", "127.0.0.1"]  # nobody listens at the first
    await until(lambda: a.connected(b) and b.connected(a), "connected")
    names.addresses = []
    asked = names.asked
    await next(iter(b.transport._connections)).close(4999, "again")
    await until(lambda: a.lost_peers == [B], "lost")
    await until(lambda: a.connected(b) and b.connected(a), "connected by the last good address")
    assert names.asked > asked


def fails(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("nobody foresaw this")


@pytest.mark.parametrize(
    ("where", "what"),
    [(websocket, "look_up"), (WebsocketTransport, "_welcome"), (frames.Outgoing, "take")],
    ids=["dialling", "conversing", "writing"],
)
async def test_an_error_that_nobody_foresaw_ends_the_node_whichever_task_it_was_in(
    where: object, what: str, node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await node(A), await node(B)
    monkeypatch.setattr(where, what, fails)
    a.knows(b)
    await until(lambda: a.failures, "the node hears of it")
    assert {type(failure) for failure in a.failures + b.failures} == {ZeroDivisionError}
    assert bool(b.failures) == (what != "look_up")
    assert b.transport.bad_frames == {}
    a.failures = b.failures = []


async def test_an_error_in_a_conversation_that_the_other_side_began_ends_the_node_as_well(
    node: MakeNode, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await node(A)
    monkeypatch.setattr(a, "receive", fails)
    stranger = await visit(a)
    await stranger.say(hello_of(B))
    await stranger.say(forward(B, A, 1))
    assert (await stranger.end())[0] == connection.BROKEN
    await until(lambda: a.failures, "the node hears of it")
    assert [type(failure) for failure in a.failures] == [ZeroDivisionError]
    assert a.transport.bad_frames == {}
    a.failures.clear()


async def test_whoever_uses_such_a_node_is_told_by_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = WebsocketTransport(A, "127.0.0.1", 0)
    raft = Raftq(RaftqOptions(bootstrap=True), volume=MemoryVolume(A), transport=transport)
    await raft.dispatch("serviceStarted", {"node": {"id": A, "time": 1}})
    await until(lambda: raft.get_leader() == A, "it leads")
    monkeypatch.setattr(websocket, "look_up", fails)
    transport.sighted(B, "127.0.0.1", 1)
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(ZeroDivisionError, match="nobody foresaw this"):
            await raft.failure
    assert raft.get_leader() is None
    await raft.destroy()


ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
NO_ANSWERS = [
    b"",
    b"\x16\x03\x01\x00",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 200 \xff\xfe\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    b"HTTP/1.1 200 OK\r\nContent-Type: \xff;charset=\xff\r\nSet-Cookie: \xff=\xff;max-age=x;domain=[\r\n\r\n",
    *(
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % location
        for location in (
            b"",
            b"http://%s/" % (b"x" * 70),
            b"http://[",
            b"http://x:99999/",
            b"file:///",
            b"http://\xc4\x87@h/",
        )
    ),
]


class Nonsense:
    """Listens where a peer is looked for, and says one thing to everybody, as soon as it was asked; where it is to
    accept, what follows on the upgrade."""

    def __init__(self, said: bytes, accepts: bool = False) -> None:
        self._said = said
        self._accepts = accepts
        self.heard = 0

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            asked = await reader.readuntil(b"\r\n\r\n")
            if self._accepts:
                key = asked.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
                proof = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
                writer.write(ACCEPTED + base64.b64encode(proof) + b"\r\n\r\n")
            writer.write(self._said)
            await writer.drain()
        self.heard += 1
        writer.transport.abort()


@pytest.mark.parametrize("answer", NO_ANSWERS, ids=range(len(NO_ANSWERS)))
async def test_whatever_answers_where_a_peer_is_looked_for_ends_no_node(answer: bytes, node: MakeNode) -> None:
    a = await node(A)
    somebody = Nonsense(answer)
    async with somebody as port:
        a.transport.sighted(B, "127.0.0.1", port)
        await until(lambda: somebody.heard > 1, "dialled again")
    assert not a.transport.connected(B)


WEBSOCKET_NONSENSE = [
    b"\x82\x03\xdd\xff\xff",
    b"\x81\x01\xff",
    b"\xf2\x01x",
    b"\x88\x01x",
    b"\x88\x04\x0f\xa1\xff\xfe",
    b"\x89\x7e\x00\x80" + bytes(128),
    b"\x89\x01x" * 3,
    b"\x82\x7f" + b"\xff" * 8,
]


@pytest.mark.parametrize("answer", WEBSOCKET_NONSENSE, ids=range(len(WEBSOCKET_NONSENSE)))
async def test_whatever_is_said_in_place_of_a_hello_ends_no_node(answer: bytes, node: MakeNode) -> None:
    a = await node(A)
    somebody = Nonsense(answer, accepts=True)
    async with somebody as port:
        a.transport.sighted(B, "127.0.0.1", port)
        await until(lambda: somebody.heard > 1, "dialled again")
    assert not a.transport.connected(B)


UPGRADE = (
    b"GET /raft HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
)
KEY = b"MDEyMzQ1Njc4OWFiY2RlZg=="


@pytest.mark.parametrize(
    "upgrade",
    [
        UPGRADE + b"\xff\xfe" + KEY,
        UPGRADE + KEY + b"\r\nSec-WebSocket-Protocol: \xff",
        UPGRADE + KEY + b"\r\nSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=\xff",
        UPGRADE + KEY + b"\r\nRaftq-Challenge: \xff",
        UPGRADE.replace(b"/raft", b"http://[/raft") + KEY,
    ],
    ids=range(5),
)
async def test_whatever_an_upgrade_holds_ends_no_node(upgrade: bytes, node: MakeNode) -> None:
    a = await node(A)
    reader, writer = await asyncio.open_connection("127.0.0.1", a.transport.port)
    writer.write(upgrade + b"\r\n\r\n" + b"\x82\x80\x00\x00\x00\x00")  # and an empty frame
    async with asyncio.timeout(DEADLINE_S):
        await reader.read()
    writer.close()
    assert sum(a.transport.bad_frames.values()) == 1


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def test_who_is_gone_in_the_midst_of_anything_ends_no_node(node: MakeNode) -> None:
    a = await node(A)
    said = UPGRADE + KEY + b"\r\n\r\n" + b"\x89\x80\x00\x00\x00\x00" * 50  # pings, which are to be answered
    for length in range(0, len(said) + 1, 7):
        with socket.create_connection(("127.0.0.1", a.transport.port)) as sock:
            sock.sendall(said[:length])
            await asyncio.sleep(0)
            reset(sock)
    await until(lambda: not a.transport._listener._strangers and not a.sockets(), "all of them forgotten")


async def test_a_peer_that_is_cut_off_while_much_is_written_to_it_ends_no_node(node: MakeNode, visit: Visit) -> None:
    a = await node(A)
    peer = await visit(a)
    await peer.say(hello_of(B))
    await until(lambda: a.transport.connected(B), "connected")
    transport = peer.ws._conn.transport  # type: ignore[union-attr]
    assert transport is not None
    transport.pause_reading()
    a.transport.send(B, [forward(A, B, 1, 1 << 20)] * 15)
    [written] = a.transport._connections
    await until(lambda: written._websocket._req._protocol._paused, "the writer waits")  # type: ignore[union-attr]
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await until(lambda: a.lost_peers == [B], "lost")


@pytest.mark.parametrize("what", ["receive", "send_bytes"])
@pytest.mark.parametrize("side", [aiohttp.ClientWebSocketResponse, aiohttp.web.WebSocketResponse])
async def test_what_is_wrong_with_one_socket_ends_that_socket(
    side: type, what: str, node: MakeNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = await node(A), await node(B)
    with monkeypatch.context() as broken:
        broken.setattr(side, what, fails)
        a.knows(b)
        await until(lambda: caplog.messages.count("a connection failed") > 1, "said, and tried again")
    await until(lambda: a.connected(b) and b.connected(a), "connected")


async def test_a_dial_that_fails_in_whatever_way_is_said_and_not_the_last(
    node: MakeNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = await node(A), await node(B)
    with monkeypatch.context() as broken:
        broken.setattr(aiohttp.ClientSession, "ws_connect", fails)
        a.knows(b)
        await until(lambda: a.transport.bad_frames["failed"] > 1, "dialled again")
    await until(lambda: a.connected(b) and b.connected(a), "connected")
    assert f"dialling {B} at 127.0.0.1 failed" in caplog.messages


async def test_a_stranger_that_says_much_and_means_nothing_is_turned_away_without_a_word_in_the_log(
    node: MakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    a = await node(A)
    reader, writer = await asyncio.open_connection("127.0.0.1", a.transport.port)
    writer.write(b"GET /raft HTTP/1.1\r\nHost: x\r\nX: " + b"x" * listener.ENOUGH_FOR_A_HELLO)
    async with asyncio.timeout(DEADLINE_S):
        with contextlib.suppress(ConnectionError):
            await reader.read()
    writer.close()
    await until(lambda: not a.transport._listener._strangers, "forgotten")
    assert a.transport.bad_frames == {"not-http": 1}
    assert caplog.messages == []


async def test_a_name_that_can_be_none_is_nobody_s(node: MakeNode) -> None:
    a = await node(A)
    a.transport.sighted(B, "\udcff" * 80, 1)
    await until(lambda: a.transport._peers[B].backoff._failures > 1, "looked up again")


async def test_somebody_else_at_an_old_address_is_not_taken_for_the_peer(node: MakeNode) -> None:
    a, b, c = await node(A), await node(B), await node(C)
    a.transport.sighted(B, "127.0.0.1", c.transport.port)
    await until(lambda: a.transport._peers[B].backoff._failures > 1, "a dial failed")
    assert c.greetings == a.greetings == []
    a.knows(b)
    await until(lambda: a.connected(b) and b.connected(a), "connected")


async def test_away_stops_dialling_and_keeps_what_is_open(node: MakeNode) -> None:
    a, b = await pair(node)
    a.transport.away(B)
    a.transport.send(B, [forward(A, B, 1)])
    await until(lambda: b.received, "still connected")
    await b.transport.close()
    await until(lambda: a.lost_peers == [B], "lost")
    assert a.transport._peers[B].dialler is None
    again = await node(B, 2)
    a.knows(again)
    await until(lambda: a.connected(again), "sighted again")


async def test_a_taken_port_is_an_os_error(node: MakeNode) -> None:
    a = await node(A)
    taken = WebsocketTransport(B, "127.0.0.1", a.transport.port)
    with pytest.raises(OSError, match="in use"):
        await taken.start(Node(B))
    await taken.close()


async def test_close_is_prompt_and_leaves_no_task_even_beside_a_peer_that_does_not_read(
    node: MakeNode, visit: Visit
) -> None:
    before = asyncio.all_tasks()
    a, b, c = Node(A), Node(B), await visit(await node(C))
    await a.start()
    await b.start()
    a.knows(b)
    b.knows(a)
    a.transport.sighted(C, "192.0.2.1", 7400)  # swallows every dial
    slow = await visit(a)
    await slow.say(hello_of(MemberId("raftq-d")))
    await until(lambda: a.connected(b) and a.transport.connected(MemberId("raftq-d")), "connected")
    slow.ws._conn.transport.pause_reading()  # type: ignore[union-attr]
    for _ in range(20):
        a.transport.send(MemberId("raftq-d"), [forward(A, B, 1, 1 << 20)])
    started = time.monotonic()
    await a.transport.close()
    await b.transport.close()
    assert time.monotonic() - started < 2.0
    await c.ws.close()
    await until(lambda: not [task for task in asyncio.all_tasks() - before if "transport" in repr(task)], "all ended")
    with pytest.raises(OSError):  # noqa: PT011
        await asyncio.open_connection("127.0.0.1", a.transport.port)


@pytest.mark.parametrize(
    "scenario",
    [
        test_messages_arrive_in_order_and_one_turn_of_the_loop_is_one_frame,
        test_of_two_sockets_both_sides_keep_the_one_dialled_by_the_lower_name,
        test_a_younger_process_replaces_the_older_and_is_not_reported_lost,
        test_a_killed_peer_is_lost_at_once,
        test_silence_is_cut_off,
        test_a_stranger_is_read_no_further_than_a_hello_needs,
        test_what_a_peer_sends_before_it_is_greeted_waits_in_its_socket,
        test_what_a_slow_peer_does_not_take_is_dropped_and_others_are_not_held_up,
        test_who_is_gone_in_the_midst_of_anything_ends_no_node,
        test_a_peer_that_is_cut_off_while_much_is_written_to_it_ends_no_node,
        test_a_taken_port_is_an_os_error,
        test_close_is_prompt_and_leaves_no_task_even_beside_a_peer_that_does_not_read,
    ],
)
def test_the_same_on_uvloop(scenario: Callable[..., Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with some_nodes() as node, some_strangers() as visit:
            given = {"node": node, "visit": visit, "monkeypatch": monkeypatch}
            await scenario(**{name: given[name] for name in inspect.signature(scenario).parameters})

    uvloop.run(run())
