"""Real nodes and sockets, whose births a ConfigMap witnesses."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from fake_kube_api import FakeKubeApi

from raftq_k8s import Raftq, RaftqOptions
from raftq_k8s.agent.before_the_start import Recovered
from raftq_k8s.agent.witness import WitnessedNode
from raftq_k8s.kube.client import ApiClient, ApiConfig
from raftq_k8s.kube.label import Workload
from raftq_k8s.kube.witness_keeper import Times, WitnessKeeper
from raftq_k8s.raft.birth import BirthRule
from raftq_k8s.raft.types import ClusterId, MemberId
from raftq_k8s.storage.memory import MemoryVolume
from raftq_k8s.transport.websocket import WebsocketTransport

NAMES = tuple(MemberId(f"raftq-{ordinal}") for ordinal in range(3))
HEEDED = BirthRule(NAMES, NAMES[0], witness="heeded")
DECIDES = BirthRule(NAMES, None, witness="decides")
WITNESS = "raftq-birth"
LONGEST_ELECTION = 400.0


class Nodes:
    """They forget everything when they stop, as if their volumes were lost."""

    def __init__(self, api: FakeKubeApi, rule: BirthRule) -> None:
        self._api = api
        self._rule = rule
        self.running: dict[MemberId, Raftq] = {}
        self._transports: dict[MemberId, WebsocketTransport] = {}
        self._keepers: dict[MemberId, tuple[ApiClient, asyncio.Task[None]]] = {}

    async def start(self, *names: MemberId) -> None:
        for name in names:
            transport = self._transports[name] = WebsocketTransport(name, "127.0.0.1", 0)
            node = self.running[name] = Raftq(
                RaftqOptions(heartbeat=50, minimum_election_time=200, maximum_election_time=LONGEST_ELECTION),
                volume=MemoryVolume(name),
                transport=transport,
                birth=self._rule,
            )
            await node.dispatch("serviceStarted", {"node": {"id": name, "time": 1}})
            for other in self.running:
                self._transports[other].sighted(name, "127.0.0.1", transport.port)
                transport.sighted(other, "127.0.0.1", self._transports[other].port)
            client = ApiClient(ApiConfig(self._api.url, "test"))
            keeper = WitnessKeeper(
                client,
                WitnessedNode(node, LONGEST_ELECTION, Recovered(ClusterId("another"), out_of=ClusterId("and another"))),
                self._rule,
                Workload("raftq", "app=raftq"),
                lambda cluster: None,
                times=Times(poll=0.01, settle=0.0, look=0.05),
            )
            self._keepers[name] = client, asyncio.create_task(keeper.run())

    async def stop(self) -> None:
        for client, task in self._keepers.values():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await client.close()
        self._keepers.clear()
        for node in self.running.values():
            await node.destroy()
        self.running.clear()

    def leader(self) -> MemberId | None:
        return next((name for name, node in self.running.items() if node.standing().established), None)

    def clusters(self) -> set[ClusterId | None]:
        return {node.status().cluster for node in self.running.values()}

    def waiting_for(self) -> set[str]:
        return {node.status().waiting_for or "" for node in self.running.values()}


@pytest.fixture
async def api() -> AsyncIterator[FakeKubeApi]:
    async with FakeKubeApi() as fake:
        fake.create_config_map(WITNESS)
        yield fake


def data(api: FakeKubeApi) -> dict[str, str]:
    found: dict[str, str] = api.config_maps[WITNESS].get("data", {})
    return found


async def test_51_a_majority_is_born_as_one_cluster_and_the_rest_joins_it(api: FakeKubeApi) -> None:
    nodes = Nodes(api, DECIDES)
    try:
        await nodes.start(NAMES[2], NAMES[1])
        await api.until(nodes.leader, 20)
        assert nodes.clusters() == {data(api)["cluster"]}
        await nodes.start(NAMES[0])
        await api.until(lambda: len(nodes.running[NAMES[0]].status().voters) == 3, 20)
        assert nodes.clusters() == {data(api)["cluster"]}
    finally:
        await nodes.stop()


@pytest.mark.parametrize("rule", [HEEDED, DECIDES])
async def test_when_all_volumes_are_lost_a_person_decides_and_terms_go_on(api: FakeKubeApi, rule: BirthRule) -> None:
    nodes = Nodes(api, rule)
    try:
        await nodes.start(*NAMES)
        await api.until(lambda: nodes.leader() and "term" in data(api), 20)
        await nodes.stop()
        api.config_maps[WITNESS]["data"]["term"] = "500"
        lost = data(api)["cluster"]
        await nodes.start(*NAMES)
        await api.until(lambda: all(f"names cluster {lost}, but" in each for each in nodes.waiting_for()), 20)
        assert nodes.clusters() == {None}
        api.config_maps[WITNESS]["data"].pop("cluster")
        api.config_maps[WITNESS]["metadata"]["resourceVersion"] = "9999"
        await api.until(nodes.leader, 20)
        assert {lost, None} & nodes.clusters() == set()
        leader = nodes.leader()
        assert leader is not None
        assert nodes.running[leader].status().term > 500
        await api.until(lambda: data(api).get("cluster") == nodes.running[leader].status().cluster, 20)
    finally:
        await nodes.stop()
