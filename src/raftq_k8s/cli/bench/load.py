"""So many clients at once, each sending the next request of a list as soon as it has an answer.

wrk does it where it is installed, for it takes next to nothing of the processors that it shares with what is measured.
Otherwise a loop of our own does, which takes more: figures are lower then, for all that are measured beside each other.
"""

import asyncio
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import msgspec

_SCRIPT = Path(__file__).with_name("load.lua")
_FILLERS = 16


class LoadFailed(Exception):
    """What is asked there does not answer as it should."""


class NobodyToAsk(LoadFailed):
    """Nothing was asked, and nothing was written: there is nobody at that address."""


class Server(NamedTuple):
    host: str
    port: int
    authorization: str = ""


class Request(NamedTuple):
    method: str
    path: str
    body: str


class Load(msgspec.Struct):
    tool: str
    per_second: int
    p50_ms: float
    p99_ms: float
    failed: int


async def load(server: Server, requests: Sequence[Request], clients: int, seconds: float) -> Load:
    """Raises `LoadFailed`, or `NobodyToAsk`."""
    if shutil.which("wrk"):
        return await _by_wrk(server, requests, clients, seconds)
    return await _by_a_loop(server, cycle(requests), clients, seconds)


async def fill(server: Server, requests: Sequence[Request]) -> None:
    """Each of the requests once. Raises `LoadFailed` if one is refused, or `NobodyToAsk`."""
    done = await _by_a_loop(server, iter(requests), _FILLERS, seconds=60.0)
    if done.failed:
        perhaps = "" if server.authorization else ": if it asks for a token, name its file by --token-file"
        raise LoadFailed(f"{server.host}:{server.port} refused {done.failed} of {len(requests)} puts{perhaps}")


async def _by_wrk(server: Server, requests: Sequence[Request], clients: int, seconds: float) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(f"{server.authorization}\n" + "\n".join(line for request in requests for line in request) + "\n")
        file.flush()
        process = await asyncio.create_subprocess_exec(
            *("wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", str(_SCRIPT)),
            *(f"http://{server.host}:{server.port}", "--", file.name),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, complaint = await process.communicate()
    if process.returncode:
        raise LoadFailed(f"wrk: {(complaint or output).decode().strip()}")
    found = json.loads(output.decode().strip().splitlines()[-1])
    return Load(
        tool="wrk",
        per_second=round(found["requests"] / (found["duration_us"] / 1e6)),
        p50_ms=round(found["p50_us"] / 1000, 2),
        p99_ms=round(found["p99_us"] / 1000, 2),
        failed=found["failed"],
    )


async def _by_a_loop(server: Server, requests: Iterator[Request], clients: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    prepared = (_prepared(server, request) for request in requests)
    began = time.perf_counter()
    callers = [_Caller(prepared, began + seconds) for _ in range(clients)]
    try:
        for caller in callers:
            await loop.create_connection(lambda caller=caller: caller, server.host, server.port)  # type: ignore[misc]
        await asyncio.gather(*(caller.ended for caller in callers))
    except OSError as error:
        raise NobodyToAsk(f"nobody to ask at {server.host}:{server.port}: {_reason(error)}") from error
    passed = time.perf_counter() - began
    took = sorted(each for caller in callers for each in caller.took_s)
    return Load(
        tool="a loop",
        per_second=round(len(took) / passed),
        p50_ms=_ms(took, 0.5),
        p99_ms=_ms(took, 0.99),
        failed=sum(caller.failed for caller in callers),
    )


def _reason(error: OSError) -> str:
    """asyncio has sentences of its own for a connection that is refused, and the resolver has numbers of its own."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _prepared(server: Server, request: Request) -> bytes:
    body = request.body.encode()
    lines = [
        f"{request.method} {request.path} HTTP/1.1",
        f"Host: {server.host}:{server.port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    if server.authorization:
        lines.append(f"Authorization: {server.authorization}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _ms(ordered_s: Sequence[float], share: float) -> float:
    return round(ordered_s[min(len(ordered_s) - 1, int(share * len(ordered_s)))] * 1000, 2) if ordered_s else 0.0


class _Caller(asyncio.Protocol):
    """One kept-alive connection, one request at a time."""

    def __init__(self, requests: Iterator[bytes], until: float) -> None:
        self._requests = requests
        self._until = until
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._sent_at = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.took_s: list[float] = []
        self.failed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, complete, rest = self._received.partition(b"\r\n\r\n")
        if not complete or len(rest) < _length(head):
            return
        self._received = b""
        self.took_s.append(time.perf_counter() - self._sent_at)
        self.failed += head[9:10] != b"2"
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.failed += 1
            self.ended.set_result(None)

    def _next(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        request = next(self._requests, None) if self._sent_at < self._until else None
        if request is None:
            self.ended.set_result(None)
            self._transport.close()
        else:
            self._transport.write(request)


def _length(head: bytes) -> int:
    _, _, after = head.lower().partition(b"content-length:")
    return int(after.partition(b"\r\n")[0] or 0)
