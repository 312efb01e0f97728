"""Real `raftq agent` processes on loopback: real sockets, real disks, SIGKILL.

Whatever is waited for has a deadline, and a failure shows the last lines of every member's log.
"""

import asyncio
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import pytest_asyncio

from raftq_k8s.cli.at_most_once import Unanswered, Unsent
from raftq_k8s.cli.local_cluster import ClusterFailed, LocalCluster, free_ports
from raftq_k8s.cli.writer import Client, Ledger, audit, first_accepted, revision, write_on
from raftq_k8s.node.status import RaftRole

AGENT = [sys.executable, "-m", "raftq_k8s.cli.main", "agent"]


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three_agents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agents")
    async with LocalCluster(folder, arguments=("--profile", "fast", "--body-limit-bytes", "65536")) as cluster:
        yield cluster


async def put(agent, key, value):
    connection = agent.connection()
    try:
        return await connection.request("PUT", f"/v1/data/{key}", json.dumps(value).encode(), timeout_s=8.0)
    finally:
        connection.close()


async def has(agent, key, value):
    try:
        answer = await agent.get(f"/v1/data/{key}?consistency=local")
    except (Unsent, Unanswered):
        return False
    return answer.status == 200 and json.loads(answer.body) == value


async def followers(cluster):
    leader = await cluster.leader()
    return [agent for agent in cluster.agents if agent is not leader]


