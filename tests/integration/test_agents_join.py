"""A fourth agent beside three voters: it joins, learns, and takes the place of one that died."""

import json

from raftq_k8s.cli.local_cluster import LocalCluster

OF_WHOM_THREE_VOTE = (
    *("--profile", "fast", "--birth-replicas", "3"),
    *("--max-voters", "3", "--replace-dead-after-s", "2"),
)


async def test_a_member_beyond_those_of_the_birth_learns_and_replaces_a_dead_voter_unless_paused(tmp_path):
    async with LocalCluster(tmp_path, members=4, arguments=OF_WHOM_THREE_VOTE) as cluster:
        leader = await cluster.leader()

        async def voters():
            status = await leader.status()
            return status.voters if status is not None else ()

        async def fourth_learns():
            return (await leader.status()).learners == ("raftq-3",)

        await cluster.until(fourth_learns, "the fourth to learn", 15.0)
        assert await voters() == ("raftq-0", "raftq-1", "raftq-2")

        dead = next(agent for agent in cluster.agents[:3] if agent is not leader)
        connection = leader.connection()
        paused = await connection.request("POST", "/v1/pause", b'{"reason": "new disks"}', timeout_s=8.0)
        assert paused.status in (200, 201, 204), paused.body
        await cluster.kill(dead)

        async def silent_for_long():
            heard = {member["name"]: member["heard_ms"] for member in await members(leader)}
            return heard[dead.name] is not None and heard[dead.name] > 3000

        await cluster.until(silent_for_long, "the dead voter to be silent for long", 15.0)
        assert dead.name in await voters()
        await connection.request("DELETE", "/v1/pause", timeout_s=8.0)
        connection.close()

        async def replaced():
            now = await voters()
            return dead.name not in now and "raftq-3" in now and len(now) == 3

        await cluster.until(replaced, "the fourth to take its place", 15.0)


async def members(agent):
    answer = await agent.get("/v1/members")
    assert answer.status == 200, answer.body
    return json.loads(answer.body)["members"]
