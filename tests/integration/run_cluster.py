"""Members that run a singleton by `raftq run`, as processes, and a journal in which every singleton writes that it is
alive."""

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from raftq_k8s.cli.local_cluster import LocalAgent, LocalCluster

STOP_TIMEOUT_S = 4.0
"""A tenth of it is what a machine that is busy with other tests may cost a watchdog."""
SETTINGS = (
    *("--heartbeat-ms", "125", "--minimum-election-ms", "500", "--maximum-election-ms", "1000"),
    *("--application-stop-timeout-ms", f"{STOP_TIMEOUT_S * 1000:g}"),
)

SINGLETON = """
import os, pathlib, signal, subprocess, sys, time
journal, manner = sys.argv[1:]
if manner == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if manner == "fleeting":
    deadline = time.monotonic() + 0.3
else:
    deadline = time.monotonic() + 120
if manner == "forking" and not os.environ.get("FORKED"):
    environment = os.environ | {"FORKED": "1"}
    subprocess.Popen([sys.executable, *sys.orig_argv[1:]], env=environment, start_new_session=True)
with open(journal, "a", buffering=1) as file:
    while time.monotonic() < deadline:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        file.write(f"{os.environ['RAFTQ_TERM']} {os.environ['RAFTQ_ROLE']} {os.getpid()} {now}\\n")
        time.sleep(0.005)
sys.exit(7)
"""


class Life(NamedTuple):
    """Of one process, as far as its journal shows."""

    term: int
    pid: int
    first: float
    last: float


class Journal:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def lives(self) -> list[Life]:
        seen: dict[int, Life] = {}
        for line in self.path.read_text().splitlines():
            with contextlib.suppress(ValueError):  # one that is just being written
                term, role, pid, moment = line.split()
                assert role == "leader"
                known = seen.get(int(pid))
                first = known.first if known else float(moment)
                seen[int(pid)] = Life(int(term), int(pid), first, float(moment))
        return sorted(seen.values(), key=lambda life: life.first)

    def assert_one_at_a_time(self) -> None:
        lives = self.lives()
        for former, later in itertools.pairwise(lives):
            assert former.last < later.first, f"two at a time: {former} and {later}"
            assert former.term <= later.term


class Member(LocalAgent):
    """`raftq run` with an agent of its own; `process` is the watchdog."""

    singleton: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        plain = super().command
        plain[plain.index("agent")] = "run"
        return [*plain, "--", *self.singleton]

    def family(self) -> list[int]:
        """What the watchdog has for children: the agent, the singleton, and what was left to it."""
        return children(self.process.pid) if self.process is not None and self.running else []

    def agent_pid(self) -> int:
        """Of the agent that the watchdog started first."""
        assert self.process is not None
        return min(children(self.process.pid))


class RunCluster(LocalCluster):
    def __init__(self, folder: Path, manner: str = "plain", members: int = 3, settings: tuple[str, ...] = ()) -> None:
        super().__init__(folder, members)
        peers = ",".join(f"{agent.name}=127.0.0.1:{agent.raft_port}" for agent in self.agents)
        arguments = ["--peers", peers, *SETTINGS, *settings]
        self.journal = Journal(folder / "journal")
        program = folder / "singleton.py"
        program.write_text(SINGLETON)
        self.members = tuple(
            Member(agent.name, folder, agent.raft_port, agent.http_port, arguments) for agent in self.agents
        )
        for member in self.members:
            member.singleton = (sys.executable, str(program), str(self.journal.path), manner)
        self.agents = self.members

    async def __aexit__(self, *_: object) -> None:
        """Nobody waits here for what the end of a member waits for."""
        await asyncio.gather(*(self.kill(member) for member in self.members))
        await super().__aexit__()

    async def running(self, beside: Life | None = None, within_s: float = 30.0) -> tuple[Member, Life]:
        """Waits until a singleton runs that is not that one."""
        found: list[tuple[Member, Life]] = []

        async def one_runs() -> bool:
            lives = self.journal.lives()
            if lives and lives[-1] != beside and (beside is None or lives[-1].pid != beside.pid):
                holders = [member for member in self.members if lives[-1].pid in member.family()]
                found[:] = [(member, lives[-1]) for member in holders]
            return bool(found)

        await self.until(one_runs, "a singleton that runs", within_s)
        return found[0]


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end between being opened and being read
        return False


async def eventually(condition: Callable[[], bool], what: str, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s:g} s for {what} in vain"
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def frozen(pid: int):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
