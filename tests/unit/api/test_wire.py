"""One connection: in which order, how much at a time, and when it ends."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from node_of_one import NodeOfOne

from raftq_k8s.api.answers import LARGE_BYTES, Answer
from raftq_k8s.api.connections import CROWD, Connections
from raftq_k8s.api.pieces import Pieces
from raftq_k8s.api.requests import Request
from raftq_k8s.api.server import HttpFace
from raftq_k8s.api.wire import HEAD_BYTES, SLICE_BYTES
from raftq_k8s.state.commands import Put

Exchange = Callable[[bytes], Awaitable[bytes]]
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Slow:
    """A handler that answers when it is told to, with the path."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()

    async def answer(self, request: Request) -> Answer:
        self.asked.append(request.target)
        await self.may_answer.wait()
        return Answer(200, request.target.encode())


@asynccontextmanager
async def served(
    handler: Callable[[Request], Awaitable[Answer]], idle_timeout_s: float = 75.0
) -> AsyncIterator[tuple[Connections, Client]]:
    connections = Connections(handler, 100, idle_timeout_s)
    server = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
    client = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        async with asyncio.timeout(10):
            yield connections, client
    finally:
        client[1].close()
        server.close()
        await connections.shutdown(0.0)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 200),
        (b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n", 404),
    ],
)
async def test_who_asks_for_another_protocol_is_answered_in_this_one_and_nothing_behind_it_is_believed(
    exchange: Exchange, request_bytes: bytes, status: int
) -> None:
    answer = await exchange(request_bytes + GET)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_the_path_of_a_whole_url_is_found(exchange: Exchange) -> None:
    answer = await exchange(b"GET http://elsewhere:1/livez?a#b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nlive\n")


async def test_what_is_no_http_is_answered_behind_what_came_before_it(exchange: Exchange) -> None:
    put = b"PUT /v1/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"
    answer = await exchange(put + GET + b"\x00\x01 no http\r\n\r\n" + GET)
    assert [each[:3] for each in answer.split(b"HTTP/1.1 ")[1:]] == [b"201", b"200", b"400"]


async def test_a_refused_body_is_read_to_its_end_and_the_next_request_answered(exchange: Exchange) -> None:
    body = b"x" * 1_000_000
    head = b"POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = await exchange(head + body + LAST)
    assert [each[:3] for each in answer.split(b"HTTP/1.1 ")[1:]] == [b"404", b"200"]


async def test_trailers_behind_a_chunked_body_are_read_over(exchange: Exchange, node: NodeOfOne) -> None:
    put = b"PUT /v1/data/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n7\r\n0\r\nIf-Match: 1\r\n\r\n"
    answer = await exchange(put + LAST)
    assert [each[:3] for each in answer.split(b"HTTP/1.1 ")[1:]] == [b"201", b"200"]
    assert node.document.whole()[0] == b'{"a":7}'


