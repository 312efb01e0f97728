"""Those who listen: what they hear, where they go on, and that a crowd of them is no burden."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from aiohttp import ClientSession
from node_of_one import ME, OTHER, NodeOfOne

from raftq_k8s.api import streams
from raftq_k8s.api.server import HttpFace
from raftq_k8s.node.errors import NotStarted
from raftq_k8s.node.status import RaftRole
from raftq_k8s.raft.types import Index
from raftq_k8s.state.commands import Delete, Put, Replace, Transaction
from raftq_k8s.state.journal import CHANGES_LIMIT, Journal

Heard = dict[str, str]


class Ear:
    """One who listens, and tells one block of lines from the next."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self.head = b""

    async def listen(self, request: str) -> "Ear":
        self.writer.write(f"GET {request}\r\nHost: x\r\n\r\n".encode())
        self.head = await self._until(b"\r\n\r\n")
        return self

    async def block(self) -> Heard:
        text = (await self._until(b"\n\n")).decode()
        return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)

    async def event(self) -> Heard:
        while "event" not in (block := await self.block()):
            pass
        return block

    async def change(self) -> object:
        return json.loads((await self.event())["data"])

    async def rest(self) -> bytes:
        async with asyncio.timeout(10):
            return await self._reader.read()

    async def _until(self, end: bytes) -> bytes:
        async with asyncio.timeout(10):
            return await self._reader.readuntil(end)


@asynccontextmanager
async def listening(face: HttpFace, path: str, *headers: str) -> AsyncIterator[Ear]:
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port, limit=1 << 22)
    try:
        yield await Ear(reader, writer).listen("\r\n".join((f"{path} HTTP/1.1", *headers)))
    finally:
        writer.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_listener_hears_each_change_with_its_revision_as_id(face: HttpFace, node: NodeOfOne) -> None:
    node.apply(Put("before", b"0"))
    async with listening(face, "/v1/events") as ear:
        assert b"Content-Type: text/event-stream\r\n" in ear.head
        assert b"X-Raftq-Applied-Index: 1\r\n" in ear.head
        assert await ear.block() == {"retry": "1000"}
        assert await ear.block() == {"id": "1"}
        node.apply(Put("a", b'{"b":\r\n 1}'))
        assert await ear.event() == {
            "id": "2",
            "event": "change",
            "data": '{"revision":2,"changes":[{"key":"a","value":{"b":   1}}]}',
        }
        node.apply(Put("ä\n", b"null"))
        assert await ear.change() == {"revision": 3, "changes": [{"key": "ä\n", "value": None}]}
        node.apply(Delete("a"))
        assert await ear.change() == {"revision": 4, "changes": [{"key": "a", "deleted": True}]}
        node.apply(Replace(b'{"x":[]}'))
        assert await ear.change() == {"revision": 5, "changes": [{"document": {"x": []}}]}


async def test_all_that_a_transaction_changed_is_one_event(face: HttpFace, node: NodeOfOne) -> None:
    async with listening(face, "/v1/events?after=0") as ear:
        node.apply(Transaction((), (Put("a", b"1"), Put("b", b"2"), Delete("a"))))
        assert await ear.change() == {
            "revision": 1,
            "changes": [{"key": "a", "value": 1}, {"key": "b", "value": 2}, {"key": "a", "deleted": True}],
        }


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/events?after=3", ()),
        ("/v1/events", ("Last-Event-ID: 3",)),
        ("/v1/events?after=1", ("Last-Event-ID: 3",)),
    ],
)
async def test_who_comes_back_hears_what_it_missed_and_nothing_twice(
    face: HttpFace, node: NodeOfOne, path: str, headers: tuple[str, ...]
) -> None:
    for number in range(1, 501):
        node.apply(Put("a", b"%d" % number))
    async with listening(face, path, *headers) as ear:
        for revision in range(4, 501):
            assert (await ear.event())["id"] == str(revision)
        node.apply(Put("a", b"0"))
        assert (await ear.event())["id"] == "501"


async def test_what_changes_while_a_listener_catches_up_is_not_missed(
    face: HttpFace, node: NodeOfOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        node.apply(Put("a", b"%d" % number))

    async def drained(listener: streams.Listener) -> None:
        if node.document.applied_index < 6:
            node.apply(Put("a", b"7"))

    monkeypatch.setattr(streams.Listener, "drained", drained)
    async with listening(face, "/v1/events?after=1") as ear:
        assert [(await ear.event())["id"] for _ in range(5)] == ["2", "3", "4", "5", "6"]
        node.apply(Put("a", b"8"))
        assert (await ear.event())["id"] == "7"


async def test_a_node_that_is_behind_what_a_listener_knows_is_silent_until_it_has_passed_that(
    face: HttpFace, node: NodeOfOne
) -> None:
    async with listening(face, "/v1/events?after=2") as ear:
        assert (await ear.block(), await ear.block()) == ({"retry": "1000"}, {"id": "2"})
        for _ in range(3):
            node.apply(Put("a", b"1"))
        assert (await ear.event())["id"] == "3"


async def test_with_a_prefix_only_its_keys_are_heard(face: HttpFace, node: NodeOfOne) -> None:
    async with listening(face, "/v1/events?prefix=a%2F") as ear:
        for key in "b", "a", "", "a/b":
            node.apply(Put(key, b"1"))
        assert await ear.change() == {"revision": 4, "changes": [{"key": "a/b", "value": 1}]}
        node.apply(Replace(b'{"a/c": 2, "b": 3}'))
        assert await ear.change() == {"revision": 5, "changes": [{"document": {"a/c": 2}}]}
        node.apply(Replace(b"[1]"))
        assert await ear.change() == {"revision": 6, "changes": [{"document": {}}]}


async def test_who_was_away_for_longer_than_the_journal_goes_back_is_told_so(
    face: HttpFace, node: NodeOfOne, http: ClientSession
) -> None:
    for _ in range(CHANGES_LIMIT + 2):
        node.apply(Put("a", b"1"))
    async with http.get("/v1/events?after=1") as response:
        assert response.status == 410
        body = await response.json(content_type="application/problem+json")
        assert (body["type"], body["oldest"]) == ("urn:raftq:problem:compacted", 2)
    async with http.get("/v1/events?after=2") as response:
        assert response.status == 200


async def test_a_listener_is_let_go_when_the_journal_begins_anew_under_it(face: HttpFace, node: NodeOfOne) -> None:
    async with listening(face, "/v1/events") as ear:
        await ear.block()
        node.document.journal = Journal(Index(50))
        node.document.applied_index = Index(50)
        node.wake()
        await ear.rest()
        async with listening(face, "/v1/events?after=50") as other:  # who comes afterwards is told as ever
            node.apply(Put("a", b"1"))
            assert (await other.event())["id"] == "51"


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "9" * 20, "%20"])
async def test_what_is_no_revision_is_refused(http: ClientSession, after: str) -> None:
    async with http.get(f"/v1/events?after={after}") as response:
        assert response.status == 400


async def test_a_node_that_has_not_caught_up_tells_nothing(http: ClientSession, node: NodeOfOne) -> None:
    node.is_now(caught_up=False)
    async with http.get("/v1/events") as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")


