"""How many clients there may be, and how long one may take.

A client that is silent, or takes its time over its headers, is cut after the idle time. Beyond the bound on
connections a few more are taken, so that probes and metrics still answer on a node that is overrun; whoever asks for
anything else there is told to come back. One more still, and the one that came first of those few goes: a probe needs
milliseconds, so idle clients do not keep it out. The bound shrinks where the process may not open so many files, for
peers and the volume need some. What cannot be parsed as HTTP is answered as a problem, and closed.
"""

import asyncio
import logging
import resource
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import cast

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong

from raftq_k8s.api.answers import Response
from raftq_k8s.api.problems import Problem, headers_too_large

Handler = Callable[[web.BaseRequest], Awaitable[Response]]

CROWD = 64
"""So many connections more than the bound are kept for probes."""

FILES_BESIDE = 256
"""So many files are left for all that is not a client of ours: peers, strangers on their port, the volume, the API."""

HEAD_BYTES = 32 << 10
"""The first line and the headers of a request, all together; what came with one read of the socket is not looked at."""

_LINGER_S = 2.0
"""For so long the rest of a refused body is read and dropped: else its sender would see a reset, not our answer."""


log = logging.getLogger(__name__)


class Connections(web.Server):
    """Makes the protocol of each connection, and counts them."""

    def __init__(self, handler: Handler, limit: int, idle_timeout_s: float) -> None:
        """`handler` raises nothing but `ConnectionError`."""
        # A `Response` is all that aiohttp asks of one, though not by its type.
        super().__init__(cast("Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]", handler))
        self._limit = _affordable(limit)
        self._idle_timeout_s = idle_timeout_s
        self.unreadable: Counter[str] = Counter()
        """Requests that are no HTTP, by the kind of problem they were answered with."""
        self._open: set[web.RequestHandler] = set()
        self._crowd: dict[web.RequestHandler, None] = {}

    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp takes None as "no access log", but does not say so
            keepalive_timeout=self._idle_timeout_s,
            lingering_time=_LINGER_S,
            auto_decompress=False,
        )

    def is_crowd(self, request: web.BaseRequest) -> bool:
        """Whether its connection is one of those beyond the bound."""
        return bool(self._crowd) and request.protocol in self._crowd

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._open.add(handler)
        if len(self._open) > self._limit:
            self._crowd[handler] = None
        if len(self._open) > self._limit + CROWD:
            first = next(iter(self._crowd))
            self._forget(first)
            first.force_close()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._forget(handler)

    def _forget(self, handler: web.RequestHandler) -> None:
        self._open.discard(handler)
        self._crowd.pop(handler, None)


def when_gone(request: web.BaseRequest, tell: Callable[[], None]) -> None:
    """Call `tell` once the connection of that request is no more."""
    cast("_Connection", request.protocol).gone = tell


def _affordable(limit: int) -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files >= limit + CROWD + FILES_BESIDE:
        return limit
    shrunk = max(1, files - CROWD - FILES_BESIDE)
    log.warning("%d HTTP connections are served, not %d: this process may open %d files", shrunk, limit, files)
    return shrunk


class _Connection(web.RequestHandler):
    __slots__ = ("_head_bytes", "gone")

    gone: Callable[[], None] | None
    """Called when the client has gone: aiohttp tells nobody who only waits."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.gone = None
        self._head_bytes = 0
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self.gone is not None:
            self.gone()
            self.gone = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:
            self._head_bytes = 0
            if not isinstance(self._messages[-1][0], RawRequestMessage):
                self._break_off_body()
        elif self._waiter is not None:  # for the next request, which is not complete
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse_head()

    def _refuse_head(self) -> None:
        problem = headers_too_large(f"the headers of a request have at most {HEAD_BYTES} bytes")
        if self.transport is not None:
            self.transport.write(problem.answer().encoded())
        self._count(problem)
        self.force_close()

    def _break_off_body(self) -> None:
        """A complaint of the parser waits behind the request in hand, whose body will never end: nobody else tells its
        reader so."""
        request = self._current_request
        body = self._messages[-2][1] if len(self._messages) > 1 else None if request is None else request.content
        if body is not None and not body.is_eof():
            body.set_exception(web.RequestPayloadError("what should go on with the body is no HTTP"))
            body.feed_eof()  # and nobody waits for the rest

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Called for what aiohttp cannot parse; everything later is caught by the server itself."""
        if isinstance(exc, LineTooLong):
            problem = headers_too_large("a line of the request is too long")
        else:
            problem = Problem(400, "bad-request", "Bad request", "this is not a well-formed HTTP request", close=True)
        self._count(problem)
        return cast("web.StreamResponse", problem.answer())

    def _count(self, problem: Problem) -> None:
        if isinstance(self._manager, Connections):
            self._manager.unreadable[problem.kind] += 1
