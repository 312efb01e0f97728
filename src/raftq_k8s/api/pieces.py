"""A response whose body is made while it is sent, one piece after the other."""

import asyncio
import logging
from collections.abc import Iterable

from raftq_k8s.api.answers import drained, head_of_stream, patience_s
from raftq_k8s.api.requests import Request

log = logging.getLogger(__name__)


class Pieces:
    """Of a known length; or chunked, so that its end can be told from a broken connection (a client of HTTP/1.0 cannot
    tell), and then the last on its connection."""

    __slots__ = ("_content_type", "_headers", "_pieces", "_size_bytes", "keep_alive")

    def __init__(
        self, content_type: bytes, headers: bytes, pieces: Iterable[bytes], size_bytes: int | None = None
    ) -> None:
        """`headers` are whole lines, each with its end. A piece may be empty: then the loop turns, and that is all.
        `size_bytes`: of all pieces, where that is known."""
        self._content_type = content_type
        self._headers = headers
        self._pieces: Iterable[bytes] | None = pieces
        self._size_bytes = size_bytes
        self.keep_alive = size_bytes is not None

    async def send(self, request: Request) -> None:
        """Write it, once: whoever counts its readers has done so already when the connection asks for it. Raises
        `ConnectionError` also where a piece cannot be made: nothing else can be said in the midst of an answer."""
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            self.keep_alive = self.keep_alive and request.keep_alive
            try:
                await self._write(request, pieces)
            except ConnectionError:
                raise
            except Exception:
                log.exception("%s %s breaks off", request.method, request.path)
                raise ConnectionAbortedError("the answer cannot go on") from None

    async def _write(self, request: Request, pieces: Iterable[bytes]) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        chunked = self._size_bytes is None and not request.is_http_1_0
        transport.write(head_of_stream(self._content_type, self._headers + self._framing(chunked)))
        if request.method == "HEAD":
            return
        loop = asyncio.get_running_loop()
        began, size_bytes = loop.time(), 0
        for piece in pieces:
            if piece:
                transport.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            size_bytes += len(piece)
            await drained(request, transport, began + patience_s(size_bytes) - loop.time())
            await asyncio.sleep(0)
            if transport.is_closing():
                raise ConnectionResetError("the client has gone")
        if chunked:
            transport.write(b"0\r\n\r\n")

    def _framing(self, chunked: bool) -> bytes:
        if self._size_bytes is not None:
            length = b"Content-Length: %d\r\n" % self._size_bytes
        else:
            length = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        return length if self.keep_alive else length + b"Connection: close\r\n"
