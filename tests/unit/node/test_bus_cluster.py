"""Whole nodes over the bus: the core, the driver, the runtime and the codec together, in fake time."""

import asyncio

import pytest
from bus_cluster import BusCluster, followers
from fake_time import clock, run, until

from raftq_k8s import RaftRole
from raftq_k8s.node.errors import NoLeader, NotLeader, OutcomeUnknown, TooLarge
from raftq_k8s.state.commands import Applied, Put

ABC = ("a", "b", "c")


def test_three_nodes_are_born_elect_and_replicate() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        await cluster.nodes[leader].dispatch("replicateData", {"something": "shared, and available"})
        assert cluster.nodes[leader].get_data() == {"something": "shared, and available"}
        await until(
            lambda: all(raft.get_data() == {"something": "shared, and available"} for raft in cluster.nodes.values())
        )
        roles = sorted(raft.get_role() for raft in cluster.nodes.values())
        assert roles == [RaftRole.FOLLOWER, RaftRole.FOLLOWER, RaftRole.LEADER]
        assert len({raft.status().cluster for raft in cluster.nodes.values()}) == 1
        assert all(raft.status().caught_up for raft in cluster.nodes.values())
        await cluster.stop()

    run(scenario())


def test_a_node_alone_with_bootstrap_leads_itself() -> None:
    async def scenario() -> None:
        cluster = BusCluster("a")
        await cluster.start(founder="a")
        await cluster.leader()
        await cluster.nodes["a"].dispatch("replicateData", [1, 2])
        assert cluster.nodes["a"].get_data() == [1, 2]
        await cluster.stop()

    run(scenario())


def test_blank_nodes_without_bootstrap_wait_and_say_so() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start()
        before = clock()
        await until(lambda: clock() > before + 10_000)
        assert all(raft.get_leader() is None for raft in cluster.nodes.values())
        assert all("waiting" in (raft.status().waiting_for or "") for raft in cluster.nodes.values())
        assert any("waiting" in line for line in cluster.logs["a"])
        await cluster.stop()

    run(scenario())


def test_57_a_blank_node_that_the_record_does_not_name_is_added() -> None:
    """By whomever it knows: it asks, and is told who leads. Then it learns, and votes."""

    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        await cluster.nodes[leader].dispatch("replicateData", {"n": 1})
        newcomer = cluster.add("d")
        for member in ABC:
            await newcomer.dispatch("ackNode", {"id": member, "time": 1})
        await newcomer.dispatch("serviceStarted", {"node": {"id": "d", "time": 1}})
        await until(lambda: newcomer.get_data() == {"n": 1})
        assert newcomer.status().cluster == cluster.nodes["a"].status().cluster
        assert any("asking to be added to cluster" in line for line in cluster.logs["d"])
        await until(lambda: all(raft.status().voters == ("a", "b", "c", "d") for raft in cluster.nodes.values()))
        await cluster.stop()

    run(scenario())


def test_57_members_that_joined_by_others_find_each_other() -> None:
    """d and e know a alone, and nobody tells them of each other. Whoever leads then reaches both."""

    async def scenario() -> None:
        cluster = BusCluster("a")
        await cluster.start(founder="a")
        for name in "de":
            newcomer = cluster.add(name)
            await newcomer.dispatch("ackNode", {"id": "a", "time": 1})
            await newcomer.dispatch("serviceStarted", {"node": {"id": name, "time": 1}})
        await until(lambda: all(raft.status().voters == ("a", "d", "e") for raft in cluster.nodes.values()))
        await cluster.crash("a")
        leader = await cluster.leader()
        assert leader in "de"
        await cluster.nodes[leader].dispatch("replicateData", {"n": 1})
        await until(lambda: all(raft.get_data() == {"n": 1} for raft in cluster.nodes.values()))
        await cluster.stop()

    run(scenario())


def test_60_whoever_leaves_for_good_is_removed_and_stops() -> None:
    """The application tells every node of it, as it tells of everything; whoever leads acts."""

    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        gone, stays = followers(cluster, leader)
        for raft in cluster.nodes.values():
            await raft.dispatch("ackNode", {"id": gone, "time": 0, "leave": True})
        await until(lambda: gone not in cluster.nodes[leader].status().voters)
        await until(lambda: (cluster.nodes[gone].status().waiting_for or "").startswith("this process takes no part"))
        await cluster.nodes[leader].dispatch("replicateData", {"n": 1})
        await until(lambda: cluster.nodes[stays].get_data() == {"n": 1})
        assert cluster.nodes[gone].get_leader() is None
        await cluster.stop()

    run(scenario())


def test_35_a_leader_that_leaves_is_followed_by_another() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        await cluster.nodes[leader].dispatch("ackNode", {"id": leader, "time": 0, "leave": True})
        rest = [cluster.nodes[name] for name in followers(cluster, leader)]
        await until(lambda: all(raft.get_leader() not in (None, leader) for raft in rest))
        assert {raft.status().voters for raft in rest} == {tuple(sorted(set(ABC) - {leader}))}
        await until(lambda: "was removed" in (cluster.nodes[leader].status().waiting_for or ""))
        await cluster.stop()

    run(scenario())


def test_a_member_that_does_not_lead_asks_to_leave() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        gone = followers(cluster, leader)[0]
        await cluster.nodes[gone].dispatch("ackNode", {"id": gone, "time": 0, "leave": True})
        await until(lambda: gone not in cluster.nodes[leader].status().voters)
        await cluster.stop()

    run(scenario())


