"""An HTTP client that sends a request at most once.

Ordinary clients send an idempotent request again, unasked, when a kept-alive connection breaks under it. A put whose
outcome is unknown must not be repeated behind the back of whoever counts puts; so this one tells apart what never left
(`Unsent`) from what may have arrived (`Unanswered`), and leaves the rest to its caller.
"""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

_NONE: Mapping[str, str] = MappingProxyType({})


class Unsent(Exception):
    """There is no connection: the request did not leave."""


class Unanswered(Exception):
    """The request left, or part of it, and no answer came: its outcome is unknown."""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


class Connection:
    """One kept-alive connection; requests take turns on it."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    async def request(
        self, method: str, path: str, body: bytes = b"", timeout_s: float = 5.0, headers: Mapping[str, str] = _NONE
    ) -> Answer:
        """Raises `Unsent` or `Unanswered`."""
        async with self._turn:
            return await self._request(method, path, body, timeout_s, headers)

    async def _request(
        self, method: str, path: str, body: bytes, timeout_s: float, headers: Mapping[str, str]
    ) -> Answer:
        reader, writer = await self._connected(timeout_s)
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Length: {len(body)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        try:
            async with asyncio.timeout(timeout_s):
                writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
                return await self._answer(reader)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
            self.close()
            raise Unanswered(f"{method} {path}: {error or type(error).__name__}") from error
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _connected(self, timeout_s: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and (self._streams[0].at_eof() or self._streams[1].is_closing()):
            self.close()
        if self._streams is None:
            try:
                async with asyncio.timeout(timeout_s):
                    self._streams = await asyncio.open_connection(self._host, self._port, limit=1 << 20)
            except (OSError, TimeoutError) as error:
                raise Unsent(f"{self._host}:{self._port}: {error or 'no connection in time'}") from error
        return self._streams

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(int(status_line.split(" ")[1]), headers, body)
