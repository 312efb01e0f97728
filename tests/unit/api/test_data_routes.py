"""The document over HTTP, from a real client through loopback."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import ClientSession
from answered import problem
from node_of_one import OTHER, NodeOfOne
from yarl import URL

from raftq_k8s.api.data import LARGE_READS
from raftq_k8s.api.listings import PIECE_BYTES, listing, whole
from raftq_k8s.api.server import HttpFace
from raftq_k8s.node.errors import NoLeader, NotLeader, OutcomeUnknown, Overloaded, TooLarge, VolumeFull
from raftq_k8s.state.commands import Delete, Put, Replace
from raftq_k8s.state.keys import SEGMENT, Keys

LIMIT = 1 << 16


async def test_a_value_comes_back_as_it_was_written(http: ClientSession) -> None:
    async with http.put("/v1/data/colour", data=b' {"name" : "red", "share": 1.10}\n') as response:
        assert response.status == 201
        assert await response.json() == {"revision": 1}
        assert response.headers["ETag"] == '"1"'
        assert response.headers["X-Raftq-Leader"] == "raftq-0"
    async with http.put("/v1/data/other", data=b"2") as response:
        assert response.status == 201
    async with http.get("/v1/data/colour") as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        assert await response.read() == b'{"name" : "red", "share": 1.10}'
        assert response.headers["ETag"] == '"1"'
        assert response.headers["X-Raftq-Applied-Index"] == "2"
        assert "Date" in response.headers


async def test_a_key_that_was_there_is_replaced_with_200(http: ClientSession) -> None:
    for status in 201, 200, 200:
        async with http.put("/v1/data/a", data=b"1") as response:
            assert response.status == status


async def test_the_whole_document_is_read_and_replaced(http: ClientSession, node: NodeOfOne) -> None:
    async with http.get("/v1/data") as response:
        assert (response.status, await response.read(), response.headers["ETag"]) == (200, b"{}", '"0"')
    async with http.put("/v1/data", data=b'{"a":1,"b":[2]}') as response:
        assert (response.status, await response.json()) == (200, {"revision": 1})
    async with http.put("/v1/data/a", data=b"3") as response:
        assert response.status == 200
    async with http.get("/v1/data?consistency=local") as response:
        assert await response.read() == b'{"a":3,"b":[2]}'
        assert response.headers["ETag"] == '"2"'
    assert node.submitted == [Replace(b'{"a":1,"b":[2]}'), Put("a", b"3")]


async def test_a_deleted_key_is_gone_and_to_delete_it_again_is_404(http: ClientSession) -> None:
    await http.put("/v1/data/a", data=b"1")
    async with http.delete("/v1/data/a") as response:
        assert (response.status, await response.json()) == (200, {"revision": 2})
        assert response.headers["ETag"] == '"2"'
    async with http.delete("/v1/data/a") as response:
        assert (await problem(response, 404))["revision"] == 3
    async with http.get("/v1/data/a") as response:
        await problem(response, 404)
        assert response.headers["X-Raftq-Applied-Index"] == "3"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("plain", "plain"),
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("a%20b+c", "a b+c"),
        ("%C3%A9%F0%9F%98%80", "é😀"),
        ("..", ".."),
        ("a/../b", "a/../b"),
        ("%00%0D%0A", "\x00\r\n"),
        ("100%25", "100%"),
        ("100%zz", "100%zz"),
        ("a/", "a/"),
        ("%61?consistency=local", "a"),
        ("x" * 512, "x" * 512),
    ],
)
async def test_a_key_is_everything_behind_the_slash_percent_decoded(
    http: ClientSession, node: NodeOfOne, path: str, key: str
) -> None:
    url = URL(f"{http._base_url}/v1/data/{path}".replace("//v1", "/v1"), encoded=True)
    async with http.put(url, data=b"1") as response:
        assert response.status == 201
    async with http.get(url) as response:
        assert await response.read() == b"1"
    assert node.submitted == [Put(key, b"1")]
    assert json.loads(node.document.whole()[0]) == {key: 1}


@pytest.mark.parametrize(("path", "status"), [("", 400), ("%FF", 400), ("%ED%A0%80", 400), ("x" * 513, 414)])
async def test_what_is_no_key_is_refused(http: ClientSession, node: NodeOfOne, path: str, status: int) -> None:
    url = URL(f"{http._base_url}/v1/data/{path}".replace("//v1", "/v1"), encoded=True)
    for method in "GET", "PUT", "DELETE":
        async with http.request(method, url, data=b"1" if method == "PUT" else None) as response:
            await problem(response, status)
    assert node.submitted == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"red",
        b"NaN",
        b'{"a":1,}',
        b"1 2",
        b'"\xff"',
        b"[" * 60000,
        b"1e999",
        b"\xef\xbb\xbf1",
        b"\x1f\x8b\x08\x00",
    ],
)
@pytest.mark.parametrize("path", ["/v1/data", "/v1/data/a"])
async def test_what_is_not_json_is_refused(http: ClientSession, node: NodeOfOne, path: str, body: bytes) -> None:
    async with http.put(path, data=body) as response:
        assert "not-json" in str((await problem(response, 400))["type"])
    assert node.submitted == []


async def test_a_body_at_the_limit_is_taken_and_one_over_it_is_not(http: ClientSession, node: NodeOfOne) -> None:
    async with http.put("/v1/data/a", data=b'"' + b"x" * (LIMIT - 2) + b'"') as response:
        assert response.status == 201
    async with http.put("/v1/data/a", data=b'"' + b"x" * (LIMIT - 1) + b'"') as response:
        await problem(response, 413)
    async with http.put("/v1/data/a", data=b'"' + b"x" * (20 * LIMIT) + b'"') as response:
        await problem(response, 413)
    assert len(node.submitted) == 1


async def test_a_chunked_body_without_end_is_cut_at_the_limit(http: ClientSession, node: NodeOfOne) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 8192
            yield b" " * 8192

    try:
        async with http.put("/v1/data/a", data=endless()) as response:
            await problem(response, 413)
    except ConnectionError:
        pass  # the server has closed while the client was still writing
    assert node.submitted == []
    async with http.get("/livez") as response:
        assert response.status == 200


@pytest.mark.parametrize("rest", [b"zz\r\n", b"-1\r\n\r\n", b"1\r\nab\r\n"])
@pytest.mark.parametrize("is_awaited", [False, True])
async def test_a_chunk_that_is_none_is_refused_at_once(
    face: HttpFace, node: NodeOfOne, rest: bytes, is_awaited: bool, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    async with asyncio.timeout(10):
        while not face._connections.all:  # noqa: ASYNC110
            await asyncio.sleep(0)
        (connection,) = face._connections.all
        connection.data_received(b"PUT /v1/data/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n")
        while is_awaited and connection._arriving.held_bytes:  # noqa: ASYNC110
            await asyncio.sleep(0)
        connection.data_received(rest)
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"broken-body" in answer
    assert node.submitted == []
    assert not caplog.records


async def test_a_chunked_body_within_the_limit_is_taken(http: ClientSession, node: NodeOfOne) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for part in b"[1", b",2", b"]":
            yield part
            await asyncio.sleep(0)

    async with http.put("/v1/data/a", data=parts()) as response:
        assert response.status == 201
    assert node.submitted == [Put("a", b"[1,2]")]


async def test_an_announced_body_over_the_limit_is_refused_before_it_is_sent(
    exchange: Callable[[bytes], Awaitable[bytes]],
) -> None:
    head = b"PUT /v1/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
    answer = await exchange(head)
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_who_asks_whether_to_continue_is_told_to(face: HttpFace, node: NodeOfOne) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(b"PUT /v1/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    async with asyncio.timeout(10):
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        await reader.readline()
        writer.write(b"[4]")
        assert await reader.readline() == b"HTTP/1.1 201 Created\r\n"
    writer.close()
    assert node.submitted == [Put("a", b"[4]")]


async def test_a_body_that_breaks_off_does_nothing(face: HttpFace, node: NodeOfOne, http: ClientSession) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(b"PUT /v1/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")
    await writer.drain()
    async with http.get("/livez") as response:
        assert response.status == 200
    writer.close()
    await writer.wait_closed()
    async with http.get("/livez") as response:
        assert response.status == 200
    assert node.submitted == []


async def test_a_body_that_takes_its_time_is_cut(
    exchange: Callable[[bytes], Awaitable[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftq_k8s.api.bodies.BODY_TIMEOUT_S", 0.05)
    monkeypatch.setattr("raftq_k8s.api.wire._LINGER_S", 0.05)
    answer = await exchange(b"PUT /v1/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_bodies_that_are_cut_off_leave_nothing_behind(node: NodeOfOne) -> None:
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9")
    await face.start()
    body = b"1" * ((1 << 20) - 1)

    async def cut() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", face.port)
        writer.write(b"PUT /v1/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (1 << 20) + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    gc.disable()  # as seldom as it runs on a node, for all practical purposes
    tracemalloc.start()
    try:
        await cut()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(8):
            await cut()
        async with asyncio.timeout(10):
            while face._connections.all:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
        await face.close()
    assert after - before < 1 << 20
    assert node.submitted == []


async def test_bodies_that_are_still_arriving_share_a_bound(
    face: HttpFace, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftq_k8s.api.bodies.UNFINISHED_BYTES", 100_000)
    head = b"PUT /v1/data/%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 60001\r\n\r\n"
    writers, answers = [], []
    for number in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
        writer.write(head % number + b'"' + b"x" * 59_999)
        writers.append(writer)
        answers.append(asyncio.create_task(reader.read()))
    async with asyncio.timeout(10):
        await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        refused = next(number for number in range(2) if answers[number].done())
        assert answers[refused].result().startswith(b"HTTP/1.1 503 ")
        assert b"too-many-bodies" in answers[refused].result()
        assert b"Retry-After: 1\r\n" in answers[refused].result()
        writers[1 - refused].write(b'"')
        assert (await answers[1 - refused]).startswith(b"HTTP/1.1 201 ")
    for writer in writers:
        writer.close()

    async def piecewise() -> AsyncIterator[bytes]:
        for piece in b'"', b"x" * 59_998, b'"':
            yield piece

    for _ in range(3):  # what was refused, and what has ended, counts no more
        async with http.put("/v1/data/a", data=piecewise()) as response:
            assert response.status in (200, 201)


@pytest.mark.parametrize(
    ("refusal", "status", "retry_after"),
    [
        (NoLeader(), 503, "1"),
        (NotLeader(OTHER), 503, "1"),
        (Overloaded(), 429, "1"),
        (TooLarge(), 413, None),
        (VolumeFull(), 507, None),
        (OutcomeUnknown(), 504, None),
        (RuntimeError("a secret"), 500, None),
    ],
)
async def test_a_refusal_of_the_node_becomes_a_problem(
    http: ClientSession, node: NodeOfOne, refusal: Exception, status: int, retry_after: str | None
) -> None:
    node.refusal = refusal
    requests = [("PUT", "/v1/data", b"{}"), ("PUT", "/v1/data/a", b"1"), ("DELETE", "/v1/data/a", None)]
    for method, path, data in requests:
        async with http.request(method, path, data=data) as response:
            body = await problem(response, status)
            assert response.headers.get("Retry-After") == retry_after
            assert (body.get("outcome") == "unknown") == (status in (500, 504))
            assert "secret" not in str(body)
    assert node.submitted == [Replace(b"{}"), Put("a", b"1"), Delete("a")]


async def test_an_unforeseen_error_is_logged_once(
    http: ClientSession, node: NodeOfOne, caplog: pytest.LogCaptureFixture
) -> None:
    node.refusal = RuntimeError("a secret")
    async with http.put("/v1/data/a", data=b"1") as response:
        await problem(response, 500)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_document_that_is_no_object_has_no_keys(http: ClientSession) -> None:
    await http.put("/v1/data", data=b"[1]")
    async with http.get("/v1/data") as response:
        assert await response.read() == b"[1]"
    async with http.get("/v1/data/a") as response:
        await problem(response, 409)
    async with http.put("/v1/data/a", data=b"1") as response:
        assert (await problem(response, 409))["revision"] == 2
    async with http.delete("/v1/data/a") as response:
        await problem(response, 409)


async def test_a_full_document_takes_no_more(http: ClientSession, node: NodeOfOne) -> None:
    node.document.limit_bytes = 20
    async with http.put("/v1/data/a", data=b'"0123456789"') as response:
        assert response.status == 201
    async with http.put("/v1/data/b", data=b'"0123456789"') as response:
        assert (await problem(response, 507))["revision"] == 2


async def test_local_reads_wait_for_the_first_catching_up_and_for_no_later_one(
    http: ClientSession, node: NodeOfOne
) -> None:
    node.is_now(caught_up=False)
    for path in "/v1/data", "/v1/data/a":
        async with http.get(f"{path}?consistency=local") as response:
            await problem(response, 503)
            assert response.headers["Retry-After"] == "1"
    node.is_now(caught_up=True)
    async with http.get("/v1/data?consistency=local") as response:
        assert response.status == 200
    node.is_now(caught_up=False)
    async with http.get("/v1/data?consistency=local") as response:
        assert response.status == 200


async def test_the_leaders_name_follows_the_leader(http: ClientSession, node: NodeOfOne) -> None:
    for leader in "raftq-1", None, "rogue\r\nSet-Cookie: x":
        node.is_now(leader=leader)
        async with http.put("/v1/data/a", data=b"1") as response:
            expected = "rogueSet-Cookie: x" if leader and "rogue" in leader else leader
            assert response.headers.get("X-Raftq-Leader") == expected
            assert "Set-Cookie" not in response.headers


async def test_a_large_document_arrives_whole(http: ClientSession, node: NodeOfOne) -> None:
    value = '"' + "é" * 30_000 + '"'
    for number in range(40):
        node.document.limit_bytes = 1 << 30
        await node.submit(Put(f"key-{number}", value.encode()), 1.0)
    async with http.get("/v1/data") as response:
        assert await response.json() == {f"key-{number}": "é" * 30_000 for number in range(40)}
    async with http.get("/v1/data") as response:
        assert response.status == 200
        assert len(await response.read()) == node.document.size_bytes
    async with http.head("/v1/data") as response:
        assert int(response.headers["Content-Length"]) == node.document.size_bytes


@pytest.mark.parametrize("query", ["", "?prefix=1/", "?prefix=none"])
async def test_a_large_document_is_put_together_while_others_change_it(
    http: ClientSession, node: NodeOfOne, query: str
) -> None:
    for number in range(3000):
        await node.submit(Put(f"{number % 3}/{number}", b'"' + b"x" * 30 + b'"'), 1.0)
    turns = 0

    async def change() -> None:
        nonlocal turns
        while True:
            node.apply(Put(f"1/{turns * 3 % 3000 + 1}", b"%d" % turns))
            turns += 1
            await asyncio.sleep(0)

    changing = asyncio.create_task(change())
    async with http.get(f"/v1/data{query}") as response:
        revision = int(response.headers["ETag"].strip('"'))
        shown = await response.json()
        assert int(response.headers["Content-Length"]) == len(await response.read())
        assert "Connection" not in response.headers
    changing.cancel()
    assert turns >= 3000 // SEGMENT
    if query:
        assert shown["revision"] == revision
        keys = shown["keys"]
        assert max((at["revision"] for at in keys.values()), default=revision) == revision
        assert len(keys) == (1000 if "1/" in query else 0)
    else:
        assert len(shown) == 3000


def test_no_piece_takes_long_to_make() -> None:
    keys = Keys((f"{number}", (b"1" * 40_000, number)) for number in range(600))
    for pieces in listing(keys.freeze(), "5", 600), whole(keys.freeze()):
        assert max(map(len, pieces)) < PIECE_BYTES + 50_000
    assert b"" in list(listing(Keys((f"{number}", (b"1", number)) for number in range(2000)).freeze(), "x", 1))


async def test_so_many_readers_of_a_large_document_and_no_more(
    http: ClientSession, face: HttpFace, node: NodeOfOne
) -> None:
    for number in range(300):
        await node.submit(Put(f"key-{number}", b'"' + b"x" * 60_000 + b'"'), 1.0)
    silent = [await asyncio.open_connection("127.0.0.1", face.port, limit=1) for _ in range(LARGE_READS)]
    for reader, writer in silent:
        writer.write(b"GET /v1/data HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await reader.readexactly(1) == b"H"  # and reads no further
    async with http.get("/v1/data") as response:
        await problem(response, 503)
    async with http.get("/v1/data/key-1") as response:
        assert response.status == 200
    for _, writer in silent:
        writer.transport.abort()
    async with asyncio.timeout(10):
        while True:
            async with http.get("/v1/data") as response:
                if response.status == 200:
                    break