def test_61_a_member_that_lost_its_volume_is_replaced_when_it_was_silent() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        lost = followers(cluster, leader)[0]
        await cluster.nodes[leader].dispatch("replicateData", {"n": 1})
        await cluster.crash(lost)
        cluster.add(lost)
        await cluster.nodes[lost].dispatch("ackNode", {"id": leader, "time": 1})
        await cluster.nodes[lost].dispatch("serviceStarted", {"node": {"id": lost, "time": 1}})
        await until(lambda: "was heard within 10000 ms" in (cluster.nodes[lost].status().waiting_for or ""))
        await until(lambda: cluster.nodes[lost].get_data() == {"n": 1})
        await until(lambda: set(cluster.nodes[leader].status().voters) == set(ABC))
        await cluster.stop()

    run(scenario())


def test_when_the_leader_dies_another_one_leads_and_keeps_the_data() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="b")
        first = await cluster.leader()
        await cluster.nodes[first].dispatch("replicateData", {"n": 1})
        await cluster.crash(first)
        second = await cluster.leader()
        assert second != first
        assert cluster.nodes[second].get_data() == {"n": 1}
        await cluster.nodes[second].dispatch("replicateData", {"n": 2})
        await cluster.restart(first)
        await until(lambda: cluster.nodes[first].get_data() == {"n": 2})
        await cluster.stop()

    run(scenario())


def test_full_restart_keeps_the_data() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        await cluster.nodes[leader].dispatch("replicateData", {"kept": True})
        term = cluster.nodes[leader].standing().term
        for member in ABC:
            await cluster.crash(member)
        for member in ABC:
            await cluster.restart(member)  # nobody is acknowledged again: the members are known from the record
        leader = await cluster.leader()
        await until(lambda: all(raft.get_data() == {"kept": True} for raft in cluster.nodes.values()))
        assert cluster.nodes[leader].standing().term > term
        await cluster.stop()

    run(scenario())


def test_replicate_data_on_a_follower_names_the_leader() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        with pytest.raises(NotLeader) as refused:
            await cluster.nodes[followers(cluster, leader)[0]].dispatch("replicateData", {})
        assert refused.value.leader == leader
        await cluster.stop()

    run(scenario())


def test_a_follower_forwards_what_is_submitted_to_it() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        follower = cluster.nodes[followers(cluster, leader)[0]]
        await until(lambda: leader in follower.status().connected)
        result = await follower.submit(Put("colour", b'"red"'), timeout_s=2)
        assert isinstance(result, Applied)
        assert cluster.nodes[leader].document.get("colour") == (b'"red"', result.revision)
        assert follower.status().proposals == {"applied": 1, "refused": 0, "unknown": 0}
        await cluster.stop()

    run(scenario())


def test_submitted_before_anybody_leads_it_waits_for_a_leader() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        assert isinstance(await cluster.nodes["c"].submit(Put("early", b"1"), timeout_s=10), Applied)
        await cluster.stop()

    run(scenario())


def test_without_a_majority_a_follower_says_no_leader_and_nothing_was_done() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        for member in [leader, followers(cluster, leader)[0]]:
            await cluster.crash(member)
        last = next(iter(cluster.nodes.values()))
        await until(lambda: last.get_leader() is None)
        with pytest.raises(NoLeader):
            await last.submit(Put("k", b"1"), timeout_s=1)
        await cluster.stop()

    run(scenario())


def test_a_leader_cut_off_steps_down_and_does_not_know_what_became_of_its_command() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        cluster.cut.add(leader)
        with pytest.raises(OutcomeUnknown):
            await cluster.nodes[leader].submit(Put("k", b"1"), timeout_s=5)
        assert cluster.nodes[leader].get_leader() is None
        await cluster.stop()

    run(scenario())


def test_a_proposal_that_another_leader_overwrote_is_provably_lost() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        old = await cluster.leader()
        cluster.cut.add(old)
        attempt = asyncio.ensure_future(cluster.nodes[old].dispatch("replicateData", {"lost": True}))
        new = await cluster.leader()
        await cluster.nodes[new].dispatch("replicateData", {"won": True})
        cluster.cut.clear()
        with pytest.raises(NotLeader):
            await attempt
        await until(lambda: cluster.nodes[old].get_data() == {"won": True})
        await cluster.stop()

    run(scenario())


def test_no_message_is_longer_than_allowed_and_larger_commands_are_refused() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC, max_message_bytes=8192)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        raft = cluster.nodes[leader]
        straggler = followers(cluster, leader)[0]
        cluster.cut.add(straggler)
        for number in range(40):
            await raft.submit(Put(f"key-{number}", b'"' + b"x" * (50 * number) + b'"'), timeout_s=5)
        largest = b'"' + b"y" * 5300 + b'"'
        await raft.submit(Put("largest", largest), timeout_s=5)
        with pytest.raises(TooLarge):
            await raft.submit(Put("larger", b'"' + b"y" * 5400 + b'"'), timeout_s=5)
        cluster.cut.clear()
        await until(lambda: cluster.nodes[straggler].document.get("largest") is not None)
        assert 7000 < cluster.longest <= 8192
        await cluster.stop()

    run(scenario())


def test_away_means_no_dialling_and_no_smaller_quorum() -> None:
    async def scenario() -> None:
        cluster = BusCluster(*ABC)
        await cluster.start(founder="a")
        leader = await cluster.leader()
        gone, left = followers(cluster, leader)
        await cluster.crash(gone)
        await cluster.nodes[leader].dispatch("ackNode", {"id": gone, "time": 0})
        assert [node.id for node in cluster.nodes[leader].get_followers()] == [left]
        assert gone not in cluster.nodes[leader].status().connected
        assert set(cluster.nodes[leader].status().voters) == set(ABC)
        await cluster.crash(left)
        await until(lambda: cluster.nodes[leader].get_leader() is None)  # it does not shrink to a cluster of one
        await cluster.stop()

    run(scenario())
