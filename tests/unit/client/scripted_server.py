"""A server on loopback that does with each request what its script says next, and notes what it was sent."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import msgspec


class Asked(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class HangUp(NamedTuple):
    """The request is read whole, and the connection closed without an answer."""


class Late(NamedTuple):
    """A reply that comes after so long."""

    seconds: float
    reply: Reply


class Silence(NamedTuple):
    """The request is read whole, and never answered."""


class Events(NamedTuple):
    """These bytes as a stream of events, which then breaks off."""

    text: bytes


Step = Reply | Late | HangUp | Silence | Events | Callable[[Asked], Reply]


def json_reply(status: int, value: object, **headers: str) -> Reply:
    named = tuple((name.replace("_", "-"), text) for name, text in headers.items())
    return Reply(status, msgspec.json.encode(value), named)


def problem(status: int, kind: str, **members: object) -> Reply:
    body = {"type": f"urn:raftq:problem:{kind}", "title": kind, "status": status, "detail": f"it is {kind}", **members}
    return Reply(status, msgspec.json.encode(body), (("Content-Type", "application/problem+json"),))


class ScriptedServer:
    """The last step of the script is repeated for ever."""

    def __init__(self, *script: Step) -> None:
        self.script = list(script)
        self.asked: list[Asked] = []
        self.was_asked = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "ScriptedServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def requests(self) -> list[str]:
        return [f"{asked.method} {asked.target}" for asked in self.asked]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None
        self._handlers.add(this)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._handlers.discard(this)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        headers = {name.lower(): text.strip() for name, _, text in (each.partition(":") for each in lines)}
        method, target, _ = line.split(" ")
        asked = Asked(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
        self.asked.append(asked)
        self.was_asked.set()
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Late):
            await asyncio.sleep(step.seconds)
            step = step.reply
        match step if isinstance(step, Reply | Late | HangUp | Silence | Events) else step(asked):
            case Reply(status, body, extra):
                lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}"]
                lines += [f"{name}: {text}" for name, text in extra]
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                return True
            case Events(text):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + text)
                await writer.drain()
                return False
            case Silence():
                await asyncio.Event().wait()
        return False


async def nobody() -> str:
    """An address at which nobody listens."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return f"http://127.0.0.1:{port}"