async def refused(complaint, *arguments, **environment):
    """An agent that is started like this says so in one line, and ends."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAFTQ_")}
    agent = await asyncio.create_subprocess_exec(
        *(*AGENT, *arguments), env=inherited | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, complained = (output.decode() for output in await agent.communicate())
    assert agent.returncode == 2, complained
    assert complained.count("\n") == 1, complained
    assert complaint in complained
    assert said == ""
    return True


async def test_the_agent_imports_neither_typer_nor_rich():
    program = "import sys, raftq_k8s.cli.main, raftq_k8s.agent.main; print({'typer', 'rich'} & sys.modules.keys())"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
    assert await process.communicate() == (b"set()\n", None)


async def test_three_agents_elect_one_leader_and_agree_on_it(cluster):
    leader = await cluster.leader()

    async def agree():
        seen = [await agent.status() for agent in cluster.agents]
        return all(one is not None and one.leader == leader.name for one in seen)

    await cluster.until(agree, "all to name one leader", 5.0)
    roles = [(await agent.status()).role for agent in cluster.agents]
    assert roles.count(RaftRole.LEADER) == 1
    assert json.loads((await leader.get("/leader")).body)["is_me"] is True


async def test_a_put_through_a_follower_is_forwarded_and_seen_everywhere(cluster):
    follower, _ = await followers(cluster)
    answer = await put(follower, "colour", "green")
    assert answer.status == 201
    for agent in cluster.agents:
        await cluster.until(lambda agent=agent: has(agent, "colour", "green"), f"the put on {agent.name}", 5.0)
        assert revision(await agent.get("/v1/data/colour")) == revision(answer)


async def test_what_one_agent_acknowledged_every_other_one_reads_at_once(cluster):
    for number in range(20):
        answer = await put(cluster.agents[number % 3], "latest", number)
        for agent in cluster.agents:
            read = await agent.get("/v1/data/latest")
            assert (revision(read), json.loads(read.body)) == (revision(answer), number)


async def test_a_killed_leader_is_replaced_and_comes_back_as_a_follower(cluster):
    leader = await cluster.leader()
    await put(leader, "shade", "dark")
    await cluster.kill(leader)
    others = [agent for agent in cluster.agents if agent is not leader]
    assert await first_accepted(others, Ledger(), 10.0) in others
    assert await cluster.leader() is not leader
    cluster.start(leader)
    await cluster.all_ready()
    assert await has(leader, "shade", "dark")


async def test_what_was_acknowledged_survives_the_killing_of_all(cluster):
    ledger = Ledger("survivor")
    writing = [asyncio.create_task(write_on(cluster.agents, ledger, first, 0.0)) for first in range(3)]
    await cluster.until(lambda: enough(ledger), "300 acknowledged puts", 20.0)
    await asyncio.gather(*(cluster.kill(agent) for agent in cluster.agents))
    for task in writing:
        task.cancel()
    await asyncio.gather(*writing, return_exceptions=True)

    for agent in cluster.agents:
        cluster.start(agent)
    await cluster.leader()
    await cluster.all_ready()
    await cluster.until(lambda: converged(cluster), "all to have applied the same", 10.0)
    findings = await audit(cluster.agents, ledger)
    assert (findings.lost, findings.duplicates) == (set(), set())
    assert len(ledger.acknowledged) >= 300


async def enough(ledger):
    return len(ledger.acknowledged) >= 300


async def converged(cluster):
    seen = [await agent.status() for agent in cluster.agents]
    return None not in seen and len({index for one in seen for index in (one.commit_index, one.applied_index)}) == 1


async def test_an_agent_that_lost_its_volume_is_taken_in_again_under_its_name(cluster):
    """As another incarnation, once the former one has been silent for ten seconds."""
    follower, _ = await followers(cluster)
    await put(follower, "keepsake", "kept")
    await cluster.kill(follower)
    shutil.rmtree(follower.data)
    follower.data.mkdir()
    cluster.start(follower)
    await cluster.until(lambda: has(follower, "keepsake", "kept"), "the lost volume to be filled again", 30.0)
    await cluster.all_ready()
    voters = {agent.name for agent in cluster.agents}

    async def votes():
        return all([set((await agent.status()).voters) == voters for agent in cluster.agents])

    await cluster.until(votes, "all to be voters", 10.0)
    assert (await put(follower, "keepsake", "kept again")).status == 200


async def test_without_a_quorum_a_put_is_refused_or_unknown_but_never_acknowledged(cluster):
    survivor, *others = [await cluster.leader(), *await followers(cluster)]
    for agent in others:
        await cluster.kill(agent)
    waiting = asyncio.create_task(put(survivor, "lonely", "green"))

    async def nobody_leads():
        return (await survivor.get("/leader")).status == 503

    await cluster.until(nobody_leads, "the leader to step down", 5.0)
    refusal = await put(survivor, "lonely", "red")
    assert refusal.status == 503
    assert "retry-after" in refusal.headers
    assert (await waiting).status in (503, 504)


async def test_a_bad_body_is_a_problem(cluster):
    leader = await cluster.leader()
    connection = leader.connection()
    for body, status in ((b"{not json", 400), (b'"' + b"x" * 65536 + b'"', 413)):
        answer = await connection.request("PUT", "/v1/data/bad", body)
        assert answer.status == status
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert json.loads(answer.body)["status"] == status
    connection.close()
    assert (await leader.get("/v1/data/bad")).status == 404


async def test_garbage_on_the_raft_port_is_closed_counted_and_changes_nothing(cluster):
    leader = await cluster.leader()
    before = await leader.status()
    reader, writer = await asyncio.open_connection("127.0.0.1", leader.raft_port)
    writer.write(b"\x16\x03\x01\x00\xa5 this is no frame of ours\r\n\r\n")
    async with asyncio.timeout(5):
        await reader.read()  # until it is closed
    writer.close()

    async def counted():
        lines = (await leader.get("/metrics")).body.decode().splitlines()
        return any(line.startswith("raftq_bad_frames_total{") and float(line.split()[-1]) > 0 for line in lines)

    await cluster.until(counted, "the bad frame to be counted", 5.0)
    assert (await put(leader, "after-garbage", 1)).status == 201
    after = await leader.status()
    assert (after.term, after.leader) == (before.term, before.leader)


async def test_a_taken_port_or_an_unusable_volume_ends_a_second_agent_with_one_line(cluster, tmp_path):
    leader = await cluster.leader()
    alone = tmp_path / "alone"
    alone.mkdir()
    raft, http = free_ports(2)

    async def second_refused(complaint, data, raft_port, http_port):
        return await refused(
            complaint,
            *("--name", "raftq-0", "--peers", f"raftq-0=127.0.0.1:{raft_port}", "--data", str(data)),
            *("--raft-host", "127.0.0.1", "--raft-port", str(raft_port)),
            *("--http-host", "127.0.0.1", "--http-port", str(http_port)),
        )

    assert await second_refused(f"port {leader.raft_port}", alone, leader.raft_port, http)
    assert await second_refused(f"port {leader.http_port}", alone, raft, leader.http_port)
    assert list(alone.iterdir()) == []
    assert await second_refused("missing does not exist", tmp_path / "missing", raft, http)
    assert not (tmp_path / "missing").exists()
    taken = cluster.agents[0].data  # of another raftq-0, which runs
    assert await second_refused(str(taken), taken, raft, http)
    assert (await put(cluster.agents[0], "after-a-refused-agent", 1)).status == 201


async def test_sigterm_ends_an_agent_well_and_in_time(cluster):
    follower, _ = await followers(cluster)
    leader = await cluster.leader()
    assert await cluster.stop(follower) == 0
    assert await cluster.stop(leader) == 0
    assert "stopped" in leader.last_lines(1)


async def test_a_second_sigterm_hurries_an_agent_that_still_has_something_to_answer(cluster):
    survivor, *others = [await cluster.leader(), *await followers(cluster)]
    for agent in others:
        await cluster.kill(agent)
    waiting = asyncio.create_task(Client(survivor, Ledger("hurried")).put())
    # Another request on a connection of its own, answered later than the first was read.
    await asyncio.gather(*(survivor.status() for _ in range(3)))
    cluster.expect_end(survivor)
    began = time.monotonic()
    survivor.process.terminate()
    await asyncio.sleep(0.3)
    assert survivor.running
    survivor.process.terminate()

    async def ended():
        return not survivor.running

    await cluster.until(ended, "the agent to end", 5.0)
    assert survivor.process.returncode == 0
    assert time.monotonic() - began < 2.5  # its HTTP face would have waited for 3 s
    assert not await waiting


@pytest.mark.skipif(sys.platform != "linux", reason="another process's limits are set by Linux only")
async def test_an_agent_whose_disk_fails_ends_and_the_others_go_on(cluster):
    leader = await cluster.leader()
    resource.prlimit(leader.process.pid, resource.RLIMIT_FSIZE, (1, 1))
    cluster.expect_end(leader)
    assert not await Client(leader, Ledger("unwritten")).put()

    async def ended():
        return not leader.running

    await cluster.until(ended, "the agent to end", 5.0)
    assert leader.process.returncode == 1  # its log is a file too, so it could say nothing
    others = [agent for agent in cluster.agents if agent is not leader]
    assert await first_accepted(others, Ledger("go-on"), 10.0) in others


@pytest.mark.parametrize("step", ["open", "close"])
async def test_an_agent_whose_disk_hangs_can_be_stopped(tmp_path, step):
    cluster = LocalCluster(tmp_path)
    agent = cluster.agents[0]
    agent.data.mkdir()
    hung = (
        "import sys, threading\n"
        "from raftq_k8s.agent import main\n"
        "from raftq_k8s.storage.sqlite import SqliteVolume\n"
        "def hang(self):\n"
        f"    print('{step} hangs', flush=True)\n"
        "    threading.Event().wait()\n"
        f"SqliteVolume.{step} = hang\n"
        "main.CLOSING_S = 0.1\n"
        "sys.exit(main.main(sys.argv[5:]))\n"
    )
    agent.within = [sys.executable, "-c", hung]
    cluster.start(agent)
    try:

        async def is_there():
            return await agent.status() is not None if step == "close" else "open hangs" in agent.last_lines(50)

        await cluster.until(is_there, "it to be there", 10.0)
        assert await agent.stop(within_s=10.0) == 0
        assert agent.last_lines(50).count("disk stuck" if step == "close" else "is it stuck") == 1
    finally:
        await agent.kill()


async def test_an_agent_that_still_waits_for_its_peers_can_be_stopped(tmp_path):
    cluster = LocalCluster(tmp_path)
    agent = cluster.agents[0]
    agent.data.mkdir()
    cluster.start(agent)
    try:

        async def answers():
            return await agent.status() is not None

        await cluster.until(answers, "an answer", 10.0)
        assert (await agent.get("/livez")).status == 200
        unready = await agent.get("/readyz")
        assert unready.status == 503
        assert "raftq-1, raftq-2" in json.loads(unready.body)["detail"]
    finally:
        assert await cluster.stop(agent) == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "complaint"),
    [
        (["--nope", "1"], {}, "--nope"),
        ([], {"RAFTQ_NOPE": "1"}, "RAFTQ_NOPE is no setting"),
        (["--config", "{config}"], {}, "nope is no setting"),
        (["--birth-replicas", "0"], {}, "birth_replicas 0"),
        (["--birth", "witness", "--raft-port", "{free}", "--http-port", "{other}"], {}, "birth witness needs the Kube"),
        (["--birth-replicas", "99999999"], {}, "a cluster has 1 to 64 members"),
        (["--raft-port", "{free}", "--http-port", "{free}", "--http-host", "127.0.0.1"], {}, "the port for peers too"),
        (["--maximum-election-ms", "inf"], {}, "is not a number from 1 to 60000"),
    ],
)
async def test_what_is_no_setting_ends_the_agent_with_one_line_and_an_empty_disk(
    tmp_path, arguments, environment, complaint
):
    (tmp_path / "raftq.toml").write_text("nope = 1\n")
    data = tmp_path / "data"
    data.mkdir()
    base = ["--name", "raftq-0", "--service", "raftq-headless", "--namespace", "there", "--data", str(data)]
    free, other = free_ports(2)
    known = {"config": tmp_path / "raftq.toml", "free": free, "other": other}
    given = [argument.format(**known) for argument in arguments]
    assert await refused(complaint, *base, *given, **environment)
    assert list(data.iterdir()) == []


async def test_the_trace_of_a_killed_agent_comes_to_the_same_again(tmp_path):
    trace = tmp_path / "trace"
    async with LocalCluster(tmp_path, members=1, arguments=("--trace", str(trace))) as cluster:
        agent = await cluster.leader()
        assert (await put(agent, "colour", "red")).status == 201
        await cluster.kill(agent)
    command = [sys.executable, "-m", "raftq_k8s.cli.main", "simulate", "--replay", str(trace), "--json"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
    told = json.loads(done.stdout)
    assert (done.returncode, told["same"], told["ending"]) == (0, True, "torn"), done.stderr
    assert "committed up to 2" in done.stderr


async def test_a_trace_that_cannot_be_written_ends_the_agent_with_one_line(tmp_path):
    agent = LocalCluster(tmp_path, members=1, arguments=("--trace", str(tmp_path / "nowhere" / "trace"))).agents[0]
    agent.data.mkdir()
    done = await asyncio.to_thread(subprocess.run, agent.command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("raftq agent: trace: no trace can be written")


async def test_50_all_addresses_change_and_the_cluster_forms_again(tmp_path):
    async with LocalCluster(tmp_path) as before:
        await before.all_ready()
        assert (await put(await before.leader(), "keepsake", "kept")).status == 201
        await asyncio.gather(*(before.kill(agent) for agent in before.agents))
    async with LocalCluster(tmp_path) as after:
        assert not {agent.raft_port for agent in before.agents} & {agent.raft_port for agent in after.agents}
        await after.leader()
        await after.all_ready()
        assert all([await has(agent, "keepsake", "kept") for agent in after.agents])


async def test_agents_end_with_the_process_that_started_them(tmp_path):
    """Also when that one has no time to end them."""
    if sys.platform != "linux":
        pytest.skip("only the Linux kernel does that")
    program = (
        "import asyncio, pathlib, sys\n"
        "from raftq_k8s.cli.local_cluster import LocalCluster\n"
        "async def main():\n"
        "    async with LocalCluster(pathlib.Path(sys.argv[1])) as cluster:\n"
        "        print(*(agent.process.pid for agent in cluster.agents), flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(tmp_path), stdout=subprocess.PIPE)
    children = [int(pid) for pid in (await parent.stdout.readline()).split()]
    assert all(map(alive, children))
    assert len(children) == 3
    parent.kill()
    await parent.wait()
    deadline = time.monotonic() + 5
    while any(map(alive, children)):
        assert time.monotonic() < deadline, "they are still there"
        await asyncio.sleep(0.02)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end between being opened and being read
        return False


async def test_a_child_that_dies_by_itself_is_reported_with_its_last_lines(tmp_path):
    with socket.socket() as taken:
        cluster = LocalCluster(tmp_path)
        taken.bind(("127.0.0.1", cluster.agents[1].raft_port))
        taken.listen()
        with pytest.raises(ClusterFailed, match=r"raftq-1 ended by itself with exit code 2\n.*already in use"):
            async with cluster:
                await cluster.leader()
