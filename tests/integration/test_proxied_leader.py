"""`raftq proxy` as a process, in front of three real agents."""

import asyncio
import contextlib
import json
import os
import signal
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


@contextlib.asynccontextmanager
async def running_proxy():
    """It prints JSON, and asks somebody who does not know it."""
    stranger = await asyncio.start_server(turn_away, HOST, 0)
    server = f"http://{HOST}:{stranger.sockets[0].getsockname()[1]}"
    proxy = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "raftq_k8s.cli.main", "proxy", "--listen", f"{HOST}:0", "--port", "80", "--json"),
        *("--server", server, "--wait", "0"),
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=end_with(os.getpid()),
    )
    try:
        async with asyncio.timeout(20):
            yield proxy
    finally:
        stranger.close()
        if proxy.returncode is None:
            proxy.kill()


async def turn_away(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    writer.close()


async def test_a_program_hears_from_the_proxy_where_it_listens():
    async with running_proxy() as proxy:
        listening = json.loads(await proxy.stdout.readline())
        assert (listening["event"], listening["host"], listening["to_port"]) == ("listening", HOST, 80)
        reader, _ = await asyncio.open_connection(HOST, listening["port"])
        assert await reader.read() == b""
        assert json.loads(await proxy.stdout.readline())["event"] == "unheard"
        proxy.terminate()
        assert await proxy.wait() == 0


async def test_a_proxy_whose_events_nobody_reads_any_more_ends():
    async with running_proxy() as proxy:
        await proxy.stdout.readline()
        proxy._transport.get_pipe_transport(1).close()
        assert await proxy.wait() == 128 + signal.SIGPIPE
