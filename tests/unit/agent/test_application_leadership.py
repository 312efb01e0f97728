"""Members are asked over HTTP whether their cluster is led: only a leader with a quorum says yes."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from raftq_k8s.agent.leadership import is_led
from raftq_k8s.raft.types import ClusterId

HERE = ClusterId("7f3c")


@pytest.mark.parametrize(
    ("told", "led"),
    [
        ({"cluster": HERE, "established": True, "quorum_left_ms": 200.0, "more": 1}, True),
        ({"cluster": HERE, "established": True, "quorum_left_ms": 0.0}, False),
        ({"cluster": HERE, "established": False, "quorum_left_ms": 200.0}, False),
        ({"cluster": "other", "established": True, "quorum_left_ms": 200.0}, False),
        ({"problem": "no token"}, False),
    ],
)
async def test_only_a_leader_of_that_cluster_with_a_quorum_counts(told: dict[str, object], led: bool) -> None:
    async def status(request: web.Request) -> web.Response:
        return web.json_response(told)

    app = web.Application()
    app.router.add_get("/v1/status", status)
    async with TestServer(app, host="127.0.0.1") as server:
        nobody = "127.0.0.1:1"
        assert await is_led(HERE, (nobody, f"127.0.0.1:{server.port}")) is led


async def test_where_nobody_answers_nobody_leads() -> None:
    assert await is_led(HERE, ("127.0.0.1:1",)) is False
    assert await is_led(HERE, ()) is False
