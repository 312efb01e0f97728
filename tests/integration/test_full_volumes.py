"""Agents whose volumes are small file systems, and full to the last byte."""

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from raftq_k8s.cli.local_cluster import LocalAgent, LocalCluster

MOUNTED = 'mount -t tmpfs -o size=16m tmpfs "$1" && shift && exec "$@"'
VALUE = json.dumps("x" * 30_000).encode()

CALM = ("--heartbeat-ms", "100", "--minimum-election-ms", "800", "--maximum-election-ms", "1200")
"""Nobody is replaced because the machine that runs the tests is busy."""

pytestmark = pytest.mark.timeout(240)


def can_mount() -> bool:
    return subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode == 0


@pytest_asyncio.fixture
async def cluster(tmp_path, request):
    if not can_mount():
        pytest.skip("this machine lets nobody mount a small file system")
    failures = request.session.testsfailed
    small = LocalCluster(tmp_path, arguments=(*CALM, "--reserve-bytes", str(4 << 20)))
    for agent in small.agents:
        agent.within = ["unshare", "-Urm", "sh", "-c", MOUNTED, "sh", str(agent.data)]
    async with small as running:
        await running.all_ready()
        yield running
        if request.session.testsfailed > failures:
            print(running.logs(40))


def volume(agent: LocalAgent) -> Path:
    """As its process sees it."""
    assert agent.process is not None
    return Path(f"/proc/{agent.process.pid}/root{agent.data}")


def fill(agent: LocalAgent) -> None:
    """To the last byte; the reserve beside it is all that is left. The agent writes there meanwhile."""
    ballast = os.open(volume(agent) / "ballast", os.O_WRONLY | os.O_CREAT)
    try:
        for piece_bytes in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    os.write(ballast, bytes(piece_bytes))
    finally:
        os.close(ballast)


def make_room(agent: LocalAgent) -> None:
    (volume(agent) / "ballast").unlink()


async def put(agent, key, value=VALUE):
    connection = agent.connection()
    try:
        return await connection.request("PUT", f"/v1/data/{key}", value, timeout_s=15.0)
    finally:
        connection.close()


async def delete(agent, key):
    connection = agent.connection()
    try:
        return await connection.request("DELETE", f"/v1/data/{key}", timeout_s=15.0)
    finally:
        connection.close()


async def until_full(cluster, agent, writing_to):
    async def full():
        assert (await put(writing_to, "filling")).status in (200, 201, 504, 507)
        status = await agent.status()
        return status is not None and status.volume_full

    await cluster.until(full, f"the volume of {agent.name} to be full", 60.0)


async def test_53_a_leader_without_room_hands_over_and_without_room_anywhere_writes_are_refused(cluster):
    first = await cluster.leader()
    others = [agent for agent in cluster.agents if agent is not first]
    assert (await put(first, "colour", b'"blue"')).status == 201
    fill(first)
    await until_full(cluster, first, others[0])

    async def handed_over():
        status = await others[0].status()
        return status is not None and status.leader not in (None, first.name)

    await cluster.until(handed_over, "another one to lead", 20.0)
    assert (await put(first, "colour", b'"green"')).status == 200  # it forwards

    for other in others:
        fill(other)
        await until_full(cluster, other, others[0])

    async def refused():
        return (await put(others[0], "more")).status == 507

    await cluster.until(refused, "a write to be refused", 20.0)
    assert json.loads((await put(first, "more")).body)["type"].endswith(":volume-full")
    assert json.loads((await first.get("/v1/data/colour")).body) == "green"
    assert (await delete(others[1], "filling")).status == 200

    for agent in cluster.agents:
        make_room(agent)

    async def accepted():
        return (await put(others[0], "more", b"1")).status in (200, 201)

    await cluster.until(accepted, "room to be noticed", 20.0)


async def test_53_one_whose_reserve_is_gone_takes_no_part_and_says_so_until_there_is_room(cluster):
    leader = await cluster.leader()
    follower = next(agent for agent in cluster.agents if agent is not leader)
    fill(follower)

    async def gone():
        assert (await put(leader, "filling")).status in (200, 201)
        return "takes no part until there is room" in follower.log.read_text()

    await cluster.until(gone, "its reserve to be used up", 60.0)
    assert not await follower.ready()
    assert (await follower.get("/livez")).status == 200
    assert (await put(leader, "colour", b'"blue"')).status == 201
    make_room(follower)
    await cluster.until(follower.ready, "it to take part again", 30.0)
    assert json.loads((await follower.get("/v1/data/colour?consistency=local")).body) == "blue"
