"""How much a read knows, and what it may ask for."""

import pytest
from aiohttp import ClientSession
from answered import problem
from node_of_one import NodeOfOne

from raftq_k8s.node.errors import NoLeader, Overloaded
from raftq_k8s.state.commands import Put

PATHS = ["/v1/data", "/v1/data/a"]


@pytest.fixture(autouse=True)
async def one_key(node: NodeOfOne) -> None:
    await node.submit(Put("a", b"1"), 1.0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("query", "reads"),
    [("", ["linearizable"]), ("?consistency=linearizable", ["linearizable"]), ("?consistency=lease", ["lease"])],
)
async def test_a_read_asks_who_leads_unless_it_says_otherwise(
    http: ClientSession, node: NodeOfOne, path: str, query: str, reads: list[str]
) -> None:
    node.is_now(caught_up=False)
    async with http.get(path + query) as response:
        assert response.status == 200
    assert node.reads == reads


@pytest.mark.parametrize("path", PATHS)
async def test_a_local_read_asks_nobody(http: ClientSession, node: NodeOfOne, path: str) -> None:
    node.refusal = NoLeader("none")
    async with http.get(f"{path}?consistency=local") as response:
        assert response.status == 200
    assert node.reads == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("consistency", ["linearizable", "lease"])
async def test_a_read_that_nobody_vouches_for_is_refused(
    http: ClientSession, node: NodeOfOne, path: str, consistency: str
) -> None:
    for refusal, status in (NoLeader("none"), 503), (Overloaded("much"), 429):
        node.refusal = refusal
        async with http.get(f"{path}?consistency={consistency}") as response:
            refused = await problem(response, status)
            assert response.headers["Retry-After"] == "1"
            assert ("consistency=local" in str(refused["detail"])) == (status == 503)


async def test_a_read_shows_what_was_written_while_it_waited(http: ClientSession, node: NodeOfOne) -> None:
    async def read(timeout_s: float) -> None:
        await node.submit(Put("a", b"2"), timeout_s)

    node.read = read  # type: ignore[method-assign]
    async with http.get("/v1/data/a") as response:
        assert await response.read() == b"2"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("asked", ["", "exact", "LOCAL"])
async def test_an_unknown_consistency_is_refused(http: ClientSession, path: str, asked: str) -> None:
    async with http.get(f"{path}?consistency={asked}") as response:
        await problem(response, 400)


async def test_the_keys_of_a_prefix_come_with_their_revisions(http: ClientSession) -> None:
    for key in "locks/a", "locks/é%22", "lock":
        await http.put(f"/v1/data/{key}", data=b'{"n": 1.10}')
    async with http.get("/v1/data?prefix=locks/") as response:
        assert (
            await response.read()
            == (
                '{"revision":4,"keys":{"locks/a":{"revision":2,"value":{"n": 1.10}},'
                '"locks/é\\"":{"revision":3,"value":{"n": 1.10}}}}'
            ).encode()
        )
        assert response.headers["ETag"] == '"4"'
    async with http.get("/v1/data?prefix=locks/%C3%A9&consistency=local") as response:
        assert list((await response.json())["keys"]) == ['locks/é"']
    async with http.get("/v1/data?prefix=") as response:
        assert list((await response.json())["keys"]) == ["a", "locks/a", 'locks/é"', "lock"]
    async with http.get("/v1/data?prefix=none") as response:
        assert await response.json() == {"revision": 4, "keys": {}}


async def test_a_document_that_is_no_object_has_no_prefixes(http: ClientSession) -> None:
    await http.put("/v1/data", data=b"[1]")
    async with http.get("/v1/data?prefix=a") as response:
        await problem(response, 409)
