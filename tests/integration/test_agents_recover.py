"""A quorum that is lost for good, and members that come back with the volume of a former life: real agents."""

import asyncio
import json
import shutil
import subprocess
import sys

import pytest
import pytest_asyncio

from raftq_k8s.agent.before_the_start import Recovered, recovery_of
from raftq_k8s.cli.local_cluster import LocalCluster
from raftq_k8s.raft.recovery import TERMS_PASSED
from raftq_k8s.storage import inspection
from raftq_k8s.storage.archive import FOLDER

CALM = ("--heartbeat-ms", "100", "--minimum-election-ms", "800", "--maximum-election-ms", "1200")
"""Nobody is replaced because the machine that runs the tests is busy."""

pytestmark = pytest.mark.timeout(240)


@pytest_asyncio.fixture
async def cluster(tmp_path, request):
    failures = request.session.testsfailed
    async with LocalCluster(tmp_path, arguments=CALM) as running:
        await running.all_ready()
        yield running
        if request.session.testsfailed > failures:
            print(running.logs(60))


async def asked(agent, method, path, body=None):
    connection = agent.connection()
    try:
        content = b"" if body is None else json.dumps(body).encode()
        answer = await connection.request(method, path, content, timeout_s=15.0)
        return answer.status, json.loads(answer.body) if answer.body else None
    finally:
        connection.close()


async def recover(agent, **named):
    return await asked(agent, "POST", "/v1/recover", named)


def url(agent):
    return f"http://127.0.0.1:{agent.http_port}"


async def raftq(*arguments):
    """The exit code, and what was said."""
    command = (sys.executable, "-m", "raftq_k8s.cli.main", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def votes(agent, member, cluster_id):
    status = await agent.status()
    return status is not None and status.cluster == cluster_id and member in status.voters and status.caught_up


async def test_a_survivor_goes_on_alone_and_the_others_join_it(cluster):
    survivor, stale, wiped = cluster.agents
    assert (await asked(survivor, "PUT", "/v1/data/colour", "blue"))[0] == 201
    before = await survivor.status()
    status, refusal = await recover(survivor, cluster=before.cluster)
    assert (status, "leads: this is for a cluster whose quorum is lost" in refusal["detail"]) == (409, True)

    await asyncio.gather(cluster.kill(stale), cluster.kill(wiped))
    shutil.rmtree(wiped.data)
    wiped.data.mkdir()
    assert (await recover(survivor, cluster="another"))[0] == 409

    assert (await raftq("recover", before.cluster, "--server", url(survivor)))[0] == 2  # nobody has said yes

    async def recovered():
        code, said = await raftq("recover", before.cluster, "--yes", "--server", url(survivor))
        return code == 0 and said.startswith("raftq-0 leads the new cluster")

    process = survivor.process.pid
    await cluster.until(recovered, "nobody to have led for long enough", 30.0)

    async def alone():
        status = await survivor.status()
        return status is not None and status.cluster != before.cluster and status.established

    await cluster.until(alone, "the survivor to lead alone", 30.0)
    after = await survivor.status()
    assert after.voters == ("raftq-0",)
    assert after.term > before.term + TERMS_PASSED
    assert survivor.process.pid == process
    assert survivor.running
    assert (await asked(survivor, "GET", "/v1/data/colour"))[1] == "blue"
    status, put = await asked(survivor, "PUT", "/v1/data/colour", "green")
    assert (status, put["revision"] > before.last_index + 1_000_000) == (200, True)
    (kept,) = (survivor.data / FOLDER).iterdir()
    assert inspection.inspect(kept).cluster == before.cluster
    assert recovery_of(survivor.data) == Recovered(after.cluster, out_of=before.cluster), "what a witness is told"

    cluster.start(wiped)
    await cluster.until(lambda: votes(wiped, "raftq-2", after.cluster), "the empty one to vote", 60.0)
    cluster.start(stale)

    async def joins():
        return (await raftq("recover", "--join", after.cluster, "--yes", "--server", url(stale)))[0] == 0

    await cluster.until(joins, "the stale one to join by the command line", 60.0)
    await cluster.until(lambda: votes(stale, "raftq-1", after.cluster), "the stale one to vote", 60.0)
    (kept,) = (stale.data / FOLDER).iterdir()
    assert inspection.inspect(kept).cluster == before.cluster
    assert (await asked(stale, "GET", "/v1/data/colour"))[1] == "green"


async def test_a_member_that_was_removed_while_it_was_away_archives_its_volume_and_is_taken_in_anew(cluster):
    leader = await cluster.leader()
    away = next(agent for agent in cluster.agents if agent is not leader)
    former = (await away.status()).incarnation
    await cluster.kill(away)

    async def removed():
        status, _ = await asked(await cluster.leader(), "DELETE", f"/v1/members/{away.name}")
        return status < 300

    await cluster.until(removed, f"{away.name} to be removed", 30.0)
    cluster.start(away)
    here = (await leader.status()).cluster
    await cluster.until(lambda: votes(away, away.name, here), f"{away.name} to vote again", 60.0)
    assert (await away.status()).incarnation != former
    (kept,) = (away.data / FOLDER).iterdir()
    assert kept.name == f"{former}-removed"
    assert inspection.inspect(kept).incarnation == former


async def test_58_a_member_with_an_old_copy_of_its_volume_is_taken_in_anew_once_somebody_leads(cluster, tmp_path):
    leader = await cluster.leader()
    old, other = (agent for agent in cluster.agents if agent is not leader)
    former = (await old.status()).incarnation
    await cluster.kill(old)
    shutil.copytree(old.data, tmp_path / "copy")
    cluster.start(old)
    await cluster.all_ready()
    for number in range(20):
        assert (await asked(leader, "PUT", f"/v1/data/key-{number}", number))[0] == 201

    async def has_all():
        status = await old.status()
        return status is not None and status.commit_index >= (await leader.status()).commit_index

    await cluster.until(has_all, "everything to be acknowledged there", 20.0)
    await cluster.kill(old)
    await cluster.kill(other)  # so nobody leads with a quorum
    shutil.rmtree(old.data)
    shutil.copytree(tmp_path / "copy", old.data)
    cluster.start(old)

    async def turned_away(kind):
        status = await old.status()
        return status is not None and status.fenced == kind

    # Its count of starts is as old as the rest: at first it looks like the older one of two processes.
    await cluster.until(lambda: turned_away("older-process"), "the old copy to be turned away", 30.0)
    await cluster.kill(old)
    cluster.start(old)
    await cluster.until(lambda: turned_away("rolled-back"), "the old copy to be known as one", 30.0)
    assert not (old.data / FOLDER).exists()
    cluster.start(other)
    here = (await leader.status()).cluster
    await cluster.until(lambda: votes(old, old.name, here), "it to vote again", 60.0)
    assert (await old.status()).incarnation != former
    (kept,) = (old.data / FOLDER).iterdir()
    assert kept.name == f"{former}-rolled-back"
    assert (await asked(old, "GET", "/v1/data/key-7"))[1] == 7


async def test_a_new_cluster_begins_with_a_saved_snapshot(cluster, tmp_path):
    for number in range(20):
        assert (await asked(cluster.agents[0], "PUT", f"/v1/data/key-{number}", number))[0] == 201
    term = (await cluster.agents[0].status()).term
    saved = str(tmp_path / "saved.raftq")
    assert (await raftq("snapshot", "save", saved, "--server", url(cluster.agents[0])))[0] == 0
    code, said = await raftq("snapshot", "show", saved)
    assert (code, "20 keys" in said) == (0, True)

    for agent in cluster.agents:
        await cluster.kill(agent)
        shutil.rmtree(agent.data)
        agent.data.mkdir()
    first = cluster.agents[0]
    code, said = await raftq("snapshot", "restore", saved, "--data", str(first.data), "--name", first.name)
    assert code == 0, said
    for agent in cluster.agents:
        cluster.start(agent)
    await cluster.all_ready(60.0)
    for agent in cluster.agents:
        assert (await asked(agent, "GET", "/v1/data/key-7"))[1] == 7
        assert (await agent.status()).term > term + TERMS_PASSED
