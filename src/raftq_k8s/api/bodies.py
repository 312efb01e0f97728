"""The body of a request, held within a size and a time, however it is sent and whatever length it claims."""

import asyncio

from aiohttp.web import BaseRequest, RequestPayloadError

from raftq_k8s.api.problems import Problem, body_too_large


async def read_body(request: BaseRequest, limit_bytes: int, timeout_s: float) -> bytes:
    """Raises `Problem`. More than the limit and one read of the socket is never held."""
    content = request.content
    if content.is_eof():  # it came with the headers, as small ones do
        try:
            body = content.read_nowait()
        except RequestPayloadError:
            raise _broken() from None
        if len(body) > limit_bytes:
            raise body_too_large(limit_bytes)
        return body
    declared = request.content_length
    if declared is not None and declared > limit_bytes:
        raise body_too_large(limit_bytes)
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(timeout_s):
            return await _read_on(request, limit_bytes)
    except TimeoutError:
        detail = f"the body did not arrive within {timeout_s:g} seconds"
        raise Problem(408, "body-too-slow", "Body too slow", detail, close=True) from None
    except RequestPayloadError:
        raise _broken() from None


async def _read_on(request: BaseRequest, limit_bytes: int) -> bytes:
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > limit_bytes:
            raise body_too_large(limit_bytes)
    return bytes(body)


def _broken() -> Problem:
    return Problem(400, "broken-body", "Broken body", "the body does not end as its headers announce", close=True)
