"""`raftq proxy` as a process, in front of three real agents."""

import asyncio
import json
import os
import sys

from raftq_k8s.agent.application.watchdog import end_with
from raftq_k8s.cli.at_most_once import Connection, Unanswered, Unsent
from raftq_k8s.cli.local_cluster import HOST, LocalCluster, free_ports


async def test_the_proxy_leads_to_the_leader_and_to_the_next_one(tmp_path):
    """All agents have one port here, each on a loopback address of its own."""
    (http,) = free_ports(1)
    (entry,) = free_ports(1)
    cluster = LocalCluster(tmp_path)
    for number, agent in enumerate(cluster.agents, start=1):
        agent.arguments += ["--advertise-http", f"127.0.0.{number}:{http}"]
    doors = [
        await forward(f"127.0.0.{number}", http, agent.http_port) for number, agent in enumerate(cluster.agents, 1)
    ]
    async with cluster:
        await cluster.all_ready()
        servers = [word for agent in cluster.agents for word in ("--server", f"http://{HOST}:{agent.http_port}")]
        proxy = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "raftq_k8s.cli.main", "proxy", "--listen", f"{HOST}:{entry}"),
            *("--port", str(http), *servers),
            stderr=asyncio.subprocess.DEVNULL,
            preexec_fn=end_with(os.getpid()),
        )
        try:
            leader = await cluster.leader()
            await cluster.until(lambda: reaches(entry, leader.name), "the leader through the proxy", 15.0)
            await cluster.kill(leader)
            successor = await cluster.leader()
            await cluster.until(lambda: reaches(entry, successor.name), "its successor through the proxy", 15.0)
            proxy.terminate()
            async with asyncio.timeout(10):
                assert await proxy.wait() == 0
        finally:
            if proxy.returncode is None:
                proxy.kill()
            for door in doors:
                door.close()


async def reaches(entry, name):
    connection = Connection(HOST, entry)
    try:
        answer = await connection.request("GET", "/leader", timeout_s=3.0)
    except (Unsent, Unanswered):
        return False
    finally:
        connection.close()
    leader = json.loads(answer.body)
    return answer.status == 200 and leader["is_me"] and leader["id"] == name


async def forward(host, port, to):
    async def carry(reader, writer):
        try:
            onwards = await asyncio.open_connection(HOST, to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pipe(reader, onwards[1]), pipe(onwards[0], writer))

    return await asyncio.start_server(carry, host, port)


async def pipe(source, sink):
    try:
        while piece := await source.read(65536):
            sink.write(piece)
    except OSError:
        pass
    finally:
        sink.close()
