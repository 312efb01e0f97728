"""`raftq run`, as processes: a singleton runs in one place at a time, whatever is frozen or killed."""

import os
import signal
import subprocess
import sys

import pytest
from run_cluster import STOP_TIMEOUT_S, RunCluster, alive, eventually, frozen

ALONE = ("--name", "raftq-0", "--peers", "raftq-0=127.0.0.1:7400", "--data", "nowhere")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the watchdog relies on the Linux kernel")


@pytest.mark.parametrize("manner", ["plain", "stubborn"])
async def test_a_frozen_agent_does_not_leave_its_singleton_running(tmp_path, manner):
    async with RunCluster(tmp_path, manner) as cluster:
        member, first = await cluster.running()
        with frozen(member.agent_pid()):
            await eventually(lambda: not alive(first.pid), "the end of the singleton", STOP_TIMEOUT_S)
            _, second = await cluster.running(first)
            assert second.term > first.term
        cluster.journal.assert_one_at_a_time()
        assert await member.status() is not None  # thawed, it goes on as a follower
        assert not alive(first.pid)


async def test_a_killed_agent_takes_its_singleton_with_it(tmp_path):
    async with RunCluster(tmp_path, "stubborn") as cluster:
        member, first = await cluster.running()
        cluster.expect_end(member)
        os.kill(member.agent_pid(), signal.SIGKILL)
        await eventually(lambda: not alive(first.pid), "the end of the singleton", STOP_TIMEOUT_S)
        await cluster.running(first)
        cluster.journal.assert_one_at_a_time()
        await eventually(lambda: not member.running, "the end of the watchdog", 2.0)
        assert member.process.returncode == 128 + signal.SIGKILL


async def test_a_killed_watchdog_takes_all_with_it(tmp_path):
    async with RunCluster(tmp_path, "stubborn") as cluster:
        member, first = await cluster.running()
        agent = member.agent_pid()
        await cluster.kill(member)
        await eventually(lambda: not alive(first.pid) and not alive(agent), "the end of both", 1.0)
        await cluster.running(first)
        cluster.journal.assert_one_at_a_time()


async def test_what_the_singleton_started_ends_with_it_also_what_has_left_its_process_group(tmp_path):
    async with RunCluster(tmp_path, "forking", members=1) as cluster:
        member, _ = await cluster.running()
        await eventually(lambda: len(cluster.journal.lives()) == 2, "the singleton's own child", 5.0)
        pids = [life.pid for life in cluster.journal.lives()]
        os.kill(pids[0], signal.SIGKILL)
        await eventually(lambda: not any(map(alive, pids)), "the end of both", 2.0)
        assert await member.status() is not None


async def test_on_sigterm_another_member_runs_it_without_waiting_for_the_lease(tmp_path):
    async with RunCluster(tmp_path, settings=("--application-stop-timeout-ms", "30000")) as cluster:
        member, first = await cluster.running()
        assert await cluster.stop(member) == 0
        _, second = await cluster.running(first, within_s=10.0)
        assert second.first - first.last < 5.0
        cluster.journal.assert_one_at_a_time()


async def test_a_singleton_that_ends_by_itself_moves_on_and_its_member_stays(tmp_path):
    async with RunCluster(tmp_path, "fleeting") as cluster:
        member, first = await cluster.running()
        other, _ = await cluster.running(first)
        assert other is not member
        cluster.journal.assert_one_at_a_time()
        cluster.check()


async def test_alone_it_is_started_again_where_it_ended(tmp_path):
    async with RunCluster(tmp_path, "fleeting", members=1) as cluster:
        _, first = await cluster.running()
        await cluster.running(first)
        cluster.journal.assert_one_at_a_time()


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["--", "no-such-command"], 127, "no-such-command: there is no such command"),
        (["--name", "raftq-0"], 2, "no COMMAND"),
        (["--nope", "1", "--", "true"], 2, "--nope"),
        (["--server", "ftp://there", "--", "true"], 2, "is no http://HOST:PORT"),
        ([*ALONE, "--application-mode", "off", "--", "true"], 2, "application_mode off"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(tmp_path, words, code, complaint):
    command = [sys.executable, "-m", "raftq_k8s.cli.main", "run", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=tmp_path)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert complaint in done.stderr
    assert list(tmp_path.iterdir()) == []
