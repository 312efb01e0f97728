"""Several changes at once, from a real client through loopback."""

import json

import pytest
from aiohttp import ClientSession
from answered import problem
from node_of_one import NodeOfOne

from raftq_k8s.state.commands import MANY, Condition, Delete, Patch, Put, Replace, Transaction


async def test_all_of_it_happens_with_one_revision(http: ClientSession, node: NodeOfOne) -> None:
    await http.put("/v1/data/a", data=b"1")
    asked = (
        b'{"if": [{"key": "a", "revision": 1}, {"key": "b", "exists": false}, {"key": "a", "exists": true},'
        b' {"revision": 1}, {"key": null, "exists": true}],'
        b' "do": [{"put": "b", "value": {"n" : 1.10}}, {"delete": "a"}, {"patch": {"c": 1}}, {"delete": "x"}]}'
    )
    async with http.post("/v1/transactions", data=asked) as response:
        assert (response.status, await response.json()) == (200, {"revision": 2, "existed": [False, True, True, False]})
        assert response.headers["X-Raftq-Leader"] == "raftq-0"
    async with http.get("/v1/data?prefix=") as response:
        assert await response.read() == (
            b'{"revision":2,"keys":{"b":{"revision":2,"value":{"n" : 1.10}},"c":{"revision":2,"value":1}}}'
        )
    assert node.submitted[1] == Transaction(
        (
            Condition("a", (1,)),
            Condition("b", (0,)),
            Condition("a", None),
            Condition(None, (1,)),
            Condition(None, None),
        ),
        (Put("b", b'{"n" : 1.10}'), Delete("a"), Patch(b'{"c": 1}'), Delete("x")),
    )


async def test_nothing_happens_where_a_condition_does_not_hold(http: ClientSession, node: NodeOfOne) -> None:
    await http.put("/v1/data/a", data=b"1")
    asked = {"if": [{"key": "b", "revision": 0}, {"key": "a", "revision": 9}], "do": [{"put": "b", "value": 2}]}
    async with http.post("/v1/transactions", json=asked) as response:
        refused = await problem(response, 412)
        assert (refused["condition"], refused["found"], refused["revision"]) == (1, 1, 2)
    assert node.document.whole()[0] == b'{"a":1}'


async def test_the_whole_is_replaced_within_a_transaction(http: ClientSession, node: NodeOfOne) -> None:
    async with http.post("/v1/transactions", data=b'{"do": [{"replace": [ 1 ]}]}') as response:
        assert await response.json() == {"revision": 1, "existed": [True]}
    async with http.post("/v1/transactions", data=b'{"do": [{"put": "a", "value": 1}]}') as response:
        await problem(response, 409)
    assert node.submitted[0] == Transaction((), (Replace(b"[ 1 ]"),))


async def test_null_is_a_value_like_others(http: ClientSession, node: NodeOfOne) -> None:
    async with http.post("/v1/transactions", data=b'{"do": [{"put": "a", "value": null}]}') as response:
        assert response.status == 200
    assert node.submitted == [Transaction((), (Put("a", b"null"),))]


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"do": [{"put": "a", "value": 1e999}]}', b'{"do": [{"put": "a", "value"']
)
async def test_what_is_not_json_is_refused(http: ClientSession, node: NodeOfOne, body: bytes) -> None:
    async with http.post("/v1/transactions", data=body) as response:
        assert "not-json" in str((await problem(response, 400))["type"])
    assert node.submitted == []


@pytest.mark.parametrize(
    "asked",
    [
        [],
        {},
        {"do": [{}]},
        {"do": [{"put": "a"}]},
        {"do": [{"value": 1}]},
        {"do": [{"put": "a", "value": 1, "delete": "a"}]},
        {"do": [{"delete": "a", "value": 1}]},
        {"do": [{"delete": "a", "patch": {}}]},
        {"do": [{"put": 1, "value": 1}]},
        {"do": [{"drop": "a"}]},
        {"do": [], "else": []},
        {"do": [{"delete": ""}]},
        {"do": [{"delete": "é" * 257}]},
        {"do": [], "if": [{"key": "a"}]},
        {"do": [], "if": [{"key": "a", "revision": 1, "exists": True}]},
        {"do": [], "if": [{"key": "a", "revision": -1}]},
        {"do": [], "if": [{"key": "a", "revision": "1"}]},
        {"do": [], "if": [{"key": "", "revision": 1}]},
        {"do": [], "if": [{"exists": False}]},
        {"do": [], "if": [{"revision": 1, "was": 1}]},
    ],
)
async def test_what_is_no_transaction_is_refused(http: ClientSession, node: NodeOfOne, asked: object) -> None:
    async with http.post("/v1/transactions", data=json.dumps(asked)) as response:
        await problem(response, 422)
    assert node.submitted == []


@pytest.mark.parametrize("part", ["if", "do"])
async def test_so_many_steps_and_no_more(http: ClientSession, part: str) -> None:
    step = {"if": {"key": "a", "exists": False}, "do": {"delete": "a"}}[part]
    async with http.post("/v1/transactions", json={"do": []} | {part: MANY * [step]}) as response:
        assert response.status == 200
    async with http.post("/v1/transactions", json={"do": []} | {part: (MANY + 1) * [step]}) as response:
        await problem(response, 413)


async def test_values_nest_no_deeper_than_elsewhere(http: ClientSession, node: NodeOfOne) -> None:
    deep = b"[" * 101 + b"]" * 101
    for operation in b'{"put": "a", "value": %s}', b'{"patch": {"a": %s}}', b'{"replace": {"a": %s}}':
        async with http.post("/v1/transactions", data=b'{"do": [%s]}' % (operation % deep)) as response:
            await problem(response, 400)
        async with http.post("/v1/transactions", data=b'{"do": [%s]}' % (operation % deep[1:-1])) as response:
            assert response.status == 200
