"""How many clients there may be, and how long a silent one stays."""

import asyncio
import resource

import pytest
from node_of_one import NodeOfOne

from raftq_k8s.api.connections import CROWD, FILES_BESIDE
from raftq_k8s.api.server import HttpFace
from raftq_k8s.api.wire import HEAD_BYTES

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def asked(stream: Stream, path: str, said: bytes | None = None) -> bytes:
    """`said`: instead of a whole request, the rest of one."""
    reader, writer = stream
    writer.write(said or f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    return head.split(b" ")[1]


async def test_beyond_the_bound_only_probes_are_answered_and_there_is_room_for_one_more(node: NodeOfOne) -> None:
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9", connection_limit=2)
    await face.start()
    streams: list[Stream] = []

    async def dialled() -> Stream:
        streams.append(await asyncio.open_connection("127.0.0.1", face.port))
        return streams[-1]

    try:
        for _ in range(2):
            assert await asked(await dialled(), "/v1/data") == b"200"
        for _ in range(CROWD):
            assert await asked(await dialled(), "/livez") == b"200"
        assert await asked(await dialled(), "/livez") == b"200"
        async with asyncio.timeout(10):
            assert await streams[2][0].read() == b""  # it came first of those beyond the bound
        assert await asked(streams[3], "/v1/data") == b"503"
        assert await asked(streams[0], "/v1/data") == b"200"
        async with asyncio.timeout(10):
            assert await streams[3][0].read() == b""
        assert await asked(await dialled(), "/livez") == b"200"
        assert await asked(streams[4], "/livez") == b"200"  # that one had left: nobody had to go
        for _, writer in streams:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(10):
            while await asked(await dialled(), "/v1/data") != b"200":
                pass
        assert not face._connections._crowd
    finally:
        for _, writer in streams:
            writer.close()
        await face.close()


async def test_the_bound_leaves_files_for_the_rest_of_the_process(
    node: NodeOfOne, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = CROWD + FILES_BESIDE + 1
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    await face.start()
    streams = [await asyncio.open_connection("127.0.0.1", face.port) for _ in range(2)]
    try:
        assert [await asked(stream, "/v1/data") for stream in streams] == [b"200", b"503"]
    finally:
        for _, writer in streams:
            writer.close()
        await face.close()


@pytest.mark.parametrize("files", [2048 + CROWD + FILES_BESIDE, resource.RLIM_INFINITY])
async def test_where_there_are_files_enough_the_bound_stands(
    node: NodeOfOne, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, files: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    HttpFace(node, "127.0.0.1", 0, version="9.9.9")
    assert not caplog.records


async def test_a_client_that_is_silent_or_slow_over_its_headers_is_cut(node: NodeOfOne) -> None:
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9", idle_timeout_s=0.1)
    await face.start()
    silent = await asyncio.open_connection("127.0.0.1", face.port)
    slow = await asyncio.open_connection("127.0.0.1", face.port)
    slow[1].write(b"GET /livez HTTP/1.1\r\nHost:")
    used = await asyncio.open_connection("127.0.0.1", face.port)
    assert await asked(used, "/livez") == b"200"
    try:
        async with asyncio.timeout(10):
            for reader, _ in silent, slow, used:
                assert await reader.read() == b""
    finally:
        for _, writer in silent, slow, used:
            writer.close()
        await face.close()


@pytest.mark.parametrize(("value_bytes", "questions"), [(1 << 24, 4), (60_000, 500)])
async def test_a_client_that_does_not_read_its_answers_is_cut(
    node: NodeOfOne, monkeypatch: pytest.MonkeyPatch, value_bytes: int, questions: int
) -> None:
    monkeypatch.setattr("raftq_k8s.api.answers._PATIENCE_S", 0.1)
    monkeypatch.setattr("raftq_k8s.api.answers._SLOWEST_BYTES_PER_SECOND", 1 << 40)
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9", body_limit_bytes=1 << 25, connection_limit=1)
    await face.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port, limit=1)
    body = b'"' + b"x" * value_bytes + b'"'
    writer.write(b"PUT /v1/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    writer.write(b"GET /v1/data/a HTTP/1.1\r\nHost: x\r\n\r\n" * questions)
    try:
        assert await reader.readexactly(1) == b"H"  # and reads no further
        async with asyncio.timeout(20):
            while True:
                other = await asyncio.open_connection("127.0.0.1", face.port)
                status = await asked(other, "/v1/data/b")
                other[1].close()
                if status == b"404":
                    break  # the only place is free again
                assert status == b"503"
    finally:
        writer.close()
        await face.close()


async def test_headers_that_go_on_and_on_are_refused(node: NodeOfOne) -> None:
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9")
    await face.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    try:
        async with asyncio.timeout(10):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
            for number in range(HEAD_BYTES // 4000 + 1):
                writer.write(b"H%d: %s\r\n" % (number, b"x" * 4000))
            assert (await reader.read()).startswith(b"HTTP/1.1 431 ")
        assert face._connections.unreadable_requests == {"headers-too-large": 1}
    finally:
        writer.close()
        await face.close()


async def test_headers_within_the_bound_are_taken_in_however_many_pieces(node: NodeOfOne) -> None:
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9")
    await face.start()
    stream = await asyncio.open_connection("127.0.0.1", face.port)
    try:
        for _ in range(3):  # each request anew
            for piece in b"GET /livez HTTP/1.1\r\n", b"A: " + b"x" * 7000 + b"\r\n", b"B: " + b"x" * 7000 + b"\r\n":
                stream[1].write(piece)
                await stream[1].drain()
            assert await asked(stream, "/livez", said=b"Host: x\r\n\r\n") == b"200"
    finally:
        stream[1].close()
        await face.close()