@pytest.mark.parametrize("framing", [b"1\r\n7\r\n1;x=", b"1\r\n7\r\n0\r\nTrailer: "])
async def test_framing_of_a_body_that_goes_on_and_on_is_refused(face: HttpFace, framing: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    async with asyncio.timeout(10):
        await until(lambda: bool(face._connections.all))
        (connection,) = face._connections.all
        connection.data_received(b"PUT /v1/data/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + framing)
        for _ in range(HEAD_BYTES // 4000 + 1):
            connection.data_received(b"y" * 4000)
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"broken-body" in answer


async def test_who_asks_faster_than_is_answered_is_not_read_meanwhile() -> None:
    slow = Slow()
    async with served(slow.answer) as (connections, (reader, writer)):
        writer.write(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3?a=b HTTP/1.1\r\nConnection: close\r\n\r\n")
        await until(lambda: slow.asked == ["/1"])
        (connection,) = connections.all
        assert connection.transport is not None
        assert not connection.transport.is_reading()
        slow.may_answer.set()
        answers = await reader.read()
        assert [each.split(b"\r\n\r\n")[1] for each in answers.split(b"HTTP/1.1 ")[1:]] == [b"/1", b"/2", b"/3?a=b"]
        assert slow.asked == ["/1", "/2", "/3?a=b"]


async def test_a_body_that_nobody_takes_is_not_read_on() -> None:
    slow = Slow()
    async with served(slow.answer) as (connections, (reader, writer)):
        body = b"x" * 2_000_000
        writer.write(b"POST /1 HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body + b"GET /2 HTTP/1.0\r\n\r\n")
        await until(lambda: slow.asked == ["/1"])
        (connection,) = connections.all
        assert connection.transport is not None
        await until(lambda: not connection.transport.is_reading())
        slow.may_answer.set()
        assert (await reader.read()).count(b"HTTP/1.1 200 ") == 2


async def test_at_the_end_what_is_being_answered_is_answered_and_nothing_after_it() -> None:
    slow = Slow()
    async with served(slow.answer) as (connections, (reader, writer)):
        writer.write(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
        await until(lambda: slow.asked == ["/1"])
        ending = asyncio.create_task(connections.shutdown(10.0))
        await asyncio.sleep(0)
        slow.may_answer.set()
        answer = await reader.read()
        await ending
    assert answer.endswith(b"Connection: close\r\n\r\n/1")
    assert slow.asked == ["/1"]


async def test_at_the_end_who_is_not_answered_in_time_is_cut() -> None:
    slow = Slow()
    async with served(slow.answer) as (connections, (reader, writer)):
        writer.write(b"GET /1 HTTP/1.1\r\n\r\n")
        await until(lambda: slow.asked == ["/1"])
        await connections.shutdown(0.0)
        assert await reader.read() == b""


async def test_a_request_under_way_is_no_silence() -> None:
    slow = Slow()
    async with served(slow.answer, idle_timeout_s=0.02) as (connections, (reader, writer)):
        writer.write(b"GET /1 HTTP/1.1\r\n\r\n")
        await until(lambda: slow.asked == ["/1"])
        loop = asyncio.get_running_loop()
        began = loop.time()
        await until(lambda: loop.time() > began + 0.1)
        assert len(connections.all) == 1
        slow.may_answer.set()
        assert (await reader.read()).endswith(b"/1")


async def test_a_handler_that_fails_ends_its_connection_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(request: Request) -> Answer:
        raise ArithmeticError("a fault of ours")

    async with served(fail) as (connections, (reader, writer)):
        writer.write(b"GET /1 HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""
        await until(lambda: not connections.all)
    assert "a fault of ours" in caplog.text


async def test_of_a_connection_that_is_over_nothing_is_left() -> None:
    slow = Slow()
    slow.may_answer.set()
    gc.collect()
    gc.disable()
    try:
        async with served(slow.answer) as (connections, (reader, writer)):
            writer.write(b"PUT /1 HTTP/1.1\r\nContent-Length: 1\r\n\r\n1")
            await reader.readuntil(b"/1")
            (connection,) = map(weakref.ref, connections.all)
            writer.close()
            await until(lambda: not connections.all)
            await until(lambda: connection() is None)
    finally:
        gc.enable()


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("framing", "body"),
    [(b"Content-Length: 3", b"123"), (b"Transfer-Encoding: chunked", b"1\r\n1\r\n2\r\n23\r\n0\r\n\r\n")],
)
async def test_the_body_of_who_asks_for_another_protocol_is_read_and_nothing_behind_it(
    face: HttpFace, node: NodeOfOne, framing: bytes, body: bytes, together: bool
) -> None:
    head = b"PUT /v1/data/a HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n%s\r\n\r\n" % framing
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    async with asyncio.timeout(10):
        await until(lambda: bool(face._connections.all))
        (connection,) = face._connections.all
        everything = head + body + GET
        for piece in [everything] if together else [everything[at : at + 1] for at in range(len(everything))]:
            connection.data_received(piece)
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"Connection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert node.document.whole()[0] == b'{"a":123}'


async def test_a_body_too_large_is_refused_also_with_another_protocol_asked_for(exchange: Exchange) -> None:
    head = b"PUT /v1/data/a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 99999999\r\n\r\n1"
    assert (await exchange(head)).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("more", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"])
async def test_a_request_whose_framing_is_known_to_be_broken_does_nothing(
    exchange: Exchange, node: NodeOfOne, more: bytes
) -> None:
    await exchange(b"PUT /v1/data/a HTTP/1.1\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1")
    answer = await exchange(b"DELETE /v1/data/a HTTP/1.1\r\n%sTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" % more)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert node.document.whole()[0] == b'{"a":1}'


@pytest.mark.parametrize("line", [b"GET /livez", b"GET /livez HTTP/0.9", b"GET /livez HTTP/2.0"])
async def test_versions_of_http_that_are_not_spoken_are_refused(exchange: Exchange, line: bytes) -> None:
    assert (await exchange(line + b"\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_who_names_two_hosts_is_refused(exchange: Exchange) -> None:
    answer = await exchange(b"GET /livez HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_blanks_around_a_header_are_none_of_it(exchange: Exchange) -> None:
    head = (
        b"PUT /v1/data/a HTTP/1.1\r\nSec-Fetch-Site:\t cross-site \t\r\nContent-Length: 1 \r\nConnection: close\r\n\r\n"
    )
    assert (await exchange(head + b"1")).startswith(b"HTTP/1.1 403 ")


async def test_a_client_of_http_1_0_is_not_told_to_go_on(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftq_k8s.api.bodies.BODY_TIMEOUT_S", 0.05)
    monkeypatch.setattr("raftq_k8s.api.wire._LINGER_S", 0.05)
    answer = await exchange(b"PUT /v1/data/a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_of_many_requests_at_once_few_wait_and_all_are_answered_in_order() -> None:
    slow = Slow()
    async with served(slow.answer) as (connections, (reader, _)):
        await until(lambda: bool(connections.all))
        (connection,) = connections.all
        body = b"x" * (3 * SLICE_BYTES)
        asks = [b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(5000)]
        asks[2500] = b"POST /2500 HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        connection.data_received(b"".join(asks) + b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert len(connection._row) <= SLICE_BYTES // len(asks[0])
        slow.may_answer.set()
        await reader.read()
    assert slow.asked == [*(f"/{number}" for number in range(5000)), "/last"]


async def test_an_answer_that_breaks_off_is_cut_and_no_other_is_put_into_its_midst(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"1"
        raise ArithmeticError("a fault of ours")

    async def answer(request: Request) -> Answer:
        with suppress(ArithmeticError):
            await Pieces(b"text/plain", b"", pieces(), 2).send(request)
        return Answer(500, b"")

    async with served(answer) as (_, (reader, writer)):
        writer.write(b"GET /1 HTTP/1.1\r\n\r\n")
        assert (await reader.read()).count(b"HTTP/1.1 ") == 1
    assert "a fault of ours" in caplog.text


@pytest.mark.parametrize("size_bytes", [1, LARGE_BYTES])
async def test_who_is_turned_away_is_told_so_with_the_answer(
    face: HttpFace, node: NodeOfOne, exchange: Exchange, size_bytes: int
) -> None:
    await node.submit(Put("a", b'"%s"' % (b"x" * size_bytes)), 5.0)
    face.turn_away()
    answer = await exchange(b"GET /v1/data HTTP/1.1\r\n\r\nGET /v1/data HTTP/1.1\r\n\r\n")
    assert answer.count(b"Connection: close\r\n") == answer.count(b"HTTP/1.1 200 ") == 1


class Stuck:
    """A transport whose client reads nothing: what was written has never left."""

    def __init__(self) -> None:
        self.closing = False
        self.aborted = False

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


async def test_who_has_not_read_the_last_answer_is_given_the_idle_time_for_it() -> None:
    connection = Connections(Slow().answer, 100, 0.2)()
    stuck = Stuck()
    connection.connection_made(stuck)  # type: ignore[arg-type]
    loop = asyncio.get_running_loop()
    began = loop.time()
    await until(lambda: loop.time() > began + 0.15)
    connection.close()
    await until(lambda: stuck.aborted)
    assert loop.time() > began + 0.3
    connection.connection_lost(None)


async def test_who_has_to_go_for_another_probe_goes_at_once() -> None:
    connections = Connections(Slow().answer, 1, 75.0)
    made = [(connections(), Stuck()) for _ in range(CROWD + 2)]
    for connection, stuck in made:
        connection.connection_made(stuck)  # type: ignore[arg-type]
    assert [stuck.aborted for _, stuck in made] == [False, True, *[False] * CROWD]
    for connection, _ in made:
        connection.connection_lost(None)
    assert not connections.all


async def test_who_comes_while_the_listener_closes_is_cut() -> None:
    connections = Connections(Slow().answer, 100, 75.0)
    server = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
    await connections.shutdown(0.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    server.close()
    assert not connections.all
