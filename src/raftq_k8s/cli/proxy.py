"""`raftq proxy`: one TCP port, forwarded to whoever leads.

For clients that know one address and nothing of leaders. Whom to forward to is heard from the agents' event stream;
when somebody else leads, the sessions with the one before are broken off, for an application that is no leader any more
must not go on with them. A session that comes while nobody can be reached waits a bounded time for a leader.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec

from raftq_k8s.cli.connecting import unread
from raftq_k8s.client.client import Client
from raftq_k8s.client.errors import ClientError

_PIECE_BYTES = 64 << 10
_TRY_AGAIN_S = 0.1
_ASK_AGAIN_S = 1.0
_MOST_SESSIONS = 4096

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

log = logging.getLogger(__name__)


class Address(NamedTuple):
    host: str
    port: int


def parse_listen(text: str) -> Address:
    """`HOST:PORT`, with an IPv6 host in square brackets, or `:PORT` for all addresses. Raises `ValueError`."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host and not host.startswith("[")):
        raise ValueError(f"{text!r} is not HOST:PORT")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


class _Event(msgspec.Struct, frozen=True, tag_field="event", tag=str.lower):
    pass


class Listening(_Event, frozen=True):
    host: str
    port: int
    to_port: int


class Leads(_Event, frozen=True):
    host: str
    port: int
    ended: int
    """So many sessions with the leader before."""


class Unheard(_Event, frozen=True):
    """Whoever leads now; it is asked again."""

    reason: str


class Opened(_Event, frozen=True):
    sessions: int
    """With this one."""


class Closed(_Event, frozen=True):
    sessions: int
    """Those that are left."""


Event: TypeAlias = Listening | Leads | Unheard | Opened | Closed
Tell: TypeAlias = Callable[[Event], None]


def say(event: Event) -> None:
    """To people, who do not want to hear of every session."""
    match event:
        case Listening(host, port, to_port):
            log.info("%s:%d is forwarded to port %d of whoever leads", host, port, to_port)
        case Leads(host, port, ended):
            before = f"; ending {ended} {'session' if ended == 1 else 'sessions'} with the one before" if ended else ""
            log.info("%s:%d leads%s", host, port, before)
        case Unheard(reason):
            log.warning("whoever leads now is not heard of: %s", reason)
        case Opened() | Closed():
            pass


def print_json(event: Event) -> None:
    print(msgspec.json.encode(event).decode(), flush=True)


class Proxy:
    """`wait_s`: for so long a new session waits for a leader that answers."""

    def __init__(self, wait_s: float, tell: Tell = say) -> None:
        self._wait_s = wait_s
        self.tell = tell
        self._leader: Address | None = None
        self._changed = asyncio.Condition()
        self._open = 0
        self._sessions: set[asyncio.Task[None]] = set()
        """Those that have reached a leader: what still waits, waits for the next one."""

    async def lead(self, leader: Address) -> None:
        """That one leads from now on: sessions with another are broken off."""
        if leader == self._leader:
            return
        self.tell(Leads(*leader, ended=len(self._sessions)))
        self._leader = leader
        for session in self._sessions:
            session.cancel()
        async with self._changed:
            self._changed.notify_all()

    async def serve(self, listen: Address) -> asyncio.Server:
        """Raises `OSError` when the port is taken."""
        return await asyncio.start_server(self._came, listen.host or None, listen.port)

    async def close(self) -> None:
        """Breaks all sessions off."""
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= _MOST_SESSIONS:
            writer.transport.abort()
            return
        self._open += 1
        try:
            if (reached := await self._reach_leader()) is not None:
                await self._hold_session((reader, writer), reached)
        finally:
            self._open -= 1
            writer.transport.abort()

    async def _hold_session(self, client: Streams, leader: Streams) -> None:
        session = asyncio.create_task(_join(client, leader))
        self._sessions.add(session)
        self.tell(Opened(len(self._sessions)))
        try:
            await asyncio.wait([session])
        finally:
            self._sessions.discard(session)
            self.tell(Closed(len(self._sessions)))
            session.cancel()
            leader[1].transport.abort()

    async def _reach_leader(self) -> Streams | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._wait_s):
                while True:
                    async with self._changed:
                        await self._changed.wait_for(lambda: self._leader is not None)
                    leader = self._leader
                    assert leader is not None
                    with contextlib.suppress(OSError):
                        reached = await asyncio.open_connection(*leader)
                        if leader == self._leader:
                            return reached
                        reached[1].transport.abort()
                    await asyncio.sleep(_TRY_AGAIN_S)
        return None


async def _join(client: Streams, leader: Streams) -> None:
    """Until both sides have said all, or one of them is gone."""
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_pass_on(client[0], leader[1]))
            both.create_task(_pass_on(leader[0], client[1]))
        for _, writer in (client, leader):
            writer.close()
            await writer.wait_closed()
    except* OSError:
        pass


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while piece := await source.read(_PIECE_BYTES):
        sink.write(piece)
        await sink.drain()
    sink.write_eof()


async def follow(proxy: Proxy, client: Client, port: int) -> None:
    """Without end: have it forward to that port of whoever leads."""
    while True:
        try:
            async for leader in client.watch_leader():
                if leader is not None and leader.address is not None:
                    host, _, _ = leader.address.rpartition(":")
                    await proxy.lead(Address(host.strip("[]"), port))
        except ClientError as error:
            proxy.tell(Unheard(str(error)))
        await asyncio.sleep(_ASK_AGAIN_S)


def run(
    servers: Sequence[str], token: str | Path | None, listen: Address, port: int, wait_s: float, as_json: bool
) -> int:
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        client = Client(servers, token=token)
    except ValueError as error:
        print(f"raftq proxy: {error}", file=sys.stderr)
        return 2
    return asyncio.run(_run(client, listen, port, wait_s, print_json if as_json else say))


async def _run(asked: Client, listen: Address, port: int, wait_s: float, tell: Tell) -> int:
    code = 0
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)

    def tell_while_heard(event: Event) -> None:
        nonlocal code
        try:
            tell(event)
        except BrokenPipeError:
            code = unread()
            asked_to_stop.set()

    proxy = Proxy(wait_s, tell_while_heard)
    async with asked as client:
        try:
            server = await proxy.serve(listen)
        except OSError as error:
            print(f"raftq proxy: cannot listen on {listen.host}:{listen.port}: {error.strerror}", file=sys.stderr)
            return 2
        host, bound, *_ = server.sockets[0].getsockname()
        proxy.tell(Listening(host, bound, port))
        following = asyncio.create_task(follow(proxy, client, port))
        stopping = asyncio.create_task(asked_to_stop.wait())
        done, _ = await asyncio.wait([following, stopping], return_when=asyncio.FIRST_COMPLETED)
        server.close()
        await proxy.close()
        following.cancel()
        if following in done:
            following.result()
    return code
