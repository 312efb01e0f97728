"""The raft port: takes sockets in, and bounds those who have not been greeted yet.

A caller has a few seconds to become a peer, whatever it does meanwhile: says nothing, talks half a request, or opens a
websocket and never a hello. So many may be about it at a time; one more, and the one that has been longest about it
goes. A peer needs milliseconds, so a crowd of strangers does not keep it out. Until it is greeted a caller is read no
further than a hello needs; the rest waits in its socket, for a peer may well send on while its greeting is under way.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

GREETING_S = 5.0
MAX_STRANGERS = 64
ENOUGH_FOR_A_HELLO = 64 << 10
"""Bytes, and for the upgrade before it: each takes a few hundred."""
GRACE_S = 0.5

_silent = logging.getLogger(f"{__name__}.http")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


class Caller(web.RequestHandler):
    """One socket, as aiohttp's server sees it."""

    def __init__(self, server: web.Server, listener: "Listener", loop: asyncio.AbstractEventLoop) -> None:
        silence: Any = None  # aiohttp takes it, its annotation does not
        super().__init__(server, loop=loop, access_log=silence, logger=_silent, lingering_time=0.0)
        self._listener = listener
        self._read_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._listener.came(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._listener.forget(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._listener.is_stranger(self):
            self._read_bytes += len(data)
            if self._read_bytes > ENOUGH_FOR_A_HELLO:
                self.pause_reading()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        self._listener.count("not-http")
        response = web.Response(status=status)
        response.force_close()
        return response


class Listener:
    def __init__(
        self,
        answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        count: Callable[[str], None],
    ) -> None:
        self.count = count
        self._answer = answer
        self._strangers: dict[web.RequestHandler, asyncio.TimerHandle] = {}
        self._http: web.Server | None = None
        self._sockets: asyncio.Server | None = None

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Returns the port. Raises `OSError` when it is taken."""
        loop = asyncio.get_running_loop()
        http = web.Server(self._answer)
        self._sockets = await loop.create_server(
            lambda: Caller(http, self, loop),
            host or None,
            port,
            backlog=128,
            ssl=tls,
            ssl_handshake_timeout=GREETING_S if tls else None,
        )
        self._http = http
        bound: int = self._sockets.sockets[0].getsockname()[1]
        return bound

    def came(self, caller: web.RequestHandler) -> None:
        if len(self._strangers) >= MAX_STRANGERS:
            self._send_off(next(iter(self._strangers)), "crowded")
        timer = asyncio.get_running_loop().call_later(GREETING_S, self._send_off, caller, "no-hello")
        self._strangers[caller] = timer

    def is_stranger(self, caller: web.RequestHandler) -> bool:
        return caller in self._strangers

    def greeted(self, caller: web.RequestHandler) -> None:
        """It is a peer now."""
        self.forget(caller)
        caller.resume_reading()

    def forget(self, caller: web.RequestHandler) -> None:
        if timer := self._strangers.pop(caller, None):
            timer.cancel()

    async def close(self) -> None:
        """Take nobody in any more, and end whoever is still here."""
        if self._sockets is None or self._http is None:
            return
        self._sockets.close()
        for stranger in list(self._strangers):
            self.forget(stranger)
            stranger.force_close()
        await self._http.shutdown(GRACE_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await self._sockets.wait_closed()

    def _send_off(self, caller: web.RequestHandler, kind: str) -> None:
        self.count(kind)
        self.forget(caller)
        caller.force_close()
