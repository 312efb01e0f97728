"""Reads, and leadership handed over, where nothing but the four channels of the contract connects the nodes."""

import pytest
from bus_cluster import BusCluster, followers
from fake_time import run, until

from raftq_k8s.node.errors import NoLeader, NotStarted
from raftq_k8s.node.runtime import Runtime

ABC = ("a", "b", "c")


def runtime(cluster: BusCluster, member: str) -> Runtime:
    found = cluster.nodes[member]._runtime
    assert found is not None
    return found


def test_a_follower_reads_what_was_acknowledged_before() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        follower = followers(cluster, leader)[0]
        for number in range(5):
            await cluster.nodes[leader].dispatch("replicateData", {"n": number})
            await cluster.nodes[follower].read(5.0)
            assert cluster.nodes[follower].get_data() == {"n": number}
        await cluster.stop()

    run(scenario())


def test_a_leased_read_is_answered_everywhere_and_at_once_by_whoever_holds_the_lease() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        await until(lambda: cluster.nodes[leader].status().lease_left_ms > 0)
        await cluster.nodes[leader].dispatch("replicateData", {"n": 1})
        with pytest.raises(StopIteration):
            cluster.nodes[leader].leased_read(5.0).send(None)
        follower = followers(cluster, leader)[0]
        await cluster.nodes[follower].leased_read(5.0)
        assert cluster.nodes[follower].get_data() == {"n": 1}
        await cluster.stop()
        with pytest.raises(NotStarted):
            await cluster.nodes[leader].leased_read(1.0)

    run(scenario())


def test_a_read_without_a_majority_ends_as_no_leader() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        cluster.cut = {leader}
        with pytest.raises(NoLeader):
            await runtime(cluster, leader).read(1.0)
        reader = runtime(cluster, leader)
        await cluster.stop()
        with pytest.raises(NotStarted):
            await reader.read(1.0)

    run(scenario())


def test_a_leader_that_goes_away_hands_over_and_nothing_is_lost() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        first = await cluster.leader()
        await cluster.nodes[first].dispatch("replicateData", {"n": 1})
        term = cluster.nodes[first].standing().term
        await until(lambda: set(cluster.nodes[first].status().connected) == set(ABC) - {first})
        await cluster.nodes[first].dispatch("ackNode", {"id": first, "time": 0})
        await until(lambda: cluster.nodes[first].get_leader() not in (None, first))
        second = await cluster.leader()
        assert second != first
        assert cluster.nodes[second].standing().term == term + 1, "nobody had to notice that anybody is gone"
        assert cluster.nodes[second].get_data() == {"n": 1}
        await cluster.stop()

    run(scenario())


def test_who_does_not_lead_has_nothing_to_hand_over() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        follower = followers(cluster, leader)[0]
        term = cluster.nodes[leader].standing().term
        await cluster.nodes[follower].dispatch("ackNode", {"id": follower, "time": 0})
        await runtime(cluster, follower).read(1.0)
        assert cluster.nodes[leader].standing().term == term
        await cluster.stop()

    run(scenario())
