"""A hook that is COMMAND of `raftq run`: the watchdog, which is another process (`watchdog.py`), starts and ends it."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from raftq_k8s.agent.application.hooks import HookFailed, Notice, environment
from raftq_k8s.agent.application.lease import Lease
from raftq_k8s.agent.application.watchdog import PACKET_BYTES
from raftq_k8s.node.runtime import boottime
from raftq_k8s.raft.types import Instant, Milliseconds, Term

_REPEAT_S: Final = 0.2
"""An order is repeated until it was heard: one that meets a watchdog that is busy is dropped."""


class WatchedCommand:
    """`descriptor` is that of the socket to the watchdog. `on_end` is told the term of a start that ended by itself."""

    name = "run"

    def __init__(self, descriptor: int, stop_timeout: Milliseconds, on_end: Callable[[Term], None]) -> None:
        """Raises `OSError` where that descriptor is no such socket."""
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._stop_timeout = stop_timeout
        self._on_end = on_end
        first = int(boottime() * 1000)  # the watchdog knows those of the life before, if this process has begun anew
        self._starts = count(first)
        self._start = 0
        self._term: Term | None = None
        self._kill_at: Instant = 0.0
        self._environment: dict[str, str] = {}
        self._running: bool | None = None
        """Whether the latest start runs, as far as it is known."""
        self._exit = 0
        self._stops = first
        self._stopped = 0
        """The last order to end that was answered."""
        self._reported = asyncio.Event()
        self._listening = False

    async def start(self, notice: Notice, lease: Lease) -> None:
        self._start, self._term, self._running = next(self._starts), notice.term, None
        self._environment = environment(notice)
        while self._running is None:
            self._order_to_run(lease)
            await self._next_report()
        if not self._running:
            raise HookFailed(f"COMMAND ended with exit code {self._exit}")

    async def stop(self, notice: Notice) -> None:
        self._term = None
        self._stops += 1
        self._order_to_end()

    async def ended(self) -> None:
        while self._running is not False and self._stopped != self._stops:
            self._order_to_end()
            await self._next_report()

    async def tell(self, notice: Notice) -> None:
        pass

    async def renew(self, notice: Notice, lease: Lease) -> None:
        self._order_to_run(lease)

    def _order_to_run(self, lease: Lease) -> None:
        self._kill_at = lease.kill_at
        order = {"start": self._start, "ask_at": lease.ask_at, "kill_at": lease.kill_at}
        self._send(order | {"environment": self._environment})

    def _order_to_end(self) -> None:
        now = boottime()
        kill_at = self._kill_at if now < self._kill_at else now + self._stop_timeout
        self._send({"start": 0, "stop": self._stops, "kill_at": kill_at})

    def _send(self, order: dict[str, Any]) -> None:
        if not self._listening:
            self._listening = True
            asyncio.get_running_loop().add_reader(self._socket, self._hear)
        try:
            self._socket.send(json.dumps(order).encode())
        except BlockingIOError:
            pass
        except OSError as error:
            raise HookFailed("the watchdog has ended") from error

    def _hear(self) -> None:
        try:
            packet = self._socket.recv(PACKET_BYTES)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            asyncio.get_running_loop().remove_reader(self._socket)
            return
        report = json.loads(packet)
        if report["start"] == 0:
            self._stopped = report["stop"]
        elif report["start"] == self._start:
            self._running, self._exit = report["running"], report.get("exit", 0)
            if not self._running and self._term is not None:
                self._on_end(self._term)
        self._reported.set()

    async def _next_report(self) -> None:
        self._reported.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REPEAT_S):
                await self._reported.wait()
