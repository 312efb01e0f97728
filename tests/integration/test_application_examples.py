"""The examples of an application beside the agent run as they stand."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

from run_cluster import alive, children

from raftq_k8s.agent.application.watchdog import end_with
from raftq_k8s.cli.local_cluster import LocalCluster, free_ports

EXAMPLES = Path(__file__).parents[2] / "examples"
STOP_TIMEOUT_S = 2.0


class Program:
    """An example as a process; what it prints is kept."""

    def __init__(self, folder: Path, *command: str, **environment: str) -> None:
        self._output = folder / f"{time.monotonic_ns()}.out"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | environment,
                preexec_fn=end_with(os.getpid()),
            )

    def lines(self) -> list[str]:
        return self._output.read_text().splitlines()

    def until(self, condition: Callable[[list[str]], bool], within_s: float = 15.0) -> list[str]:
        deadline = time.monotonic() + within_s
        while not condition(self.lines()):
            assert time.monotonic() < deadline, self.lines()
            time.sleep(0.02)
        return self.lines()

    def says(self, line: str, within_s: float = 15.0) -> None:
        self.until(lambda lines: any(each.startswith(line) for each in lines), within_s)


@contextlib.contextmanager
def running(*programs: Program) -> Iterator[None]:
    try:
        yield
    finally:
        for program in programs:
            program.process.terminate()
        for program in programs:
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.process.wait(10)
            program.process.kill()
            program.process.wait()


async def test_beside_an_agent_one_learns_by_events_and_by_the_file_that_it_leads(tmp_path):
    settings = ("--profile", "fast", "--application-stop-timeout-ms", f"{STOP_TIMEOUT_S * 1000:g}")
    cluster = LocalCluster(tmp_path, arguments=settings)
    files = {agent.name: tmp_path / f"{agent.name}.json" for agent in cluster.agents}
    for agent in cluster.agents:
        agent.arguments += ["--application-file", str(files[agent.name])]
    async with cluster:
        leader = await cluster.leader()
        other = next(agent for agent in cluster.agents if agent is not leader)
        sidecar = EXAMPLES / "sidecar"
        by_file = Program(tmp_path, sys.executable, str(sidecar / "by_file.py"), str(files[leader.name]))
        address = f"http://127.0.0.1:{leader.http_port}"
        by_events = Program(tmp_path, sys.executable, str(sidecar / "by_events.py"), address)
        elsewhere = f"http://127.0.0.1:{other.http_port}"
        following = Program(tmp_path, sys.executable, str(sidecar / "by_events.py"), elsewhere)
        with running(by_file, by_events, following):
            by_file.says("leading in term")
            by_events.says("leading in term")
            following.says(f"following {leader.name} in term")
            os.kill(leader.process.pid, signal.SIGSTOP)
            frozen_at = time.monotonic()
            by_file.says("not leading", within_s=STOP_TIMEOUT_S)
            assert time.monotonic() - frozen_at < STOP_TIMEOUT_S
            os.kill(leader.process.pid, signal.SIGCONT)
            by_events.until(lambda lines: lines[-1].startswith("following"))


def test_the_singleton_works_on_one_of_three_members_and_moves_on(tmp_path):
    first_port = next(port for port in iter(lambda: free_ports(1)[0], None) if port < 31000)
    environment = {"FIRST_PORT": str(first_port), "DATA": str(tmp_path / "data")}
    script = str(EXAMPLES / "singleton" / "member.sh")
    members = [Program(tmp_path, "sh", script, str(number), **environment) for number in range(3)]

    def at_work() -> list[Program]:
        return [member for member in members if any(line.startswith("working, in term") for line in member.lines())]

    with running(*members):
        members[0].until(lambda _: len(at_work()) == 1, within_s=30.0)
        (first,) = at_work()
        worker = max(children(first.process.pid))
        first.process.send_signal(signal.SIGINT)  # what Ctrl-C sends
        members[0].until(lambda _: len(at_work()) == 2, within_s=30.0)
        assert not alive(worker)
        assert first.process.wait(15) == 0


def test_the_store_refuses_a_writer_that_slept_through_the_end_of_its_term(tmp_path):
    port = free_ports(1)[0]
    address = f"http://127.0.0.1:{port}"
    folder = EXAMPLES / "fenced_writer"
    store = Program(tmp_path, sys.executable, str(folder / "store.py"), str(port))
    with running(store):
        wait_for(port)
        writer = [sys.executable, str(folder / "writer.py"), address]
        former = Program(tmp_path, *writer, RAFTQ_TERM="7")
        with running(former):
            former.says("writing in term 7")
            os.kill(former.process.pid, signal.SIGSTOP)
            later = Program(tmp_path, *writer, RAFTQ_TERM="8")
            with running(later):
                later.says("writing in term 8")
                os.kill(former.process.pid, signal.SIGCONT)
                assert former.process.wait(10) == 1
                assert former.lines()[-1] == "term 7 is over: 8 is the latest"
                with urlopen(address) as answer:
                    assert answer.read().endswith(b" of term 8\n")


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}"):
                return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