async def test_a_listener_is_told_at_times_that_it_still_listens_and_where_it_is(
    face: HttpFace, node: NodeOfOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_S", 0.01)
    async with listening(face, "/v1/events?prefix=x") as ear, listening(face, "/v1/leader/events") as other:
        for _ in range(3):
            node.apply(Put("a", b"1"))
        while await ear.block() != {"id": "3"}:
            pass
        await other.event()
        assert await other.block() == {}


async def test_who_leads_is_told_at_once_and_at_each_change(face: HttpFace, node: NodeOfOne) -> None:
    async with listening(face, "/v1/leader/events") as ear:
        assert await ear.change() == {
            "id": "raftq-0",
            "address": "10.0.0.1:7480",
            "term": 7,
            "is_me": True,
            "established": True,
            "lease_left_ms": 120.0,
        }
        node.is_now(leader=None, leader_http=None, role=RaftRole.FOLLOWER, established=False, lease_left_ms=0.0)
        told = await ear.event()
        assert (told["event"], json.loads(told["data"])["id"]) == ("leader", None)
        node.is_now(leader=OTHER, term=8, leader_http="10.0.0.2:7480")
        assert json.loads((await ear.event())["data"])["id"] == OTHER != ME


async def test_entries_without_a_command_do_not_keep_the_teller_busy(face: HttpFace, node: NodeOfOne) -> None:
    node.apply(Put("a", b"1"))
    node.entries_without_command = 1
    async with listening(face, "/v1/events") as ear:
        await ear.block()
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert node.asked_for_news <= 3
        node.entries_without_command = 0
        node.apply(Put("a", b"2"))
        node.apply(Put("a", b"3"))
        assert [(await ear.event())["id"], (await ear.event())["id"]] == ["2", "3"]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/leader/events"])
async def test_what_nobody_reads_is_not_opened(http: ClientSession, path: str) -> None:
    async with http.head(path) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")


async def test_listeners_leave_room_for_everybody_else(node: NodeOfOne) -> None:
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9", connection_limit=4)
    await face.start()
    async with AsyncExitStack() as stack:
        for path in "/v1/events", "/v1/leader/events":
            await stack.enter_async_context(listening(face, path))
        await until(lambda: len(face._events._changes) + len(face._events._leaders) == 2)
        refused = await stack.enter_async_context(listening(face, "/v1/events"))
        assert refused.head.startswith(b"HTTP/1.1 503 ")
    await until(lambda: len(face._events._changes) + len(face._events._leaders) == 0)
    assert face._events._changes._tasks == face._events._leaders._tasks == ()
    await face.close()


async def test_a_listener_that_does_not_read_is_cut_off_and_the_others_hear_on(
    face: HttpFace, node: NodeOfOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "WAITING_BYTES", 1 << 17)
    async with listening(face, "/v1/events") as deaf, listening(face, "/v1/events") as ear:
        transport = deaf.writer.transport
        transport.pause_reading()  # type: ignore[attr-defined]
        revision = 0
        while len(face._events._changes) == 2:
            node.apply(Put("a", b'"' + b"x" * 60_000 + b'"'))
            revision += 1
            assert (await ear.event())["id"] == str(revision)
        transport.resume_reading()  # type: ignore[attr-defined]
        with suppress(ConnectionError):
            await deaf.rest()  # and that is its end


async def test_to_close_lets_listeners_go_at_once(node: NodeOfOne) -> None:
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9")
    await face.start()
    async with listening(face, "/v1/events") as ear, listening(face, "/v1/leader/events") as other:
        async with asyncio.timeout(2):
            await face.close()
        await ear.rest()
        await other.rest()


async def test_listeners_of_a_node_that_was_stopped_are_let_go(
    face: HttpFace, node: NodeOfOne, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def stopped(seen: object) -> None:
        raise NotStarted("this node was stopped")

    monkeypatch.setattr(node, "next_applied", stopped)
    monkeypatch.setattr(node, "next_standing", stopped)
    for path in "/v1/events", "/v1/leader/events":
        async with listening(face, path) as ear:
            await ear.rest()
    assert not caplog.records


async def test_a_teller_that_fails_lets_its_listeners_go_and_tells_the_next(
    face: HttpFace, node: NodeOfOne, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(index: Index) -> Index:
        raise RuntimeError("broken")

    with monkeypatch.context() as patched:
        patched.setattr(node, "next_applied", broken)
        async with listening(face, "/v1/events") as ear:
            await ear.rest()
    assert "listeners cannot be told any more" in caplog.text
    async with listening(face, "/v1/events") as ear:
        node.apply(Put("a", b"1"))
        assert (await ear.event())["id"] == "1"


async def test_who_comes_while_the_others_are_let_go_is_told(node: NodeOfOne) -> None:
    begun: list[asyncio.Event] = []

    def begin() -> streams.Work:
        ends = asyncio.Event()
        begun.append(ends)

        async def work() -> None:
            await ends.wait()

        return work

    async def caught_up(listener: streams.Listener) -> None:
        pass

    audience = streams.Audience(begin, lambda _: b"")
    first, second = (streams.Listener(audience, caught_up) for _ in range(2))
    audience.add(first)
    begun[0].set()
    async with asyncio.timeout(10):
        await first._ended
    audience.add(second)  # before the first has left
    audience.remove(first)
    assert len(begun) == 2
    audience.remove(second)


async def test_a_crowd_of_listeners_hears_all_and_the_loop_turns_on(node: NodeOfOne) -> None:
    """`bench` measures it with a thousand of them; here with room for a slow machine that does other things."""
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9")
    await face.start()
    loop = asyncio.get_running_loop()
    late: list[float] = []

    async def heart() -> None:
        while True:
            due = loop.time() + 0.01
            await asyncio.sleep(0.01)
            late.append(loop.time() - due)

    protocols: list[Counting] = []
    for _ in range(200):
        _, protocol = await loop.create_connection(Counting, "127.0.0.1", face.port)
        protocols.append(protocol)
    await until(lambda: len(face._events._changes) == len(protocols))
    beating = asyncio.create_task(heart())
    try:
        for number in range(200):
            node.apply(Put(f"key-{number}", b'"%s"' % (b"x" * 256)))
            await asyncio.sleep(0.005)
        await until(lambda: all(protocol.events == 200 for protocol in protocols))
    finally:
        beating.cancel()
        for protocol in protocols:
            protocol.close()
        await face.close()
    late.sort()
    assert late[int(len(late) * 0.9)] < 0.1


class Counting(asyncio.Protocol):
    """Counts the events that it hears."""

    def __init__(self) -> None:
        self.events = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.close = transport.close
        transport.write(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        self.events += data.count(b"event: change")
