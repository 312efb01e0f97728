"""Agents that are asked to stop while clients are at work: the leadership moves first, and nobody notices."""

import asyncio
import json
import time

from raftq_k8s.cli.at_most_once import Unanswered, Unsent
from raftq_k8s.cli.local_cluster import LocalCluster

SETTLE = ("--profile", "fast", "--endpoint-settle-ms", "400", "--quorum-wait-ms", "5000")


class Clients:
    """Each puts one after the other, on a connection that it keeps as long as it may. One that finds a closed door goes
    to the next, as a client of a Service does; everything else that is no success is kept as a failure."""

    def __init__(self, agents, count):
        self.done = []
        self.failures = []
        self._agents = agents
        self._tasks = [asyncio.create_task(self._write(number)) for number in range(count)]

    async def _write(self, number):
        turn, sequence = number, 0
        while True:
            agent = self._agents[turn % len(self._agents)]
            connection = agent.connection()
            try:
                while True:
                    sequence += 1
                    answer = await connection.request("PUT", f"/v1/data/{number}-{sequence}", b"1", timeout_s=8.0)
                    if answer.status == 201:
                        self.done.append(time.monotonic())
                    else:
                        self.failures.append(f"{agent.name}: {answer.status} {answer.body!r}")
                    if answer.headers.get("connection", "").lower() == "close":
                        break
            except Unsent:
                pass
            except Unanswered as error:
                self.failures.append(f"{agent.name}: {error}")
            finally:
                connection.close()
            turn += 1

    async def work(self, cluster, puts):
        before = len(self.done)

        async def enough():
            return len(self.done) >= before + puts

        await cluster.until(enough, f"{puts} more puts", 10.0)

    async def end(self):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def longest_gap_s(self):
        return max(later - earlier for earlier, later in zip(self.done, self.done[1:], strict=False))


async def ended(cluster, agent, within_s=10.0):
    async def has_ended():
        return not agent.running

    await cluster.until(has_ended, f"{agent.name} to end", within_s)
    return agent.process.returncode


async def test_a_leader_that_is_asked_to_stop_hands_over_and_no_request_fails(tmp_path):
    async with LocalCluster(tmp_path, arguments=SETTLE) as cluster:
        await cluster.all_ready()
        clients = Clients(cluster.agents, 6)
        for _ in range(3):  # each member in turn, or one twice
            leader = await cluster.leader()
            await clients.work(cluster, 100)
            cluster.expect_end(leader)
            leader.process.terminate()
            assert await ended(cluster, leader) == 0
            assert "handed over to" in leader.last_lines(40)
            cluster.start(leader)
            await cluster.all_ready()
        await clients.end()
    print(f"{len(clients.done)} puts, longest gap {clients.longest_gap_s() * 1000:.0f} ms")
    assert clients.failures == []
    assert clients.longest_gap_s() < 5.0  # how short it is, the bench measures


async def test_a_drained_leader_hands_over_is_not_ready_and_still_answers(tmp_path):
    async with LocalCluster(tmp_path, arguments=SETTLE) as cluster:
        await cluster.all_ready()
        leader = await cluster.leader()
        connection = leader.connection()
        assert (await connection.request("POST", "/v1/drain")).status == 202

        async def another_leads():
            return json.loads((await leader.get("/leader")).body)["id"] != leader.name

        await cluster.until(another_leads, "another leader", 10.0)
        unready = await leader.get("/readyz")
        assert unready.status == 503
        assert "drained" in json.loads(unready.body)["detail"]
        answer = await connection.request("PUT", "/v1/data/colour", b'"green"')
        assert (answer.status, answer.headers["connection"].lower()) == (201, "close")
        assert leader.running
        assert await cluster.stop(leader) == 0


async def test_a_member_whose_end_would_cost_the_majority_waits_for_the_others(tmp_path):
    async with LocalCluster(tmp_path, arguments=SETTLE) as cluster:
        await cluster.all_ready()
        leader = await cluster.leader()
        follower, other = (agent for agent in cluster.agents if agent is not leader)
        await cluster.kill(other)

        async def missed():
            return other.name not in (await follower.status()).connected

        await cluster.until(missed, "the death to be noticed", 10.0)
        cluster.expect_end(follower)
        follower.process.terminate()

        async def waits():
            return "no majority of connected voters" in follower.last_lines()

        await cluster.until(waits, "it to wait", 5.0)
        cluster.start(other)
        assert await ended(cluster, follower) == 0
        assert (await cluster.leader()) is leader


async def test_all_may_be_stopped_at_once(tmp_path):
    async with LocalCluster(tmp_path) as cluster:
        await cluster.all_ready()
        codes = await asyncio.gather(*(cluster.stop(agent) for agent in cluster.agents))
        assert codes == [0, 0, 0]


async def test_a_second_signal_hurries(tmp_path):
    patient = ("--profile", "fast", "--endpoint-settle-ms", "60000")
    async with LocalCluster(tmp_path, arguments=patient) as cluster:
        await cluster.all_ready()
        leader = await cluster.leader()
        cluster.expect_end(leader)
        leader.process.terminate()

        async def handed_over():
            return "handed over to" in leader.last_lines(40)

        await cluster.until(handed_over, "the hand-over", 10.0)
        assert leader.running
        leader.process.terminate()
        assert await ended(cluster, leader, 5.0) == 0


async def test_whoever_must_not_lead_never_does(tmp_path):
    cluster = LocalCluster(tmp_path)
    able, *others = reversed(cluster.agents)
    for agent in others:
        agent.arguments += ["--nofailover", "on"]
    async with cluster:
        await cluster.all_ready()
        assert await cluster.leader() is able
        cluster.expect_end(able)
        await cluster.stop(able)  # it has nobody to hand over to, and ends all the same
        cluster.start(able)
        await cluster.all_ready()
        assert await cluster.leader() is able
