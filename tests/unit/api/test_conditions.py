"""If-Match and If-None-Match, from a real client through loopback."""

import pytest
from aiohttp import ClientSession
from answered import problem
from node_of_one import NodeOfOne

from raftq_k8s.state.commands import Condition, Delete, Patch, Put, Replace, Transaction


@pytest.fixture(autouse=True)
async def two_keys(http: ClientSession, node: NodeOfOne) -> None:
    """`a` at revision 1 and `b` at revision 2."""
    await http.put("/v1/data/a", data=b"1")
    await http.put("/v1/data/b", data=b"2")
    node.submitted.clear()


async def test_a_write_happens_if_the_revision_is_still_that_one(http: ClientSession, node: NodeOfOne) -> None:
    async with http.put("/v1/data/a", data=b"3", headers={"If-Match": '"1"'}) as response:
        assert (response.status, await response.json()) == (200, {"revision": 3})
        assert response.headers["ETag"] == '"3"'
    async with http.delete("/v1/data/a", headers={"If-Match": '"3"'}) as response:
        assert (response.status, await response.json()) == (200, {"revision": 4})
    assert node.submitted == [
        Transaction((Condition("a", (1,)),), (Put("a", b"3"),)),
        Transaction((Condition("a", (3,)),), (Delete("a"),)),
    ]


@pytest.mark.parametrize("tags", ['"2"', '"12", "9"', '"11"'])
async def test_a_write_does_not_happen_if_somebody_was_quicker(http: ClientSession, node: NodeOfOne, tags: str) -> None:
    for method in "PUT", "DELETE":
        async with http.request(method, "/v1/data/a", data=b"3", headers={"If-Match": tags}) as response:
            refused = await problem(response, 412)
            assert refused["found"] == 1
            assert "1" in str(refused["detail"])
    assert node.document.whole()[0] == b'{"a":1,"b":2}'


async def test_any_of_several_revisions_will_do(http: ClientSession) -> None:
    async with http.put("/v1/data/a", data=b"3", headers={"If-Match": 'W/"7" , "x","9",\t"1" ,'}) as response:
        assert response.status == 200


async def test_header_lines_of_one_name_are_one_list(http: ClientSession) -> None:
    async with http.put("/v1/data/a", data=b"3", headers=[("If-Match", '"9"'), ("If-Match", '"1"')]) as response:
        assert response.status == 200


async def test_a_star_matches_what_is_there(http: ClientSession) -> None:
    async with http.put("/v1/data/a", data=b"3", headers={"If-Match": "*"}) as response:
        assert response.status == 200
    for method in "PUT", "DELETE":
        async with http.request(method, "/v1/data/c", data=b"3", headers={"If-Match": "*"}) as response:
            assert (await problem(response, 412))["found"] == 0


async def test_a_key_is_created_if_nobody_else_has_done_so(http: ClientSession) -> None:
    async with http.put("/v1/data/c", data=b"3", headers={"If-None-Match": "*"}) as response:
        assert response.status == 201
    async with http.put("/v1/data/c", data=b"4", headers={"If-None-Match": "*"}) as response:
        assert (await problem(response, 412))["found"] == 3


async def test_the_whole_is_changed_if_nobody_else_has_done_so(http: ClientSession, node: NodeOfOne) -> None:
    async with http.patch("/v1/data", data=b'{"a":null}', headers={"If-Match": '"2"'}) as response:
        assert (response.status, await response.json()) == (200, {"revision": 3})
    async with http.put("/v1/data", data=b"{}", headers={"If-Match": '"2"'}) as response:
        assert (await problem(response, 412))["found"] == 3
    async with http.put("/v1/data", data=b"{}", headers={"If-Match": "*"}) as response:
        assert response.status == 200
    assert node.submitted == [
        Transaction((Condition(None, (2,)),), (Patch(b'{"a":null}'),)),
        Transaction((Condition(None, (2,)),), (Replace(b"{}"),)),
        Transaction((Condition(None, None),), (Replace(b"{}"),)),
    ]


async def test_a_document_that_was_never_changed_is_known_by_its_tag(node: NodeOfOne, http: ClientSession) -> None:
    async with http.put("/v1/data", data=b"[]", headers={"If-Match": '"0"'}) as response:
        assert (await problem(response, 412))["found"] == 2


@pytest.mark.parametrize("tags", ['W/"1"', '"01"', '"x"', f'"{1 << 63}"', f'"{10**20}"', '"0"', '""', '"-1"'])
async def test_a_tag_that_no_answer_carried_never_matches(http: ClientSession, node: NodeOfOne, tags: str) -> None:
    async with http.put("/v1/data/a", data=b"3", headers={"If-Match": tags}) as response:
        await problem(response, 412)
    assert node.submitted == []


async def test_the_whole_cannot_be_created(http: ClientSession, node: NodeOfOne) -> None:
    async with http.put("/v1/data", data=b"3", headers={"If-None-Match": "*"}) as response:
        await problem(response, 412)
    assert node.submitted == []


@pytest.mark.parametrize(
    ("header", "value"),
    [("If-Match", "1"), ("If-Match", '"1'), ("If-Match", '"1""2"'), ("If-None-Match", '"1"'), ("If-Match", '*, "1"')],
)
async def test_a_condition_that_is_none_is_refused(
    http: ClientSession, node: NodeOfOne, header: str, value: str
) -> None:
    async with http.put("/v1/data/a", data=b"3", headers={header: value}) as response:
        await problem(response, 400)
    assert node.submitted == []


async def test_so_many_revisions_and_no_more(http: ClientSession) -> None:
    tags = ",".join(f'"{number}"' for number in range(1, 66))
    async with http.put("/v1/data/a", data=b"3", headers={"If-Match": tags}) as response:
        await problem(response, 400)
    async with http.put("/v1/data/a", data=b"3", headers={"If-Match": tags.rpartition(",")[0]}) as response:
        assert response.status == 200


@pytest.mark.parametrize("tags", ['"1"', 'W/"1"', '"7", "1"', "*"])
async def test_a_reader_is_not_sent_what_it_has(http: ClientSession, tags: str) -> None:
    async with http.get("/v1/data/a", headers={"If-None-Match": tags}) as response:
        assert (response.status, await response.read()) == (304, b"")
        assert response.headers["ETag"] == '"1"'
        assert "Content-Length" not in response.headers
    async with http.get("/v1/data/a", headers={"If-None-Match": '"2"'}) as response:
        assert (response.status, await response.read()) == (200, b"1")


async def test_a_reader_of_the_whole_is_not_sent_what_it_has(http: ClientSession) -> None:
    async with http.get("/v1/data", headers={"If-None-Match": '"2"'}) as response:
        assert (response.status, response.headers["ETag"]) == (304, '"2"')
    async with http.get("/v1/data?prefix=a", headers={"If-None-Match": '"1"'}) as response:
        assert response.status == 200


async def test_a_reader_that_wants_another_revision_is_told(http: ClientSession) -> None:
    async with http.get("/v1/data/a", headers={"If-Match": '"1"'}) as response:
        assert response.status == 200
    for tags in '"2"', 'W/"1"':
        async with http.get("/v1/data/a", headers={"If-Match": tags}) as response:
            assert (await problem(response, 412))["found"] == 1


async def test_a_key_that_is_not_there_is_404_whatever_is_asked_of_it(http: ClientSession) -> None:
    for header in "If-Match", "If-None-Match":
        async with http.get("/v1/data/c", headers={header: "*"}) as response:
            await problem(response, 404)
