"""Applications beside agents, as processes: hooks, reports, and `raftq run` that asks an agent of another process."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import NamedTuple

import pytest
from run_cluster import SETTINGS, SINGLETON, STOP_TIMEOUT_S, Journal, alive, children, eventually, frozen

from raftq_k8s.agent.application.watchdog import end_with
from raftq_k8s.cli.local_cluster import LocalCluster

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="another process's children are read from /proc")

HOOK = 'echo "$RAFTQ_MEMBER $RAFTQ_ROLE $RAFTQ_TERM" >> {journal}'


class Told(NamedTuple):
    member: str
    role: str
    term: int


def told(journal):
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [Told(member, role, int(term)) for member, role, term in (line.split() for line in lines)]


def leading(journal):
    """Who was told that it leads, in order."""
    return [each for each in told(journal) if each.role == "leader"]


@pytest.fixture
async def hooked(tmp_path):
    """A cluster whose members write into a journal what their hook is told."""
    hook = tmp_path / "hook.sh"
    hook.write_text(HOOK.format(journal=tmp_path / "journal"))
    settings = (*SETTINGS, "--application-stop-timeout-ms", "20000", "--application-exec", f"sh {hook}")
    async with LocalCluster(tmp_path, arguments=settings) as cluster:
        cluster.journal = tmp_path / "journal"
        await eventually(lambda: bool(leading(cluster.journal)), "an application that leads", 30.0)
        yield cluster
        await asyncio.gather(*(cluster.kill(agent) for agent in cluster.agents))


async def test_each_member_stops_what_a_former_life_left_and_one_is_told_that_it_leads(hooked):
    leader = await hooked.leader()
    first = {
        agent.name: next(each for each in told(hooked.journal) if each.member == agent.name) for agent in hooked.agents
    }
    assert {(each.role, each.term) for each in first.values()} == {("follower", 0)}
    assert [each.member for each in leading(hooked.journal)] == [leader.name]


async def test_on_sigterm_it_is_told_to_stop_before_another_is_told_that_it_leads(hooked):
    leader = await hooked.leader()
    assert await hooked.stop(leader) == 0
    await eventually(lambda: len(leading(hooked.journal)) == 2, "another that leads", 5.0)  # far below the lease
    lines = told(hooked.journal)
    former, later = leading(hooked.journal)
    between = lines[lines.index(former) : lines.index(later)]
    assert any(each.member == leader.name and each.role == "follower" for each in between)
    assert later.term > former.term


async def test_a_transfer_by_hand_stops_it_first(hooked):
    leader = await hooked.leader()
    target = next(agent for agent in hooked.agents if agent is not leader)
    answer = await request(leader, "POST", "/v1/transfer", {"to": target.name})
    assert answer["leader"] == target.name
    await eventually(lambda: len(leading(hooked.journal)) == 2, "another that leads", 5.0)
    lines = told(hooked.journal)
    former, later = leading(hooked.journal)
    assert later.member == target.name
    between = lines[lines.index(former) : lines.index(later)]
    assert any(each.member == leader.name and each.role == "follower" for each in between)


async def test_a_killed_agent_is_waited_for_no_longer_than_it_takes_to_start_again(hooked):
    """Its next start runs the stop hook, and says that nothing runs."""
    leader = await hooked.leader()
    await hooked.kill(leader)
    await asyncio.sleep(1.0)
    assert len(leading(hooked.journal)) == 1
    hooked.start(leader)
    await eventually(lambda: len(leading(hooked.journal)) == 2, "another that leads", 10.0)


async def test_an_application_that_is_not_well_is_handed_over(tmp_path):
    settings = (*SETTINGS, "--application-signal", "put", "--application-unhealthy-after-ms", "300")
    async with LocalCluster(tmp_path, arguments=settings) as cluster:
        leader = await cluster.leader()
        state = await reached(leader, "starting")
        state = await request(leader, "PUT", "/v1/application", {"state": "promoted", "term": state["term"]})
        await reached(leader, "promoted")
        await request(leader, "PUT", "/v1/application", {"healthy": False, "reason": "disk full"})
        state = await reached(leader, "stopping")
        await request(leader, "PUT", "/v1/application", {"state": "stopped", "term": state["term"]})

        async def another_leads():
            return (await leader.status()).leader != leader.name

        await cluster.until(another_leads, "another leader", 10.0)


class Beside:
    """`raftq run --server` beside each agent of a cluster."""

    def __init__(self, cluster, folder):
        self.journal = Journal(folder / "journal")
        program = folder / "singleton.py"
        program.write_text(SINGLETON)
        self._singleton = [sys.executable, str(program), str(self.journal.path), "stubborn"]
        self.processes = {agent.name: self.start(agent) for agent in cluster.agents}

    def start(self, agent):
        server = f"http://127.0.0.1:{agent.http_port}"
        command = [sys.executable, "-m", "raftq_k8s.cli.main", "run", "--server", server, "--", *self._singleton]
        return subprocess.Popen(command, preexec_fn=end_with(os.getpid()))

    def end(self):
        for process in self.processes.values():
            process.kill()
            process.wait()

    async def life(self, number):
        await eventually(lambda: len(self.journal.lives()) > number, "a singleton that runs", 30.0)
        return self.journal.lives()[number]

    def holder(self, life):
        return next(name for name, process in self.processes.items() if life.pid in children(process.pid))


@pytest.fixture
async def beside(tmp_path):
    settings = (*SETTINGS, "--application-signal", "put")
    async with LocalCluster(tmp_path, arguments=settings) as cluster:
        beside = Beside(cluster, tmp_path)
        beside.cluster = cluster
        yield beside
        beside.end()
        await asyncio.gather(*(cluster.kill(agent) for agent in cluster.agents))


async def test_beside_a_frozen_agent_the_singleton_ends_within_its_lease(beside):
    first = await beside.life(0)
    agent = next(agent for agent in beside.cluster.agents if agent.name == beside.holder(first))
    with frozen(agent.process.pid):
        await eventually(lambda: not alive(first.pid), "the end of the singleton", STOP_TIMEOUT_S)
        second = await beside.life(1)
        assert second.term > first.term
    beside.journal.assert_one_at_a_time()
    assert all(process.poll() is None for process in beside.processes.values())


async def test_without_the_process_that_asks_the_singleton_ends_and_only_then_the_next_one_runs(beside):
    first = await beside.life(0)
    agent = next(agent for agent in beside.cluster.agents if agent.name == beside.holder(first))
    process = beside.processes[agent.name]
    os.kill(min(children(process.pid)), signal.SIGKILL)
    again = beside.start(agent)  # while the watchdog of the first one still waits for its end
    try:
        await eventually(lambda: not alive(first.pid), "the end of the singleton", STOP_TIMEOUT_S)
        await eventually(lambda: process.poll() is not None, "the end of the watchdog", 2.0)
        await beside.life(1)
        beside.journal.assert_one_at_a_time()
    finally:
        again.kill()
        again.wait()


async def test_a_singleton_that_ends_by_itself_ends_its_run_with_its_code_and_moves_on(beside):
    first = await beside.life(0)
    process = beside.processes[beside.holder(first)]
    os.kill(first.pid, signal.SIGKILL)
    await eventually(lambda: process.poll() is not None, "the end of the watchdog", 2.0)
    assert process.returncode == 128 + signal.SIGKILL
    second = await beside.life(1)
    assert second.first - first.last < STOP_TIMEOUT_S
    beside.journal.assert_one_at_a_time()


async def reached(agent, state):
    found = {}

    async def there():
        found.update(await request(agent, "GET", "/v1/application"))
        return found["state"] == state

    deadline = asyncio.get_running_loop().time() + 10
    while not await there():
        assert asyncio.get_running_loop().time() < deadline, found
        await asyncio.sleep(0.02)
    return found


async def request(agent, method, path, body=None):
    connection = agent.connection()
    try:
        encoded = b"" if body is None else json.dumps(body).encode()
        answer = await connection.request(method, path, encoded, timeout_s=10.0)
    finally:
        connection.close()
    assert answer.status == 200, answer
    return json.loads(answer.body)
