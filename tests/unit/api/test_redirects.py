"""A client that would rather speak to the leader itself."""

import pytest
from aiohttp import ClientSession
from answered import problem
from node_of_one import OTHER, NodeOfOne
from yarl import URL

from raftq_k8s.node.status import RaftRole

REQUESTS = [
    ("GET", "/v1/data"),
    ("GET", "/v1/data/a%2Fb"),
    ("HEAD", "/v1/data/a"),
    ("PUT", "/v1/data"),
    ("PATCH", "/v1/data"),
    ("PUT", "/v1/data/a"),
    ("DELETE", "/v1/data/a"),
    ("POST", "/v1/transactions"),
    ("POST", "/v1/sessions"),
    ("DELETE", "/v1/sessions/5"),
]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
async def test_who_asks_for_it_is_sent_to_the_leader(
    http: ClientSession, node: NodeOfOne, method: str, path: str
) -> None:
    node.is_now(role=RaftRole.FOLLOWER, leader=OTHER, leader_http="10.0.0.2:7480")
    url = f"{http._base_url}{path}?redirect=1&x=%2B".replace("//v1", "/v1")
    async with http.request(method, URL(url, encoded=True), data=b"{}", allow_redirects=False) as response:
        assert response.status == 307
        assert response.headers["Location"] == f"http://10.0.0.2:7480{path}?redirect=1&x=%2B"
    assert (node.submitted, node.reads) == ([], [])


async def test_a_leader_sends_nobody_away(http: ClientSession) -> None:
    async with http.put("/v1/data/a?redirect=1", data=b"1", allow_redirects=False) as response:
        assert response.status == 201
    async with http.get("/v1/data/a?redirect=1", allow_redirects=False) as response:
        assert response.status == 200


async def test_who_does_not_ask_for_it_is_not_sent_away(http: ClientSession, node: NodeOfOne) -> None:
    node.is_now(role=RaftRole.FOLLOWER, leader=OTHER, leader_http="10.0.0.2:7480")
    async with http.put("/v1/data/a?redirect=0", data=b"1", allow_redirects=False) as response:
        assert response.status == 201


@pytest.mark.parametrize("address", [None, ""])
async def test_without_a_leader_there_is_no_way(http: ClientSession, node: NodeOfOne, address: str | None) -> None:
    node.is_now(role=RaftRole.FOLLOWER, leader=None, leader_http=address)
    async with http.put("/v1/data/a?redirect=1", data=b"1", allow_redirects=False) as response:
        await problem(response, 503)
    assert node.submitted == []


async def test_a_wish_that_is_none_is_refused(http: ClientSession, node: NodeOfOne) -> None:
    async with http.put("/v1/data/a?redirect=yes", data=b"1") as response:
        await problem(response, 400)
    assert node.submitted == []
