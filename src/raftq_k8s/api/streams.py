"""Server-sent events for a crowd: nobody who listens slowly holds up the rest, and all of them together not the loop.

An audience is told in slices, and between two slices whatever else the loop has to do comes first; after a round the
teller rests for as long as it worked. So a thousand listeners delay a heartbeat by no more than one slice, and take no
more than half of the loop; what happens meanwhile is told in the next round, all at once.

What a listener has not read yet waits at its socket: the same bytes for all of them, not a copy each. Who lets more
wait than its share is cut off, and goes on from the last event that it saw, on a connection of its own choice. Every
`KEEP_ALIVE_S` each is told at least that it still listens, so that a client can tell silence from a dead connection.

The body ends with the connection, and has no other end.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from raftq_k8s.api.answers import drained, head_of_stream, patience_s
from raftq_k8s.api.requests import Request

EVENT_STREAM = b"text/event-stream"
KEEP_ALIVE_S = 15.0
SLICE = 8
"""So many are told before the loop turns."""

WAITING_BYTES = 32 << 20
"""So much may wait for listeners that have not read it, all together; each has an equal share of it."""
LEAST_SHARE_BYTES = 16 << 10

_HEADERS = b"Cache-Control: no-store\r\nX-Accel-Buffering: no\r\nConnection: close\r\n"
_COME_BACK_SOON = b"retry: 1000\n\n"

log = logging.getLogger(__name__)


class Listener:
    """One client of an audience, as a response."""

    __slots__ = ("_audience", "_catch_up", "_ended", "_headers", "_request", "keep_alive", "position", "prefix")

    def __init__(
        self, audience: "Audience", catch_up: "CatchUp", *, headers: bytes = b"", position: int = 0, prefix: str = ""
    ) -> None:
        """`catch_up` tells it what the audience was told before, or raises `ConnectionError` to give it up."""
        self._audience = audience
        self._catch_up = catch_up
        self._headers = headers
        self._request: Request | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.position = position
        """It was told everything up to this revision."""
        self.prefix = prefix
        self.keep_alive = False

    @property
    def request(self) -> Request:
        assert self._request is not None, "it listens once it is sent"
        return self._request

    async def send(self, request: Request) -> None:
        """Returns when it has listened for the last time."""
        self._request = request
        request.line.gone = self.end
        self.tell(head_of_stream(EVENT_STREAM, self._headers + _HEADERS) + _COME_BACK_SOON)
        await self._catch_up(self)
        self._audience.add(self)
        try:
            await self._ended
        finally:
            self._audience.remove(self)

    def tell(self, data: bytes, share_bytes: int = WAITING_BYTES) -> None:
        transport = self.request.transport
        if transport is None or transport.is_closing():
            self.end()
        elif transport.get_write_buffer_size() > share_bytes:
            transport.abort()
            self.end()
        else:
            transport.write(data)

    async def drained(self) -> None:
        """Until it has read what it was told. Raises `ConnectionResetError`, and cuts it off, when that takes long."""
        request = self.request
        if request.transport is None:
            raise ConnectionResetError("the client has gone")
        await drained(request, request.transport, patience_s(WAITING_BYTES))

    def end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


CatchUp: TypeAlias = Callable[[Listener], Awaitable[None]]
Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Audience:
    def __init__(self, begin: Callable[[], Work], alive: Callable[[Listener], bytes]) -> None:
        """`begin` is called when there is somebody to be told; what it returns runs for as long as there is, and tells
        everything from that moment on. `alive` is what a listener hears when there is nothing else."""
        self._begin = begin
        self._alive = alive
        self._listeners: dict[Listener, None] = {}
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, listener: Listener) -> None:
        self._listeners[listener] = None
        if not self._tasks:
            work = {"events": self._begin(), "keep-alive": self._keep_alive}
            self._tasks = tuple(asyncio.create_task(self._run(each), name=name) for name, each in work.items())

    def remove(self, listener: Listener) -> None:
        self._listeners.pop(listener, None)
        if not self._listeners:
            self._rest()

    async def tell(self, what: Callable[[Listener], bytes]) -> None:
        """One round: to each what `what` says, or nothing where that is empty."""
        loop = asyncio.get_running_loop()
        worked_s = 0.0
        everybody = tuple(self._listeners)
        share_bytes = max(LEAST_SHARE_BYTES, WAITING_BYTES // max(1, len(everybody)))
        for first in range(0, len(everybody), SLICE):
            began = loop.time()
            for listener in everybody[first : first + SLICE]:
                data = what(listener)
                if data:
                    listener.tell(data, share_bytes)
            worked_s += loop.time() - began
            await asyncio.sleep(0)
        await asyncio.sleep(worked_s)

    def close(self) -> None:
        """Nobody listens any more."""
        for listener in self._listeners:
            listener.end()

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            await self.tell(self._alive)

    async def _run(self, work: Work) -> None:
        """A supervisor's door. Whoever is not told any more is let go, to ask again."""
        try:
            await work()
        except Exception:
            log.exception("listeners cannot be told any more")
        self.close()
        self._rest()  # whoever comes from here on is told anew

    def _rest(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = ()
