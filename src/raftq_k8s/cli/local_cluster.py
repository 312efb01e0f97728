"""Agents as processes on this machine, each with its own volume in one folder: for the demo, the tests and the bench.

They are the real `raftq agent`, found on loopback by static addresses. They end with the process that started them,
also when that one is killed (on Linux).
"""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from raftq_k8s.agent.application.watchdog import end_with
from raftq_k8s.cli.at_most_once import Answer, Connection, Unanswered, Unsent
from raftq_k8s.node.status import NodeStatus, RaftRole

HOST = "127.0.0.1"
_PORTS = range(20000, 32000)
"""Below the ports that the kernel hands to outgoing connections: a member that was killed finds its own again."""
_ENDS_WITHIN_S = 5.0
_OTHERS_SETTINGS = ("RAFTQ_", "POD_", "KUBERNETES_")


class ClusterFailed(Exception):
    """A process ended by itself, or what was waited for did not come. The message ends with last lines of the logs."""


class LocalAgent:
    def __init__(self, name: str, folder: Path, raft_port: int, http_port: int, arguments: Sequence[str]) -> None:
        self.name = name
        self.data = folder / name
        self.log = folder / f"{name}.log"
        self.raft_port = raft_port
        self.http_port = http_port
        self.process: subprocess.Popen[bytes] | None = None
        self.arguments = [*arguments]
        self.within: list[str] = []
        """A command that becomes the agent's, after it has made a place of its own for it."""
        self._observed_through = self.connection()

    @property
    def command(self) -> list[str]:
        return [
            *self.within,
            *(sys.executable, "-m", "raftq_k8s.cli.main", "agent", "--name", self.name, "--data", str(self.data)),
            *("--raft-host", HOST, "--raft-port", str(self.raft_port)),
            *("--http-host", HOST, "--http-port", str(self.http_port), "--kubernetes", "off"),
            *self.arguments,
        ]

    def start(self) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_OTHERS_SETTINGS)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # a Ctrl-C in the terminal is for whoever started them
                preexec_fn=end_with(os.getpid()),
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    async def kill(self) -> None:
        """SIGKILL, as the kernel or a failing node does it."""
        await self._end(signal.SIGKILL, _ENDS_WITHIN_S)

    async def stop(self, within_s: float = _ENDS_WITHIN_S) -> int | None:
        """SIGTERM, and SIGKILL if it takes too long. Returns the exit code."""
        await self._end(signal.SIGTERM, within_s)
        return self.process.returncode if self.process else None

    async def _end(self, by: signal.Signals, within_s: float) -> None:
        if self.process is None or not self.running:
            return
        self.process.send_signal(by)
        deadline = time.monotonic() + within_s
        while self.running:
            if time.monotonic() > deadline:
                self.process.kill()
            await asyncio.sleep(0.002)

    def connection(self) -> Connection:
        return Connection(HOST, self.http_port)

    async def status(self) -> NodeStatus | None:
        """What it says of itself; `None` while it does not answer."""
        try:
            answer = await self._observed_through.request("GET", "/v1/status", timeout_s=1.0)
        except (Unsent, Unanswered):
            return None
        return msgspec.json.decode(answer.body, type=NodeStatus) if answer.status == 200 else None

    async def ready(self) -> bool:
        try:
            return (await self._observed_through.request("GET", "/readyz", timeout_s=1.0)).status == 200
        except (Unsent, Unanswered):
            return False

    async def get(self, path: str) -> Answer:
        connection = self.connection()
        try:
            return await connection.request("GET", path, timeout_s=10.0)
        finally:
            connection.close()

    def disconnect(self) -> None:
        self._observed_through.close()

    def last_lines(self, count: int = 12) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-count:] if self.log.exists() else []
        return "\n".join(f"  {self.name} | {line}" for line in lines)


Way: TypeAlias = Callable[[str, str, int], int]
"""By which port of loopback one member (the first) dials another (the second), who listens on the third."""


def _straight(dialling: str, dialled: str, port: int) -> int:
    return port


def _peers(member: str, raft_ports: Mapping[str, int], way: Way) -> str:
    seen = {name: port if name == member else way(member, name, port) for name, port in raft_ports.items()}
    return ",".join(f"{name}={HOST}:{port}" for name, port in seen.items())


class LocalCluster:
    """Use it as an asynchronous context manager: the processes are ended on the way out."""

    def __init__(
        self,
        folder: Path,
        members: int = 3,
        arguments: Sequence[str] = ("--profile", "fast"),
        way: Way = _straight,
    ) -> None:
        ports = free_ports(2 * members)
        names = [f"raftq-{ordinal}" for ordinal in range(members)]
        raft_ports = dict(zip(names, ports[::2], strict=True))
        self.agents = tuple(
            LocalAgent(name, folder, port, http_port, ["--peers", _peers(name, raft_ports, way), *arguments])
            for (name, port), http_port in zip(raft_ports.items(), ports[1::2], strict=True)
        )
        self._expected_to_end: set[str] = set()

    async def __aenter__(self) -> "LocalCluster":
        for agent in self.agents:
            agent.data.mkdir(exist_ok=True)
            self.start(agent)
        return self

    async def __aexit__(self, *_: object) -> None:
        for agent in self.agents:
            agent.disconnect()
        await asyncio.shield(asyncio.gather(*(agent.stop() for agent in self.agents)))

    def start(self, agent: LocalAgent) -> None:
        self.expect_no_end(agent)
        agent.start()

    def expect_end(self, agent: LocalAgent) -> None:
        """From now on its process may end."""
        self._expected_to_end.add(agent.name)

    def expect_no_end(self, agent: LocalAgent) -> None:
        self._expected_to_end.discard(agent.name)

    async def kill(self, agent: LocalAgent) -> None:
        self.expect_end(agent)
        await agent.kill()

    async def stop(self, agent: LocalAgent) -> int | None:
        self.expect_end(agent)
        return await agent.stop()

    async def leader(self, within_s: float = 15.0) -> LocalAgent:
        """Waits until one of them leads, and returns it."""
        found: LocalAgent | None = None
        found_in = 0

        async def somebody_leads() -> bool:
            nonlocal found, found_in
            running = [agent for agent in self.agents if agent.running]
            for agent, one in zip(running, await asyncio.gather(*(each.status() for each in running)), strict=True):
                if one is not None and one.role is RaftRole.LEADER and (found is None or one.term > found_in):
                    found, found_in = agent, one.term
            return found is not None

        await self.until(somebody_leads, "a leader", within_s)
        assert found is not None
        return found

    async def all_ready(self, within_s: float = 15.0) -> None:
        async def ready() -> bool:
            return all(await asyncio.gather(*(agent.ready() for agent in self.agents)))

        await self.until(ready, "all members to be ready", within_s)

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not await condition():
            self.check()
            if time.monotonic() > deadline:
                raise ClusterFailed(f"waited {within_s:g} s for {what} in vain\n{self.logs()}")
            await asyncio.sleep(0.02)

    def check(self) -> None:
        """Raises `ClusterFailed` if a process ended that nobody ended."""
        for agent in self.agents:
            if not agent.running and agent.process and agent.name not in self._expected_to_end:
                code = agent.process.returncode
                raise ClusterFailed(f"{agent.name} ended by itself with exit code {code}\n{agent.last_lines()}")

    def logs(self, count: int = 12) -> str:
        return "\n".join(agent.last_lines(count) for agent in self.agents)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on. Nothing holds them until they are used."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice(_PORTS)
        with socket.socket() as trial:
            try:
                trial.bind((HOST, port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports
