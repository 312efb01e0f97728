"""An agent beside a Kubernetes API: what it does to its own label at its start, when it is elected, and at its end.

The keeper of the label has its own tests; here it is put together with everything else. The API is a small one of a
single pod, in this process.
"""

import asyncio
import logging
import socket

import msgspec
import pytest
from aiohttp import ClientSession, web

from raftq_k8s.agent import composition
from raftq_k8s.agent.composition import Agent
from raftq_k8s.agent.logs import Place
from raftq_k8s.agent.settings import Settings, plan
from raftq_k8s.cli.local_cluster import free_ports
from raftq_k8s.kube.client import ApiClient, ApiConfig


class OnePod:
    """The pod raftq-0, which a former life left labelled. `log` holds its label after each write."""

    def __init__(self):
        self.labels = {"app": "raftq", "role": "leader"}
        self.annotations = {}
        self.version = 1
        self.log = []
        self.thawed = asyncio.Event()
        self.thawed.set()

    def shown(self):
        owner = {"kind": "StatefulSet", "name": "raftq", "controller": True, "apiVersion": "apps/v1", "uid": "owner"}
        return {
            "metadata": {
                "name": "raftq-0",
                "uid": "uid-0",
                "resourceVersion": str(self.version),
                "labels": self.labels,
                "annotations": self.annotations,
                "ownerReferences": [owner],
            }
        }

    async def answer(self, request):
        await self.thawed.wait()
        if "/configmaps/" in request.path:
            return web.json_response({"message": "no witness of births here"}, status=404)
        if request.method == "PATCH":
            patch = (await request.json())["metadata"]
            assert patch["uid"] == "uid-0"
            if patch["resourceVersion"] != str(self.version):
                return web.json_response({"message": "conflict"}, status=409)
            for held, change in (
                (self.labels, patch.get("labels", {})),
                (self.annotations, patch.get("annotations", {})),
            ):
                held |= change
                for key in [key for key, value in held.items() if value is None]:
                    del held[key]
            self.version += 1
            self.log.append(self.labels.get("role"))
        return web.json_response(self.shown() if request.path.endswith("raftq-0") else {"items": [self.shown()]})


@pytest.fixture
async def pod(monkeypatch):
    pod = OnePod()
    runner = web.ServerRunner(web.Server(pod.answer), shutdown_timeout=0.01)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        await web.SockSite(runner, listening).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setattr(composition, "_api", lambda plan: ApiClient(ApiConfig(url, "test")))
        yield pod
        pod.thawed.set()
        await runner.cleanup()


@pytest.fixture
async def settings(tmp_path):
    raft_port, http_port = free_ports(2)
    return Settings(
        name="raftq-0",
        peers=f"raftq-0=127.0.0.1:{raft_port}",
        data=str(tmp_path),
        raft_host="127.0.0.1",
        raft_port=raft_port,
        http_host="127.0.0.1",
        http_port=http_port,
        pod_selector="app=raftq",
        pod_uid="uid-0",
        endpoint_settle_ms=0,
    )


@pytest.fixture
async def agent(settings, pod):
    agent = Agent(plan(settings))
    yield agent
    await agent.close()


@pytest.fixture
async def agent_with_application(settings, pod):
    """Its application reports by HTTP; for as long as a former one may run, a second, it waits."""
    beside = {"application_signal": "put", "application_stop_timeout_ms": 1000.0}
    agent = Agent(plan(msgspec.structs.replace(settings, **beside)))
    yield agent
    await agent.close()


async def until(condition, within_s=5.0):
    async with asyncio.timeout(within_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def test_an_agent_sheds_an_old_label_wears_its_own_and_takes_it_off_at_its_end(agent, pod):
    await agent.start(Place("raftq-0"))
    assert pod.log[0] != "leader"  # before Raft started
    await until(lambda: pod.labels.get("role") == "leader")
    assert pod.annotations["raftq.io/term"] == "1"
    await agent.leave("the test is over")
    assert pod.labels.get("role") != "leader"


async def test_a_frozen_api_holds_up_neither_start_nor_end_and_a_birth_for_a_bounded_time_only(agent, pod):
    pod.thawed.clear()
    place = Place("raftq-0")
    async with asyncio.timeout(4):
        await agent.start(place)
    await until(lambda: place_of(place)[1] == "leader", within_s=20.0)  # so long a birth asks for its witness
    async with asyncio.timeout(3):
        await agent.leave("the test is over")


async def test_with_an_application_the_label_waits_until_it_serves_and_goes_as_soon_as_it_is_told_to_stop(
    agent_with_application, settings, pod
):
    agent, face = agent_with_application, f"http://127.0.0.1:{settings.http_port}"
    await agent.start(Place("raftq-0"))
    async with ClientSession(face) as http:

        async def state():
            async with http.get("/v1/application") as answer:
                return await answer.json()

        async with asyncio.timeout(10):
            shown = await state()
            while shown["state"] != "starting":
                await asyncio.sleep(0.02)
                shown = await state()
        assert "leader" not in pod.log
        async with http.put("/v1/application", json={"state": "promoted", "term": shown["term"]}) as answer:
            assert answer.status == 200
        await until(lambda: pod.labels.get("role") == "leader")
        leaving = asyncio.create_task(agent.leave("the test is over"))
        await until(lambda: pod.labels.get("role") != "leader")
        shown = await state()
        assert shown["state"] == "stopping"  # the label has gone, and the application is still there
        async with http.put("/v1/application", json={"state": "stopped", "term": shown["term"]}) as answer:
            assert answer.status == 200
        await leaving


def place_of(place):
    record = logging.makeLogRecord({})
    place.filter(record)
    return record.term, record.role


async def test_an_agent_a_part_of_which_crashes_says_so_and_ends(agent, pod, monkeypatch):
    async def crash(_):
        raise RuntimeError("a bug in discovery")

    monkeypatch.setattr(composition.Reconciliation, "run", crash)
    await agent.start(Place("raftq-0"))
    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match="a bug in discovery"):
            await agent.failed()
