"""A response whose body is made while it is sent, one piece after the other."""

import asyncio
from collections.abc import Iterable

from aiohttp import HttpVersion11
from aiohttp.web import BaseRequest

from raftq_k8s.api.answers import drained, head_of_stream, patience_s


class Pieces:
    """Chunked, so that its end can be told from a broken connection; a client of HTTP/1.0 cannot tell."""

    __slots__ = ("_content_type", "_headers", "_pieces", "_request", "keep_alive")

    def __init__(self, content_type: bytes, headers: bytes, pieces: Iterable[bytes]) -> None:
        """`headers` are whole lines, each with its end."""
        self._content_type = content_type
        self._headers = headers
        self._pieces: Iterable[bytes] | None = pieces
        self._request: BaseRequest | None = None
        self.keep_alive = False

    async def prepare(self, request: BaseRequest) -> None:
        self._request = request

    async def write_eof(self) -> None:
        """Write it, once: a handler may have done so, and aiohttp asks again."""
        pieces, self._pieces = self._pieces, None
        if pieces is not None and self._request is not None:
            await self._write(self._request, pieces)

    async def _write(self, request: BaseRequest, pieces: Iterable[bytes]) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        chunked = request.version >= HttpVersion11
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        transport.write(head_of_stream(self._content_type, self._headers + framing + b"Connection: close\r\n"))
        loop = asyncio.get_running_loop()
        began, size_bytes = loop.time(), 0
        for piece in pieces:
            transport.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            size_bytes += len(piece)
            await drained(request, transport, began + patience_s(size_bytes) - loop.time())
            await asyncio.sleep(0)
            if transport.is_closing():
                raise ConnectionResetError("the client has gone")
        if chunked:
            transport.write(b"0\r\n\r\n")
