"""What probes, applications and people are told, and how a wrong request is."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import ClientSession
from node_of_one import ME, OTHER, NodeOfOne

from raftq_k8s.api.probes import waits_for
from raftq_k8s.api.server import HttpFace
from raftq_k8s.node.status import RaftRole

READS = ["/livez", "/startupz", "/readyz", "/metrics", "/leader", "/v1/leader", "/v1/status", "/v1/data", "/v1/data/a"]


async def test_a_member_that_has_caught_up_is_ready_whoever_leads(http: ClientSession, node: NodeOfOne) -> None:
    for leader, leaderless_ms in (ME, 0.0), (OTHER, 0.0), (None, 5.0):
        node.is_now(leader=leader, leaderless_ms=leaderless_ms)
        async with http.get("/readyz") as response:
            assert response.status == 200


async def test_an_unborn_node_is_live_and_not_ready_and_says_what_it_waits_for(
    http: ClientSession, node: NodeOfOne
) -> None:
    node.is_now(cluster=None, waiting_for="raftq-2 has not said hello", caught_up=False, leader=None, leaderless_ms=9e9)
    for path in "/livez", "/startupz":
        async with http.get(path) as response:
            assert response.status == 200
    async with http.get("/readyz") as response:
        assert response.status == 503
        body = await response.json(content_type="application/problem+json")
        assert body["detail"] == "raftq-2 has not said hello"


async def test_a_failed_node_is_live_and_not_ready(http: ClientSession, node: NodeOfOne) -> None:
    node.failure.set_exception(OSError("the disk is gone"))
    node.failure.exception()
    async with http.get("/livez") as response:
        assert response.status == 200
    async with http.get("/readyz") as response:
        assert response.status == 503


async def test_a_member_that_finds_no_leader_becomes_ready_after_a_minute(node: NodeOfOne) -> None:
    node.is_now(caught_up=False, leader=None, leaderless_ms=59_999.0)
    assert "no leader" in str(waits_for(node.now, failed=False))
    node.is_now(leaderless_ms=60_000.0)
    assert waits_for(node.now, failed=False) is None
    assert waits_for(node.now, failed=True) is not None


async def test_a_member_that_is_behind_its_leader_is_not_ready(node: NodeOfOne) -> None:
    node.is_now(caught_up=False, leader=OTHER)
    assert "catching up with raftq-1" in str(waits_for(node.now, failed=False))


@pytest.mark.parametrize("path", ["/leader", "/v1/leader"])
async def test_the_leader_is_named_with_its_address_and_term(http: ClientSession, node: NodeOfOne, path: str) -> None:
    async with http.get(path) as response:
        assert await response.json() == {
            "id": "raftq-0",
            "address": "10.0.0.1:7480",
            "term": 7,
            "is_me": True,
            "established": True,
            "lease_left_ms": 120.0,
        }
    node.is_now(leader=OTHER, role=RaftRole.FOLLOWER, established=False, leader_http="", lease_left_ms=0.0)
    async with http.get(path) as response:
        body = await response.json()
        assert (body["id"], body["is_me"], body["established"], body["address"]) == ("raftq-1", False, False, None)


async def test_without_a_leader_the_client_is_told_when_to_ask_again(http: ClientSession, node: NodeOfOne) -> None:
    node.is_now(leader=None, leader_http=None, role=RaftRole.FOLLOWER)
    async with http.get("/leader") as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert response.content_type == "application/problem+json"


async def test_the_status_is_the_nodes_own(http: ClientSession) -> None:
    async with http.get("/v1/status") as response:
        body = await response.json()
    assert (body["member"], body["term"], body["role"], body["voters"]) == (
        "raftq-0",
        7,
        3,
        ["raftq-0", "raftq-1", "raftq-2"],
    )


@pytest.mark.parametrize("path", READS)
async def test_head_is_get_without_a_body(http: ClientSession, node: NodeOfOne, path: str) -> None:
    await http.put("/v1/data/a", data=b"[1,2]")
    async with http.get(path) as got, http.head(path) as headed:
        assert headed.status == got.status == 200
        assert await headed.read() == b""
        assert headed.content_type == got.content_type
        assert got.headers["Content-Length"] == str(len(await got.read()))
        if path != "/metrics":  # its process figures move on
            assert headed.headers["Content-Length"] == got.headers["Content-Length"]


@pytest.mark.parametrize("path", ["/", "/nothing", "/v1", "/v1/data2", "/v1/leader/", "/LIVEZ"])
async def test_an_unknown_path_is_404(http: ClientSession, path: str) -> None:
    async with http.get(path) as response:
        assert response.status == 404
        assert response.content_type == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/livez", "GET, HEAD"),
        ("DELETE", "/v1/data", "GET, HEAD, PUT, PATCH"),
        ("PATCH", "/v1/data/a", "GET, HEAD, PUT, DELETE"),
        ("OPTIONS", "/v1/data/a", "GET, HEAD, PUT, DELETE"),
        ("PUT", "/leader", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405_and_names_the_right_ones(
    http: ClientSession, method: str, path: str, allowed: str
) -> None:
    async with http.request(method, path, data=b"1") as response:
        assert response.status == 405
        assert response.headers["Allow"] == allowed
        assert response.content_type == "application/problem+json"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nBroken header\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nLong: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"PUT /v1/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n1", 400),
        (b"PUT /v1/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1", 400),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"".join(b"H%d: x\r\n" % n for n in range(500)) + b"\r\n", 400),
    ],
)
async def test_what_is_no_http_is_answered_as_a_problem_and_closed(
    exchange: Callable[[bytes], Awaitable[bytes]], http: ClientSession, request_bytes: bytes, status: int
) -> None:
    answer = await exchange(request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in answer
    assert b"Connection: close\r\n" in answer
    async with http.get("/livez") as response:
        assert response.status == 200


@pytest.mark.parametrize("target", [b"//livez", b"/livez/..", b"*", b"http://elsewhere/nothing", b"/%2e%2e/livez"])
async def test_an_odd_target_is_404(exchange: Callable[[bytes], Awaitable[bytes]], target: bytes) -> None:
    answer = await exchange(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 "))


async def test_a_client_of_http_1_0_is_answered_and_closed(exchange: Callable[[bytes], Awaitable[bytes]]) -> None:
    assert (await exchange(b"GET /livez HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\nlive\n")


async def test_pipelined_requests_are_answered_in_order(exchange: Callable[[bytes], Awaitable[bytes]]) -> None:
    one = b"PUT /v1/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"
    last = b"GET /v1/data/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await exchange(one * 100 + last)
    assert answer.count(b"HTTP/1.1 ") == 101
    assert [b'{"revision":%d}' % n in answer for n in (1, 50, 100)] == [True, True, True]


async def test_a_taken_port_is_an_error_of_start(face: HttpFace, node: NodeOfOne) -> None:
    second = HttpFace(node, "127.0.0.1", face.port, version="9.9.9")
    with pytest.raises(OSError, match="in use"):
        await second.start()
    await second.close()


async def test_after_close_nobody_listens(node: NodeOfOne) -> None:
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9")
    await face.start()
    port = face.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await face.close()
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)
