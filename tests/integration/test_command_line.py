"""The commands as people type them, and the client, against three real agents that are killed meanwhile."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest
import pytest_asyncio

from raftq_k8s.cli.local_cluster import LocalCluster
from raftq_k8s.client import Change, Changed, Client, NotAsExpected

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three_agents(tmp_path_factory):
    async with LocalCluster(tmp_path_factory.mktemp("agents")) as cluster:
        yield cluster


def servers(cluster):
    return [f"http://127.0.0.1:{agent.http_port}" for agent in cluster.agents]


@pytest.fixture
def raftq(cluster):
    """Runs it, and returns exit code, standard output and standard error."""

    async def run(*arguments, asked=None):
        process = await begun(cluster, *arguments, asked=asked)
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    return run


async def begun(cluster, *arguments, asked=None):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAFTQ_")}
    environment = inherited | {"RAFTQ_SERVER": " ".join(asked or servers(cluster)), "TERM": "dumb"}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "raftq_k8s.cli.main", *arguments),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def test_what_is_put_is_got_and_deleted(raftq):
    assert (await raftq("data", "put", "colour", '"blue"'))[0] == 0
    assert await raftq("data", "get", "colour") == (0, '"blue"\n', "")
    assert (await raftq("data", "get", "colour", "--text"))[1] == "blue\n"
    assert (await raftq("data", "delete", "colour"))[0] == 0
    assert await raftq("data", "get", "colour") == (1, "", "raftq: there is no key colour\n")


async def test_a_watched_status_is_told_again_when_something_changed(raftq, cluster):
    watching = await begun(cluster, "status", "--watch")
    try:
        await until_line(watching, "leader")
        await raftq("pause", "new disks")
        assert "paused: new disks" in await until_line(watching, "paused")
        await raftq("resume")
        await until_line(watching, "leader")
    finally:
        watching.send_signal(signal.SIGTERM)
        await watching.wait()


async def until_line(process, word):
    async with asyncio.timeout(20):
        async for line in process.stdout:
            if word in line.decode():
                return line.decode()
    raise AssertionError("it ended")


async def test_the_leadership_is_handed_over_to_whom_it_is_told(raftq, cluster):
    leader = await cluster.leader()
    other = next(agent for agent in cluster.agents if agent is not leader)
    assert await raftq("transfer", other.name, asked=[servers(cluster)[0]]) == (0, f"{other.name} leads\n", "")
    assert (await cluster.leader()).name == other.name
    code, _, err = await raftq("transfer", "raftq-9")
    assert (code, len(err.splitlines())) == (1, 1)


async def test_doctor_finds_nothing_wrong_where_all_is_well(raftq):
    code, out, err = await raftq("doctor", "--json")
    assert (code, err) == (0, "")
    states = {finding["check"]: finding["state"] for finding in json.loads(out)["findings"]}
    assert {check: states[check] for check in ("leader", "voters")} == {"leader": "well", "voters": "well"}
    assert "wrong" not in states.values()


async def test_doctor_finds_a_member_that_is_away(raftq, cluster):
    leader = await cluster.leader()
    victim = next(agent for agent in cluster.agents if agent is not leader)
    await cluster.kill(victim)
    asked = [url for url, agent in zip(servers(cluster), cluster.agents, strict=True) if agent is leader]

    async def away():
        return not json.loads((await raftq("status", "--json", asked=asked))[1])["tolerates"]

    await cluster.until(away, "its absence to be noticed", 10.0)
    code, out, _ = await raftq("doctor", asked=asked)
    assert code == 1
    assert f"{victim.name} of 3 away; none more may fail" in out


async def test_a_watch_tells_each_change_and_goes_on_when_its_server_is_killed(raftq, cluster):
    leader = await cluster.leader()
    first = next(agent for agent in cluster.agents if agent is not leader)
    asked = sorted(servers(cluster), key=lambda url: not url.endswith(f":{first.http_port}"))
    await raftq("data", "replace", "{}")
    after = json.loads((await raftq("data", "get", "--json"))[1])["revision"]
    watching = await begun(cluster, "data", "watch", "--after", str(after), "--json", asked=asked)
    try:
        await raftq("data", "put", "a", "1")
        assert json.loads(await watching.stdout.readline())["key"] == "a"
        await cluster.kill(first)
        await raftq("data", "delete", "a")
        assert json.loads(await watching.stdout.readline())["deleted"] is True
    finally:
        watching.send_signal(signal.SIGTERM)
        await watching.wait()


async def test_drain_makes_the_agent_that_is_named_hand_over_and_no_other(raftq, cluster):
    leader = await cluster.leader()
    asked = sorted(servers(cluster), key=lambda url: not url.endswith(f":{leader.http_port}"))
    code, out, _ = await raftq("drain", asked=asked)
    assert (code, out) == (0, f"{leader.name} hands over what it does, and answers until its process is ended\n")

    async def another_leads():
        return json.loads((await raftq("status", "--json"))[1])["leader"] not in (leader.name, None)

    await cluster.until(another_leads, "another leader", 15.0)
    assert [await agent.ready() for agent in cluster.agents] == [agent is not leader for agent in cluster.agents]
    await cluster.stop(leader)


async def test_the_client_loses_and_doubles_nothing_while_leaders_are_killed(cluster):
    """A counter by compare-and-set, in a session: each step is taken once, whatever happens in between."""
    async with Client(servers(cluster), timeout_s=20.0) as client, client.session() as session:
        await session.put("counter", 0)
        for step in range(1, 21):
            if step in (5, 12):
                victim = await cluster.leader()
                await cluster.kill(victim)
            found = await client.get("counter")
            assert found.value == step - 1
            await session.put("counter", step, if_revision=found.revision)
            if step in (8, 15):
                for agent in cluster.agents:
                    if not agent.running:
                        cluster.start(agent)
                await cluster.all_ready()


async def test_a_client_watches_what_another_writes(cluster):
    async with Client(servers(cluster)) as writer, Client(servers(cluster)[::-1]) as watcher:
        whole = await writer.whole()
        watch = watcher.watch(whole.revision, prefix="w/")
        await writer.put("other", 1)
        put = await writer.put("w/a", {"n": 1})
        assert await anext(watch) == Changed(put.revision, (Change("w/a", b'{"n":1}'),))
        await writer.delete("w/a")
        assert (await anext(watch)).changes == (Change("w/a", None),)
        await watch.aclose()
        with pytest.raises(NotAsExpected) as raised:
            await writer.put("other", 2, if_revision=1)
        assert raised.value.found == put.revision - 1


async def test_a_client_hears_of_the_next_leader_with_a_higher_token(cluster):
    async with Client(servers(cluster)) as client:
        leaders = client.watch_leader()
        first = await anext(leaders)
        await client.transfer()
        async for leader in leaders:
            if leader is not None and leader.term > first.term:
                break
        assert leader.id != first.id
        assert (await client.leader()).term >= leader.term
        await leaders.aclose()
