"""Real agents, over HTTP: events across a failover, and what a token guards."""

import asyncio

import pytest

from raftq_k8s.cli.local_cluster import LocalCluster
from raftq_k8s.client import Client
from raftq_k8s.client.errors import Refused

WRITES = 150


def client_of(cluster, **options):
    return Client([f"http://127.0.0.1:{agent.http_port}" for agent in cluster.agents], **options)


async def test_a_watch_misses_nothing_and_hears_nothing_twice_though_leaders_are_killed(tmp_path):
    """Also when it goes on at another agent, whose journal is its own."""
    async with LocalCluster(tmp_path) as cluster:
        await cluster.all_ready()
        heard, written = [], {}

        async def watch(client):
            async for changed in client.watch(0):
                heard.append(changed)
                if changed.changes[0].key == "the-end":
                    return

        async def write(client):
            async with client.session() as session:
                for number in range(WRITES):
                    key = f"key-{number % 7}"
                    written[(await session.put(key, number)).revision] = key, number
                await session.put("the-end", True)

        async def kill():
            for _ in range(2):
                leader = await cluster.leader()
                await cluster.kill(leader)
                enough = len(written) + WRITES // 4
                while len(written) < min(enough, WRITES):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                cluster.start(leader)
                await cluster.all_ready()

        async with client_of(cluster, timeout_s=30.0) as client, client_of(cluster) as other:
            watching = asyncio.create_task(watch(other))
            await asyncio.wait_for(asyncio.gather(write(client), kill()), 60)
            await asyncio.wait_for(watching, 20)
    revisions = [changed.revision for changed in heard]
    assert revisions == sorted(set(revisions))
    told = {changed.revision: (change.key, change.value) for changed in heard[:-1] for change in changed.changes}
    assert told == written


async def test_whoever_changes_something_needs_the_token_and_a_new_one_needs_no_restart(tmp_path):
    token = tmp_path / "token"
    token.write_text("open-sesame\n")
    async with LocalCluster(tmp_path, arguments=("--profile", "fast", "--token-file", str(token))) as cluster:
        await cluster.all_ready()
        async with client_of(cluster) as nobody, client_of(cluster, token="open-sesame") as somebody:
            await somebody.put("a", 1)
            assert (await nobody.get("a")).value == 1
            for change in nobody.put("a", 2), nobody.transfer(), nobody.pause("why not"), nobody.drain():
                with pytest.raises(Refused) as refused:
                    await change
                assert refused.value.problem.status == 401
            before = await somebody.leader()
            assert await somebody.transfer() != before.id  # by way of whoever is asked first
            token.write_text("open-barley\n")
            async with client_of(cluster, token="open-barley") as another:
                async with asyncio.timeout(10):
                    while True:
                        try:
                            await another.put("a", 3)
                            break
                        except Refused:
                            await asyncio.sleep(0.05)
            assert (await nobody.get("a")).value == 3
