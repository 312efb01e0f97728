"""Writes that take effect once, however often they come."""

import pytest
from aiohttp import ClientSession
from answered import problem
from multidict import CIMultiDict
from node_of_one import NodeOfOne

from raftq_k8s.node.errors import ReplyForgotten, SequenceReused, SessionExpired, TooManySessions
from raftq_k8s.state import commands
from raftq_k8s.state.commands import CloseSession, InSession, OpenSession, Put


async def test_a_write_that_comes_again_in_its_session_hears_the_first_answer(
    http: ClientSession, node: NodeOfOne
) -> None:
    async with http.post("/v1/sessions") as response:
        assert response.status == 201
        session = (await response.json())["session"]
        assert response.headers["Location"] == f"/v1/sessions/{session}"
    for key in f"{session}/1", f'"{session}/1"':
        async with http.put("/v1/data/a", data=b"1", headers={"Idempotency-Key": key}) as response:
            assert (response.status, await response.json()) == (201, {"revision": 2})
    async with http.get("/v1/data/a") as response:
        assert response.headers["ETag"] == '"2"'
    assert node.submitted == [OpenSession()] + 2 * [InSession(session, 1, commands.encode(Put("a", b"1")))]


async def test_every_kind_of_write_may_travel_in_a_session(http: ClientSession) -> None:
    session = (await (await http.post("/v1/sessions")).json())["session"]
    requests = [
        ("PUT", "/v1/data", b'{"a":1}', {}),
        ("PATCH", "/v1/data", b'{"b":1}', {}),
        ("PUT", "/v1/data/a", b"2", {"If-Match": '"2"'}),
        ("POST", "/v1/transactions", b'{"do":[{"delete":"b"}]}', {}),
        ("DELETE", "/v1/data/a", None, {}),
    ]
    for number, (method, path, body, headers) in enumerate(requests):
        for _ in range(2):
            carried = headers | {"Idempotency-Key": f"{session}/{number}"}
            async with http.request(method, path, data=body, headers=carried) as response:
                assert response.status == 200
    async with http.get("/v1/data") as response:
        assert await response.read() == b"{}"


async def test_a_refusal_comes_again_as_well(http: ClientSession) -> None:
    session = (await (await http.post("/v1/sessions")).json())["session"]
    headers = {"Idempotency-Key": f"{session}/1", "If-Match": '"9"'}
    for _ in range(2):
        async with http.put("/v1/data/a", data=b"1", headers=headers) as response:
            assert (await problem(response, 412))["revision"] == 2


async def test_a_session_is_closed(http: ClientSession, node: NodeOfOne) -> None:
    for _ in range(2):
        async with http.delete("/v1/sessions/7") as response:
            assert (response.status, await response.read()) == (204, b"")
            assert "Content-Length" not in response.headers
    assert node.submitted == 2 * [CloseSession(7)]


@pytest.mark.parametrize("session", ["", "x", "-1", "1/2", "9223372036854775808", "0" * 30, "%31"])
async def test_what_is_no_session_is_not_found(http: ClientSession, node: NodeOfOne, session: str) -> None:
    async with http.delete(f"/v1/sessions/{session}") as response:
        if session != "%31":  # the client itself writes that as 1
            await problem(response, 404)
            assert node.submitted == []


@pytest.mark.parametrize("key", ["", "1", "1/", "/1", "a/1", "1/2/3", '"1/2', "-1/2", "1/9223372036854775808", "1 / 2"])
async def test_an_idempotency_key_that_is_none_is_refused(http: ClientSession, node: NodeOfOne, key: str) -> None:
    for method, path in ("PUT", "/v1/data/a"), ("DELETE", "/v1/data/a"), ("PUT", "/v1/data"), ("PATCH", "/v1/data"):
        async with http.request(method, path, data=b"1", headers={"Idempotency-Key": key}) as response:
            await problem(response, 400)
    assert node.submitted == []


@pytest.mark.parametrize(
    ("refusal", "status", "kind"),
    [
        (SessionExpired("there is no session 5"), 409, "no-such-session"),
        (ReplyForgotten("replies are kept from sequence 8 on"), 409, "reply-forgotten"),
        (SequenceReused("another command had the sequence 3 before"), 422, "sequence-reused"),
    ],
)
async def test_what_a_session_refuses_says_so(
    http: ClientSession, node: NodeOfOne, refusal: Exception, status: int, kind: str
) -> None:
    node.refusal = refusal
    async with http.put("/v1/data/a", data=b"1", headers={"Idempotency-Key": "5/3"}) as response:
        refused = await problem(response, status)
        assert refused["type"] == f"urn:raftq:problem:{kind}"
        assert str(refusal) in str(refused["detail"])


async def test_there_are_so_many_sessions_and_no_more(http: ClientSession, node: NodeOfOne) -> None:
    node.refusal = TooManySessions("4096 sessions are open")
    async with http.post("/v1/sessions") as response:
        await problem(response, 429)
        assert response.headers["Retry-After"] == "1"


async def test_two_idempotency_keys_are_none(http: ClientSession, node: NodeOfOne) -> None:
    keys = CIMultiDict([("Idempotency-Key", "5/1"), ("Idempotency-Key", "5/2")])
    async with http.put("/v1/data/a", data=b"1", headers=keys) as response:
        assert (response.status, (await response.json())["type"]) == (400, "urn:raftq:problem:bad-idempotency-key")
    assert node.submitted == []
