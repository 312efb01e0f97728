"""A request as its handler sees it: what its head said, and its body as that arrives.

Values are kept as they came: the path is raw, percent-encoding and all, and a header holds whatever bytes it held
between the blanks around them.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol
from urllib.parse import parse_qsl

from multidict import CIMultiDict, MultiDict


class BodyBroken(Exception):
    """The body does not end as its head announced: the client broke it off, or its framing is malformed."""


class Body:
    """What follows a head. What has arrived and was not taken yet is held here, and bounded by its connection."""

    __slots__ = ("_changed", "_dropped", "_on_take", "_pieces", "broken", "complete", "held_bytes")

    def __init__(self, on_take: Callable[[], None]) -> None:
        """`on_take` is called when something was taken that was held."""
        self._on_take = on_take
        self._pieces: list[bytes] = []
        self._changed: asyncio.Future[None] | None = None
        self._dropped = False
        self.held_bytes = 0
        self.complete = False
        """All of it has arrived."""
        self.broken = False

    def arrived(self, data: bytes) -> None:
        if not self._dropped:
            self._pieces.append(data)
            self.held_bytes += len(data)
            self._tell()

    def end(self) -> None:
        self.complete = True
        self._tell()

    def break_off(self) -> None:
        """It will not end."""
        self.broken = True
        self._pieces.clear()
        self.held_bytes = 0
        self._tell()

    def take(self) -> bytes:
        """All that has arrived so far. Raises `BodyBroken`."""
        if self.broken:
            raise BodyBroken
        pieces = self._pieces
        if not pieces:
            return b""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.held_bytes = 0
        if not self.complete:
            self._on_take()
        return data

    async def more(self) -> bytes:
        """What arrives next; nothing once all of it was taken. Raises `BodyBroken`."""
        while not (self._pieces or self.complete or self.broken):
            await self._change()
        return self.take()

    async def dropped(self) -> None:
        """Nobody wants it: ends with it."""
        self._dropped = True
        self._pieces.clear()
        self.held_bytes = 0
        self._on_take()
        while not (self.complete or self.broken):
            await self._change()

    async def _change(self) -> None:
        self._changed = asyncio.get_running_loop().create_future()
        try:
            await self._changed
        finally:
            self._changed = None

    def _tell(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


class Line(Protocol):
    """The connection of a request, as far as a response needs it."""

    gone: Callable[[], None] | None
    """Called once, when the client has gone."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """`None` once the client has gone."""

    async def drain(self) -> None:
        """Until there is room for more. Raises `ConnectionResetError` once the client has gone."""


class Request:
    __slots__ = ("_query", "body", "headers", "is_http_1_0", "keep_alive", "line", "method", "path", "query_string")

    def __init__(
        self,
        method: str,
        path: str,
        query_string: str,
        headers: CIMultiDict[str],
        body: Body,
        line: Line,
        *,
        keep_alive: bool,
        is_http_1_0: bool,
    ) -> None:
        self.method = method
        self.path = path
        """Raw."""
        self.query_string = query_string
        """Raw, without the question mark."""
        self.headers = headers
        self.body = body
        self.line = line
        self.keep_alive = keep_alive
        """Whether another request may follow on the same connection."""
        self.is_http_1_0 = is_http_1_0
        self._query: MultiDict[str] | None = None

    @property
    def query(self) -> MultiDict[str]:
        if self._query is None:
            self._query = MultiDict(parse_qsl(self.query_string, keep_blank_values=True) if self.query_string else ())
        return self._query

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query_string}" if self.query_string else self.path

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def content_length(self) -> int | None:
        """As announced; the parser has seen that it is a number."""
        announced = self.headers.get("Content-Length")
        return None if announced is None else int(announced)

    @property
    def transport(self) -> asyncio.Transport | None:
        return self.line.transport
