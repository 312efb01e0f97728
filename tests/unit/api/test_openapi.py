"""The document that describes the face: it names everything there is, and the face answers as it says."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from aiohttp import ClientSession
from hypothesis import HealthCheck, Phase, given, settings
from node_of_one import AgentOfOne, NodeOfOne
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks

from raftq_k8s.api.authorization import Guard, TokenFile
from raftq_k8s.api.described import DESCRIBED
from raftq_k8s.api.server import HttpFace
from raftq_k8s.node.options import RaftqOptions
from raftq_k8s.node.raftq import Raftq
from raftq_k8s.raft.types import MemberId
from raftq_k8s.storage.memory import MemoryVolume

load_all_checks()
STREAMS = ["/v1/events", "/v1/leader/events"]
"""They have no end to wait for."""

FINE = ["2xx", "3xx", 404, 409, 412, 422]
"""A well-formed request may name what is not there, ask for what does not hold, or say again what was another write."""

REFUSED = ["4xx"]  # whatever is wrong with it: nothing of what its schema forbids is taken


class Served:
    """A face on a loop of its own, for a client that blocks."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._face = self._call(self._started())
        self.url = f"http://127.0.0.1:{self._face.port}"

    def _call(self, work):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _started(self) -> HttpFace:
        me = MemberId("raftq-0")
        self._raftq = Raftq(RaftqOptions(bootstrap=True), volume=MemoryVolume(me), http_address="127.0.0.1:9")
        await self._raftq.dispatch("serviceStarted", {"node": {"id": me, "time": 1}})
        standing = self._raftq.standing()
        while not standing.established:
            standing = await self._raftq.next_standing(standing)
        agent = AgentOfOne()
        face = HttpFace(self._raftq, "127.0.0.1", 0, version="9.9.9", operations=agent, application=agent)
        await face.start()
        return face

    async def _ended(self) -> None:
        await self._face.close()
        await self._raftq.destroy()

    def close(self) -> None:
        self._call(self._ended())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.close()


WRONG = [(route, GenerationMode.NEGATIVE) for route, told in DESCRIBED.items() if told.parameters or told.body]
RIGHT = [(route, GenerationMode.POSITIVE) for route in DESCRIBED]


@pytest.mark.parametrize(
    ("method", "path", "mode"), [(*route, mode) for route, mode in RIGHT + WRONG if route[1] not in STREAMS]
)
def test_the_face_answers_as_its_document_says(served: Served, method: str, path: str, mode: GenerationMode) -> None:
    config = schemathesis.Config.from_dict(
        {
            "checks": {
                "positive_data_acceptance": {"expected-statuses": FINE},
                "negative_data_rejection": {"expected-statuses": REFUSED},
            }
        }
    )
    api = schemathesis.openapi.from_url(f"{served.url}/v1/openapi.json", config=config)

    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    def answers(case: schemathesis.Case) -> None:
        case.call_and_validate()

    answers()


async def test_the_document_names_every_route_and_no_other(http: ClientSession, face: HttpFace) -> None:
    async with http.get("/v1/openapi.json") as response:
        told = await response.json()
    named = {(method.upper(), path) for path, methods in told["paths"].items() for method in methods}
    assert named == {(route.method, route.path) for route in face.table.routes} == set(DESCRIBED)


async def test_the_document_says_what_asks_for_a_token(node: NodeOfOne, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("open-sesame")
    for guard, path, method, asks in (
        (Guard(), "/v1/data", "put", False),
        (Guard(TokenFile(token)), "/v1/data", "put", True),
        (Guard(TokenFile(token)), "/v1/data", "get", False),
        (Guard(TokenFile(token), guard_reads=True), "/v1/data", "get", True),
    ):
        face = HttpFace(node, "127.0.0.1", 0, version="9.9.9", guard=guard)
        await face.start()
        async with (
            ClientSession(f"http://127.0.0.1:{face.port}", headers={"Authorization": "Bearer open-sesame"}) as http,
            http.get("/v1/openapi.json") as response,
        ):
            told = await response.json()
        assert ("security" in told["paths"][path][method]) == asks
        await face.close()
