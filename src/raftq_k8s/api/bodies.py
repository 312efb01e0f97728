"""The bodies of requests, held within sizes and a time, however they are sent and whatever length they claim.

A body that its sender breaks off, or whose chunks turn out malformed, does nothing.
"""

import asyncio

from raftq_k8s.api.problems import Problem, body_too_large, broken_body, too_many_bodies
from raftq_k8s.api.requests import BodyBroken, Request

BODY_TIMEOUT_S = 20.0
UNFINISHED_BYTES = 64 << 20
"""So much may be held of bodies that are still arriving, all together."""


class Bodies:
    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._unfinished_bytes = 0

    async def read(self, request: Request) -> bytes:
        """Raises `Problem`. More than the limit and one read of the socket is never held."""
        if request.body.complete:  # it came with the headers, as small ones do
            body = request.body.take()
            if len(body) > self._limit_bytes:
                raise body_too_large(self._limit_bytes)
            return body
        declared = request.content_length
        if declared is not None and declared > self._limit_bytes:
            raise body_too_large(self._limit_bytes)
        expects = request.headers.get("Expect", "").lower() == "100-continue" and not request.is_http_1_0
        if expects and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                return await self._read_on(request)
        except TimeoutError:
            detail = f"the body did not arrive within {BODY_TIMEOUT_S:g} seconds"
            raise Problem(408, "body-too-slow", "Body too slow", detail, close=True) from None
        except BodyBroken:
            raise broken_body() from None

    async def _read_on(self, request: Request) -> bytes:
        body = bytearray()
        chunk = b""
        try:
            while chunk := await request.body.more():
                body += chunk
                self._unfinished_bytes += len(chunk)
                if len(body) > self._limit_bytes:
                    raise body_too_large(self._limit_bytes)
                if self._unfinished_bytes > UNFINISHED_BYTES:
                    raise too_many_bodies()
            return bytes(body)
        finally:
            # A stream keeps the error that it raised here, and that keeps this frame, for as long as it likes.
            self._unfinished_bytes -= len(body)
            body.clear()
            chunk = b""
