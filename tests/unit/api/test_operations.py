"""What a person may ask of an agent, and what its application may say."""

import pytest
from aiohttp import ClientSession
from node_of_one import AgentOfOne

from raftq_k8s.api.json_bodies import LIMIT_BYTES
from raftq_k8s.api.views import ApplicationReport, OperationRefused


async def test_to_drain_is_answered_when_it_has_begun(http: ClientSession, agent: AgentOfOne) -> None:
    async with http.post("/v1/drain") as response:
        assert (response.status, await response.json()) == (202, {"draining": True})
    assert agent.asked == ["drain"]


@pytest.mark.parametrize(
    ("body", "asked", "cluster"),
    [
        ({"cluster": "raftq-7f3c"}, ("recover", "raftq-7f3c"), "raftq-91ab"),
        ({"join": "raftq-5555"}, ("join", "raftq-5555"), "raftq-5555"),
    ],
)
async def test_recovery_names_the_cluster_that_is_given_up_or_joined(
    http: ClientSession, agent: AgentOfOne, body: dict[str, str], asked: object, cluster: str
) -> None:
    async with http.post("/v1/recover", json=body) as response:
        assert (response.status, await response.json()) == (202, {"cluster": cluster})
    assert agent.asked == [asked]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{}", 422),
        (b'{"cluster":"a","join":"b"}', 422),
        (b'{"cluster":1}', 422),
        (b'{"cluster":"a","force":true}', 422),
        (b"[]", 422),
        (b"raftq", 400),
        (b'{"cluster":"\xff"}', 400),
        (b"[" * 10_000, 422),
        (b'"' + b"x" * LIMIT_BYTES + b'"', 413),
    ],
)
async def test_a_recovery_that_does_not_say_what_is_meant_does_nothing(
    http: ClientSession, agent: AgentOfOne, body: bytes, status: int
) -> None:
    async with http.post("/v1/recover", data=body) as response:
        assert response.status == status
        assert response.content_type == "application/problem+json"
    assert agent.asked == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/drain", None),
        ("POST", "/v1/recover", {"cluster": "raftq-7f3c"}),
        ("PUT", "/v1/application", {"state": "promoted", "term": 6}),
    ],
)
async def test_a_refusal_of_the_agent_is_told(
    http: ClientSession, agent: AgentOfOne, method: str, path: str, body: object
) -> None:
    agent.refusal = OperationRefused("a majority is there: nothing is to be recovered")
    async with http.request(method, path, json=body) as response:
        assert response.status == 409
        told = await response.json(content_type="application/problem+json")
        assert told["detail"] == "a majority is there: nothing is to be recovered"


async def test_an_application_is_told_what_it_is_to_do_and_tells_what_it_does(
    http: ClientSession, agent: AgentOfOne
) -> None:
    async with http.get("/v1/application") as response:
        told = await response.json()
    assert (told["wanted"], told["state"], told["term"], told["lease_left_ms"]) == ("running", "starting", 7, 4000.0)
    async with http.put("/v1/application", json={"state": "promoted", "term": 7}) as response:
        assert (await response.json())["state"] == "promoted"
    async with http.put("/v1/application", json={"healthy": False, "reason": "no disk"}) as response:
        assert response.status == 200
    assert agent.asked == [
        ApplicationReport(state="promoted", term=7),  # type: ignore[arg-type]
        ApplicationReport(healthy=False, reason="no disk"),
    ]


async def test_a_report_that_nobody_understands_is_refused(http: ClientSession, agent: AgentOfOne) -> None:
    async with http.put("/v1/application", json={"state": "running"}) as response:
        assert response.status == 422
    assert agent.asked == []
