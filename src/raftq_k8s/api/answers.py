"""One answer, complete before its first byte leaves, written in one piece.

What every answer must keep is kept: a length, a date, no body for HEAD, and a client that does not read is cut off.
"""

import asyncio
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

import msgspec

from raftq_k8s.api.requests import Request

JSON = b"application/json"

LARGE_BYTES = 64 << 10
"""Longer bodies leave in slices of this length, each when the one before has left."""

_WITHOUT_BODY = frozenset({204, 304})
"""They say nothing of a body, its length neither (RFC 9110 §8.6)."""

_SLOWEST_BYTES_PER_SECOND = 256 << 10
_PATIENCE_S = 20.0

_status_lines = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_encode = msgspec.json.Encoder().encode


class Response(Protocol):
    """An `Answer`, or what is written as time goes on."""

    keep_alive: bool
    """Once it was sent: whether the connection is for further use."""

    async def send(self, request: Request) -> None:
        """Write all of it, once. Raises `ConnectionError` when the client has gone, or does not read."""


class Answer:
    __slots__ = ("_body", "_content_type", "_headers", "_status", "keep_alive")

    def __init__(self, status: int, body: bytes, content_type: bytes = JSON, headers: bytes = b"") -> None:
        """`headers` are whole lines, each with its end."""
        self._status = status
        self._body = body
        self._content_type = content_type
        self._headers = headers
        self.keep_alive = True

    def then_close(self) -> "Answer":
        """Close the connection after this answer: what follows on it cannot be trusted, or is not worth reading."""
        self.keep_alive = False
        return self

    async def send(self, request: Request) -> None:
        self.keep_alive = self.keep_alive and request.keep_alive
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        head = self._head()
        body = b"" if request.method == "HEAD" else self._body
        if len(body) > LARGE_BYTES:
            await self._write_slices(request, transport, head, body)
            return
        transport.write(head + body)
        if transport.get_write_buffer_size() > LARGE_BYTES:
            await drained(request, transport, _PATIENCE_S)

    def encoded(self) -> bytes:
        """All of it, for where there is no request to answer."""
        return self._head() + self._body

    def _head(self) -> bytes:
        if self._status in _WITHOUT_BODY:
            return b"%sDate: %s\r\n%s%s\r\n" % (
                _status_lines[self._status],
                _date(),
                self._headers,
                b"" if self.keep_alive else b"Connection: close\r\n",
            )
        return b"%sDate: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s%s\r\n" % (
            _status_lines[self._status],
            _date(),
            self._content_type,
            len(self._body),
            self._headers,
            b"" if self.keep_alive else b"Connection: close\r\n",
        )

    async def _write_slices(
        self, request: Request, transport: asyncio.WriteTransport, head: bytes, body: bytes
    ) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s(len(body))
        transport.write(head)
        for start in range(0, len(body), LARGE_BYTES):
            transport.write(body[start : start + LARGE_BYTES])
            await drained(request, transport, deadline - loop.time())
            await asyncio.sleep(0)
            if transport.is_closing():
                raise ConnectionResetError("the client has gone")


def patience_s(size_bytes: int) -> float:
    """How long a client may take to read so much."""
    return _PATIENCE_S + size_bytes / _SLOWEST_BYTES_PER_SECOND


async def drained(request: Request, transport: asyncio.WriteTransport, patience_s: float) -> None:
    """Until what was written has left. A client that takes longer is cut off, and `ConnectionResetError` raised."""
    try:
        async with asyncio.timeout(patience_s):
            await request.line.drain()
    except TimeoutError:
        transport.abort()
        raise ConnectionResetError("the client reads too slowly") from None


def head_of_stream(content_type: bytes, headers: bytes) -> bytes:
    """Of a response whose length is not known: 200, with these headers and the empty line behind them."""
    return b"%sDate: %s\r\nContent-Type: %s\r\n%s\r\n" % (_status_lines[200], _date(), content_type, headers)


def json_answer(status: int, value: object, headers: bytes = b"") -> Answer:
    return Answer(status, _encode(value), JSON, headers)


_date_second = 0
_date_line = b""


def _date() -> bytes:
    global _date_second, _date_line
    second = int(time.time())
    if second != _date_second:
        _date_second, _date_line = second, formatdate(second, usegmt=True).encode()
    return _date_line
