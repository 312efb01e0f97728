"""One websocket: frames out through a bounded queue, frames in one at a time, and an end.

It knows what a frame is and nothing of who may say what. Whoever holds the connection reads it in one task; writing has
a task of its own, so that a peer that reads slowly holds up nobody but itself.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from typing import TypeAlias

from aiohttp import ClientWebSocketResponse, WebSocketError, WSCloseCode, WSMsgType
from aiohttp.web import WebSocketResponse

from raftq_k8s.node.transport import Wire
from raftq_k8s.raft.membership import Hello, Refusal
from raftq_k8s.transport import frames
from raftq_k8s.transport.certificates import Certificate
from raftq_k8s.transport.frames import BadFrame, Frame, Outgoing

WebSocket: TypeAlias = ClientWebSocketResponse | WebSocketResponse

HEARTBEAT_S = 4.0
"""After so long a silence a ping, and after half of it without an answer the end: this is how a half-open connection
shows when there is nothing to send. When there is, the kernel gives up first."""
UNACKNOWLEDGED_MS = 4000
FAREWELL_S = 0.5

NOT_OURS = 4000
REFUSED = 4001
SURPLUS = 4002
GOING_AWAY = 1001
BROKEN = 1011

_MAX_REASON_BYTES = 123

logger = logging.getLogger(__name__)


def in_farewell(refusal: Refusal) -> str:
    """The kind first, for a long reason is cut."""
    return f"{refusal.kind}: {refusal.reason}"


def of_farewell(reason: str) -> Refusal:
    kind, _, sentence = reason.partition(": ")
    return Refusal(kind, sentence)


class ConnectionOver(Exception):
    """The other side is gone. `code` and the message are what it said, if it said anything."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Connection:
    def __init__(self, websocket: WebSocket, ended: "Callable[[asyncio.Task[None]], None]") -> None:
        """`ended` is told of its writing task: an error in that is nothing that the other side could have caused."""
        self._websocket = websocket
        self.certificate: Certificate | None = websocket.get_extra_info("peercert")
        """What the peer showed, verified; `None` without TLS."""
        self._outgoing = Outgoing()
        self._something_to_write = asyncio.Event()
        self._closed = False
        _tune(websocket)
        self._writer = asyncio.create_task(self._write())
        self._writer.add_done_callback(ended)

    @property
    def closed(self) -> bool:
        return self._closed

    def send(self, messages: Sequence[Wire]) -> int:
        """Queue messages and return at once; returns how many were dropped because they did not fit.

        What is queued within one turn of the loop leaves as one frame.
        """
        dropped = self._outgoing.put(messages)
        self._something_to_write.set()
        return dropped

    def send_hello(self, hello: Hello) -> None:
        self._outgoing.put_alone([hello])
        self._something_to_write.set()

    def send_greeted(self) -> None:
        """An empty frame: the peer is welcome here."""
        self._outgoing.put_alone([])
        self._something_to_write.set()

    async def receive(self) -> Frame:
        """The next frame. Raises `BadFrame`, or `ConnectionOver` at the end."""
        try:
            message = await self._websocket.receive()
        except ConnectionError:  # a ping was to be answered on a socket that has ended meanwhile, as after a freeze
            raise ConnectionOver(None, "") from None
        except Exception as error:  # whatever else it is, it is of this one socket, and the other side may be its cause
            logger.error("a connection failed", exc_info=error)
            raise ConnectionOver(None, "") from error
        if message.type is WSMsgType.BINARY:
            return frames.decode(message.data)
        if message.type is WSMsgType.TEXT:
            raise BadFrame("text", "a text frame")
        if message.type is WSMsgType.ERROR and isinstance(message.data, WebSocketError):
            kind = "too-large" if message.data.code == WSCloseCode.MESSAGE_TOO_BIG else "not-websocket"
            raise BadFrame(kind, str(message.data))
        if message.type is WSMsgType.CLOSE:
            raise ConnectionOver(message.data, message.extra or "")
        raise ConnectionOver(None, "")

    async def receive_hello(self) -> Hello:
        """The first frame of a conversation."""
        match await self.receive():
            case [Hello() as hello]:
                return hello
            case _:
                raise BadFrame("no-hello", "the first frame is not a hello")

    async def close(self, code: int, reason: str) -> None:
        """Say why, wait a moment for the other side to agree, and close. What is still queued is dropped."""
        if self._closed:
            return
        self._closed = True
        farewell = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore").encode()
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._websocket.close(code=code, message=farewell)
        except TimeoutError:
            pass  # closed all the same: what is still on its way to the other side ends with UNACKNOWLEDGED_MS
        finally:
            self._writer.cancel()  # not earlier: both may wait for the same buffer to drain, on one future of aiohttp's
            await asyncio.wait([self._writer])

    async def _write(self) -> None:
        while True:
            while (frame := self._outgoing.take()) is not None:
                if not await self._wrote(frame):
                    return
            self._something_to_write.clear()
            await self._something_to_write.wait()

    async def _wrote(self, frame: bytes | bytearray) -> bool:
        """False at the end of the socket, which its reader sees, too."""
        try:
            await self._websocket.send_bytes(frame)  # type: ignore[arg-type]
        except ConnectionError:
            return False
        except Exception as error:  # as in `receive`, and its reader may have seen nothing
            logger.error("a connection failed", exc_info=error)
            with contextlib.suppress(Exception):
                await self._websocket.close(code=BROKEN)
            return False
        return True


def _tune(websocket: WebSocket) -> None:
    sock = websocket.get_extra_info("socket")
    if sock is None:  # gone already: the first read says so
        return
    with contextlib.suppress(OSError, ValueError):  # gone, and not forgotten yet; to uvloop it is a negative number
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
