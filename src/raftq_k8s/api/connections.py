"""How many clients there may be, and how long one may take.

A client that is silent, or takes its time over its headers, is cut after the idle time. Beyond the bound on
connections a few more are taken, so that probes and metrics still answer on a node that is overrun; whoever asks for
anything else there is told to come back. One more still, and the one that came first of those few goes: a probe needs
milliseconds, so idle clients do not keep it out. The bound shrinks where the process may not open so many files, for
peers and the volume need some.
"""

import asyncio
import logging
import resource
from collections import Counter

from raftq_k8s.api.problems import Problem
from raftq_k8s.api.requests import Request
from raftq_k8s.api.wire import Connection, Handler

CROWD = 64
"""So many connections more than the bound are kept for probes."""

FILES_BESIDE = 256
"""So many files are left for all that is not a client of ours: peers, strangers on their port, the volume, the API."""

log = logging.getLogger(__name__)


class Connections:
    """Makes the protocol of each connection, and counts them."""

    def __init__(self, handler: Handler, limit: int, idle_timeout_s: float) -> None:
        """`handler` raises nothing but `ConnectionError`."""
        self._handler = handler
        self._limit = _affordable(limit)
        self._idle_timeout_s = idle_timeout_s
        self.unreadable_requests: Counter[str] = Counter()
        """Requests that are no HTTP, by the kind of problem they were answered with."""
        self.all: set[Connection] = set()
        self._open: set[Connection] = set()
        """All but those that were told to go."""
        self._crowd: dict[Connection, None] = {}
        self._over = False

    def __call__(self) -> Connection:
        return Connection(self, self._handler, self._idle_timeout_s)

    def is_crowd(self, request: Request) -> bool:
        """Whether its connection is one of those beyond the bound."""
        return bool(self._crowd) and request.line in self._crowd

    def made(self, connection: Connection) -> None:
        self.all.add(connection)
        if self._over:  # taken just before the listener was closed
            connection.cut()
            return
        self._open.add(connection)
        if len(self._open) > self._limit:
            self._crowd[connection] = None
        if len(self._open) > self._limit + CROWD:
            first = next(iter(self._crowd))
            self._forget(first)
            first.cut()  # it is counted no more, so it must not stay to read a last answer

    def lost(self, connection: Connection) -> None:
        self.all.discard(connection)
        self._forget(connection)

    def unreadable(self, problem: Problem) -> None:
        self.unreadable_requests[problem.kind] += 1

    async def shutdown(self, grace_s: float) -> None:
        """Close them all: what is being answered is given so much time."""
        self._over = True
        for connection in tuple(self.all):
            connection.leave()
        answering = [connection.task for connection in self.all if connection.task is not None]
        if answering:
            _, late = await asyncio.wait(answering, timeout=grace_s)
            for task in late:
                task.cancel()
        for connection in tuple(self.all):
            connection.cut()

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._crowd.pop(connection, None)


def _affordable(limit: int) -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files >= limit + CROWD + FILES_BESIDE:
        return limit
    shrunk = max(1, files - CROWD - FILES_BESIDE)
    log.warning("%d HTTP connections are served, not %d: this process may open %d files", shrunk, limit, files)
    return shrunk
