"""Whole agents whose raft ports are guarded: they elect, renew their certificates, and refuse strangers."""

import asyncio
import contextlib
import json
import random

import pytest

from raftq_k8s.cli.certificates import run
from raftq_k8s.cli.local_cluster import LocalCluster

MEMBERS = ["raftq-0", "raftq-1", "raftq-2"]


def guarded_by_tls(cluster, pki):
    for agent in cluster.agents:
        mine = pki / agent.name
        for setting, file in (("--tls-cert", "tls.crt"), ("--tls-key", "tls.key"), ("--tls-ca", "ca.crt")):
            agent.arguments += (setting, str(mine / file))


async def metric(agent, name):
    lines = (await agent.get("/metrics")).body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


async def agree_on(cluster, value):
    connection = (await cluster.leader()).connection()
    try:
        assert (await connection.request("PUT", "/v1/data/guarded", json.dumps(value).encode())).status in (200, 201)
    finally:
        connection.close()

    async def everywhere():
        answers = [await agent.get("/v1/data/guarded") for agent in cluster.agents]
        return all(answer.status == 200 and json.loads(answer.body) == value for answer in answers)

    await cluster.until(everywhere, "all to have it", 10.0)


async def test_agents_with_certificates_elect_and_take_new_ones_without_a_restart(tmp_path):
    pki = tmp_path / "pki"
    run(pki, MEMBERS, "", "", 1, as_json=True)
    cluster = LocalCluster(tmp_path)
    guarded_by_tls(cluster, pki)
    async with cluster:
        await cluster.all_ready()
        await agree_on(cluster, 1)
        ends = await metric(cluster.agents[0], "raftq_certificate_expiry_timestamp_seconds")
        run(pki, MEMBERS, "", "", 30, as_json=True)
        leader = await cluster.leader()
        follower = next(agent for agent in cluster.agents if agent is not leader)
        await cluster.kill(follower)
        cluster.start(follower)
        await cluster.all_ready()
        await agree_on(cluster, 2)
        assert await metric(cluster.agents[0], "raftq_certificate_expiry_timestamp_seconds") > ends + 28 * 86400


async def test_garbage_on_a_port_that_talks_tls_ends_nothing_and_is_counted(tmp_path):
    pki = tmp_path / "pki"
    run(pki, MEMBERS, "", "", 1, as_json=True)
    cluster = LocalCluster(tmp_path)
    guarded_by_tls(cluster, pki)
    chance = random.Random(7)
    hello = bytes.fromhex("160301006f0100006b0303")  # as a handshake begins
    async with cluster:
        await cluster.all_ready()
        leader = await cluster.leader()
        before = await leader.status()
        for number in range(300):
            said = chance.randbytes(chance.randrange(1, 2000))
            await talk(leader.raft_port, hello + said if number % 2 else said)
        after = await leader.status()
        assert (after.leader, after.term) == (before.leader, before.term)
        assert await metric(leader, "raftq_bad_frames_total") > 100  # of half a handshake the rest may be waited for
        await agree_on(cluster, 3)
        assert "Traceback" not in leader.log.read_text()


async def talk(port, said):
    with contextlib.suppress(OSError, TimeoutError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(said)
            async with asyncio.timeout(0.05):
                await reader.read()
        finally:
            writer.transport.abort()


async def test_agents_with_a_secret_elect_and_count_a_stranger(tmp_path):
    (tmp_path / "secret").write_text("0123456789abcdef0123456789abcdef\n")
    async with LocalCluster(tmp_path, arguments=("--peer-secret-file", str(tmp_path / "secret"))) as cluster:
        await cluster.all_ready()
        await agree_on(cluster, 1)
        leader = await cluster.leader()
        reader, writer = await asyncio.open_connection("127.0.0.1", leader.raft_port)
        writer.write(
            b"GET /raft HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        async with asyncio.timeout(5):
            assert (await reader.read()).startswith(b"HTTP/1.1 401")
        writer.close()
        assert await metric(leader, 'raftq_bad_frames_total{kind="secret"}') == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--tls-cert", "{pki}/raftq-1/tls.crt", "--tls-key", "{pki}/raftq-1/tls.key"), "does not speak for raftq-0"),
        (("--tls-cert", "{pki}/raftq-0/tls.crt", "--tls-key", "{pki}/raftq-1/tls.key"), "no certificate with its key"),
        (("--tls-cert", "{pki}/nowhere", "--tls-key", "{pki}/raftq-1/tls.key"), "nowhere cannot be read"),
        (("--peer-secret-file", "{pki}/nowhere"), "nowhere cannot be read"),
    ],
)
async def test_an_agent_without_what_guards_it_ends_with_one_line(tmp_path, arguments, complaint):
    pki = tmp_path / "pki"
    run(pki, MEMBERS, "", "", 1, as_json=True)
    given = [each.format(pki=pki) for each in arguments]
    if "--tls-cert" in given:
        given += ["--tls-ca", str(pki / "ca.crt")]
    agent = LocalCluster(tmp_path, arguments=given).agents[0]
    agent.data.mkdir()
    agent.start()
    assert await asyncio.to_thread(agent.process.wait, 20) == 2
    assert complaint in agent.last_lines()
    assert list(agent.data.iterdir()) == []
