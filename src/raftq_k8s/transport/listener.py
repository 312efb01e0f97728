"""The raft port: takes sockets in, and bounds those who have not been greeted yet.

A caller has a few seconds to become a peer, whatever it does meanwhile: says nothing, talks half a request, or opens a
websocket and never a hello. So many may be about it at a time; one more, and the one that has been longest about it
goes. A peer needs milliseconds, so a crowd of strangers does not keep it out. With TLS the handshake comes first, and
whoever is about it counts as well: it costs more than all that follows. Until it is greeted a caller is read no
further than a hello needs; the rest waits in its socket, for a peer may well send on while its greeting is under way.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, Protocol, TypeVar, cast

from aiohttp import web

GREETING_S = 5.0
MAX_STRANGERS = 64
ENOUGH_FOR_A_HELLO = 64 << 10
"""Bytes, and for the upgrade before it: each takes a few hundred."""
GRACE_S = 0.5

logger = logging.getLogger(__name__)

_silent = logging.getLogger(f"{__name__}.http")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


_T = TypeVar("_T")


class Stranger(Protocol):
    def force_close(self) -> None: ...


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
            if self._read_bytes > ENOUGH_FOR_A_HELLO and self.transport is not None:
                with contextlib.suppress(RuntimeError):  # it is closed already
                    self.transport.pause_reading()  # alone: aiohttp's parser cannot be paused where it has failed

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


class Door(asyncio.Protocol):
    """One socket before its handshake."""

    def __init__(self, tls: ssl.SSLContext, listener: "Listener", make: Callable[[], Caller]) -> None:
        self._tls = tls
        self._listener = listener
        self._make = make
        self._transport: asyncio.Transport | None = None
        self._handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        early = _Early()
        secured = _Begun(
            asyncio.get_running_loop().start_tls(
                self._transport, early, self._tls, server_side=True, ssl_handshake_timeout=GREETING_S
            )
        )
        self._listener.came(self)
        self._handshake = self._listener.spawn(self._shake_hands(secured, early))

    def force_close(self) -> None:
        if self._handshake is not None and self._transport is not None:
            self._handshake.cancel()
            self._transport.abort()

    async def _shake_hands(self, begun: "_Begun[asyncio.Transport | None]", early: "_Early") -> None:
        try:
            secured = await begun
        except OSError:
            return  # the context tells why
        finally:
            self._listener.forget(self)
        if secured is None or early.is_over:
            return
        caller = self._make()
        secured.set_protocol(caller)
        caller.connection_made(secured)
        for data in early.data:
            caller.data_received(data)


class _Begun(Generic[_T]):
    """A coroutine that has run as far as it comes at once. A task would begin it later, when uvloop has read already
    what the other side said first, and nobody had it."""

    def __init__(self, coroutine: Coroutine[Any, Any, _T]) -> None:
        self._coroutine = coroutine
        self._waits_for = coroutine.send(None)

    def __await__(self) -> Generator[Any, Any, _T]:
        waits_for = self._waits_for
        while True:
            try:
                try:
                    sent = yield waits_for
                except BaseException as error:  # for whoever waits in there
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(sent)
            except StopIteration as end:
                return cast("_T", end.value)


class _Early(asyncio.Protocol):
    """Takes what comes in one piece with the end of the handshake."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.is_over = False

    def data_received(self, data: bytes) -> None:
        self.data.append(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.is_over = True


class Listener:
    def __init__(
        self,
        answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        count: Callable[[str], None],
    ) -> None:
        self.count = count
        self._answer = answer
        self._strangers: dict[Stranger, asyncio.TimerHandle] = {}
        self._handshakes: set[asyncio.Task[None]] = set()
        self._http: web.Server | None = None
        self._sockets: asyncio.Server | None = None

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Returns the port. Raises `OSError` when it is taken."""
        loop = asyncio.get_running_loop()
        http = web.Server(self._answer)

        def caller() -> Caller:
            return Caller(http, self, loop)

        self._sockets = await loop.create_server(
            caller if tls is None else lambda: Door(tls, self, caller), host or None, port, backlog=128
        )
        self._http = http
        bound: int = self._sockets.sockets[0].getsockname()[1]
        return bound

    def came(self, caller: Stranger) -> None:
        if len(self._strangers) >= MAX_STRANGERS:
            self._send_off(next(iter(self._strangers)), "crowded")
        timer = asyncio.get_running_loop().call_later(GREETING_S, self._send_off, caller, "no-hello")
        self._strangers[caller] = timer

    def is_stranger(self, caller: Stranger) -> bool:
        return caller in self._strangers

    def greeted(self, caller: web.RequestHandler) -> None:
        """It is a peer now."""
        self.forget(caller)
        caller.resume_reading()

    def forget(self, caller: Stranger) -> None:
        if timer := self._strangers.pop(caller, None):
            timer.cancel()

    def spawn(self, handshake: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(handshake)
        self._handshakes.add(task)
        task.add_done_callback(self._handshaken)
        return task

    def _handshaken(self, task: "asyncio.Task[None]") -> None:
        """An error in there is said and not more: every stranger gets so far, and none may end a node."""
        self._handshakes.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a handshake failed", exc_info=error)

    async def close(self) -> None:
        """Take nobody in any more, and end whoever is still here."""
        if self._sockets is None or self._http is None:
            return
        self._sockets.close()
        for stranger in list(self._strangers):
            self.forget(stranger)
            stranger.force_close()
        await asyncio.gather(*self._handshakes, return_exceptions=True)
        await self._http.shutdown(GRACE_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await self._sockets.wait_closed()

    def _send_off(self, caller: Stranger, kind: str) -> None:
        self.count(kind)
        self.forget(caller)
        caller.force_close()
