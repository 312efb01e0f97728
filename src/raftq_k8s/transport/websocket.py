"""Messages between nodes: one websocket a peer, found again whenever it is lost.

Both sides listen, and both dial whoever is in the address book and not connected. Each first says hello, and asks the
node whether the other's hello is welcome; only then do messages flow. The decisions are elsewhere: who is welcome, in
the core; which of two sockets stays, in `pairing`; what a frame may hold, in `frames`.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
from aiohttp import (
    ClientError,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    ClientWebSocketResponse,
    ClientWSTimeout,
    TCPConnector,
    WSServerHandshakeError,
    web,
)
from aiohttp.abc import AbstractResolver
from yarl import URL

from raftq_k8s.node.transport import Receiver, Wire
from raftq_k8s.raft.membership import Hello, Identity, Refusal
from raftq_k8s.raft.types import MemberId
from raftq_k8s.sockets import to_dial
from raftq_k8s.transport import connection as codes
from raftq_k8s.transport import frames, pairing
from raftq_k8s.transport.addresses import Address, AddressBook, UncachedResolver, look_up
from raftq_k8s.transport.connection import FAREWELL_S, HEARTBEAT_S, Connection, ConnectionOver
from raftq_k8s.transport.dialling import Backoff, Race
from raftq_k8s.transport.frames import BadFrame, Frame
from raftq_k8s.transport.listener import GREETING_S, Listener
from raftq_k8s.transport.secret import (
    CHALLENGE_HEADER,
    Secret,
    Unproven,
    is_challenge,
    new_challenge,
    prove_to_dialler,
    prove_to_listener,
)
from raftq_k8s.transport.tls import Tls

PATH = "/raft"
KNOCK_S = 1.5
"""To connect, upgrade and hear a hello: enough for one lost SYN, short enough that another address gets its turn."""
UNPROVEN = 401
SAY_AGAIN_S = 60.0
STEADY_S = 1.0
"""A peer that stayed connected so long is dialled again at once when it is lost."""

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Unwelcome(Exception):
    """The hello was refused; the other side is told why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class Line:
    """A connection on which this side has greeted the peer."""

    def __init__(self, connection: Connection, process: Identity, dialled_by: MemberId) -> None:
        self.connection = connection
        self.process = process
        self.dialled_by = dialled_by
        self.confirmed = False


class Peer:
    """What the transport keeps of one other member."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.route: Line | None = None
        self.connected_since = 0.0
        self.alone = asyncio.Event()
        self.alone.set()
        self.sighting = asyncio.Event()
        self.backoff = Backoff()
        self.refusal: str | None = None
        """What it last said when it refused us."""
        self.dialler: asyncio.Task[None] | None = None


class Answer(NamedTuple):
    """Somebody at an address said hello in the name of the peer that was dialled."""

    connection: Connection
    hello: Hello


class WebsocketTransport:
    def __init__(
        self,
        member: MemberId,
        host: str,
        port: int,
        *,
        resolver: AbstractResolver | None = None,
        tls: Tls | None = None,
        secret: Secret | None = None,
    ) -> None:
        """With `tls` or a `secret`, or both, nobody is listened to who does not show what they ask for."""
        self.bad_frames: dict[str, int] = defaultdict(int)
        """What was not ours, by kind; each closed a connection."""
        self.dropped_messages: dict[str, int] = defaultdict(int)
        """By reason: `unconnected`, `full`."""
        self._member = member
        self._host = host
        self._port = port
        self._tls = tls
        self._secret = secret
        self._said_of: dict[str, float] = {}
        self._book = AddressBook()
        self._resolver = resolver or UncachedResolver()
        self._peers: dict[MemberId, Peer] = defaultdict(Peer)
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listener = Listener(self._answer, self._count_bad)
        self._receiver: Receiver | None = None
        self._session: ClientSession | None = None
        self._closing = False

    @property
    def certificate_expires_at(self) -> float | None:
        """In seconds since the epoch; `None` without TLS."""
        return self._tls.expires_at if self._tls else None

    @property
    def port(self) -> int:
        """Where it listens; where 0 was asked for, known once it is started."""
        return self._port

    async def start(self, receiver: Receiver) -> None:
        """Listen, and dial whoever is known. Raises `OSError` when the port is taken."""
        self._receiver = receiver
        tls = self._tls.listening(self._turned_away) if self._tls else None
        self._port = await self._listener.open(self._host, self._port, tls)
        self._session = ClientSession(
            connector=TCPConnector(limit=0, force_close=True, socket_factory=to_dial), timeout=ClientTimeout(total=None)
        )
        for member in self._book.members():
            self._dial(member)

    def sighted(self, member: MemberId, host: str, port: int) -> None:
        """That member is, or was just now, to be found there: dial it, now."""
        if member == self._member:
            return
        self._book.sighted(member, host, port)
        peer = self._peers[member]
        peer.backoff.reset()
        peer.sighting.set()
        self._dial(member)

    def away(self, member: MemberId) -> None:
        """Do not dial that member until it is sighted again. A connection that is open stays."""
        self._book.away(member)
        peer = self._peers.get(member)
        if peer is not None and peer.dialler is not None:
            peer.dialler.cancel()
            peer.dialler = None

    def send(self, destination: MemberId, messages: Sequence[Wire]) -> None:
        """Messages for one peer. What does not fit its queue is dropped and counted, and so is all without a
        connection."""
        peer = self._peers.get(destination)
        if peer is None or peer.route is None:
            self.dropped_messages["unconnected"] += len(messages)
        elif dropped := peer.route.connection.send(messages):
            self.dropped_messages["full"] += dropped

    def connected(self, peer: MemberId) -> bool:
        return peer in self._peers and self._peers[peer].route is not None

    def dismiss(self, process: Identity, refusal: Refusal) -> None:
        """That process was welcome, and is not any more."""
        for line in self._peers[process.member].lines if process.member in self._peers else ():
            if line.process.is_process(process):
                self._close_soon(line.connection, codes.REFUSED, codes.in_farewell(refusal))

    def announce(self) -> None:
        """This node's hello changed: say it again to everybody who has heard it."""
        hello = self._hello()
        for connection in self._connections:
            connection.send_hello(hello)

    async def close(self) -> None:
        self._closing = True
        for peer in self._peers.values():
            if peer.dialler is not None:
                peer.dialler.cancel()
        farewells = [connection.close(codes.GOING_AWAY, "this node stops") for connection in self._connections]
        await asyncio.gather(self._listener.close(), *farewells)
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._session is not None:
            await self._session.close()

    def _dial(self, member: MemberId) -> None:
        peer = self._peers[member]
        if self._session is not None and peer.dialler is None and not self._closing:
            peer.dialler = self._spawn(self._keep_dialling(self._session, member, peer))

    async def _keep_dialling(self, session: ClientSession, member: MemberId, peer: Peer) -> None:
        """As long as the peer is in the book: whenever no connection to it is left, dial until there is one."""
        while True:
            await peer.alone.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(peer.backoff.next_delay()):
                    await peer.sighting.wait()
            peer.sighting.clear()
            if peer.lines:
                continue
            race = Race(
                lambda: self._look_up(member),
                lambda address: self._knock(session, member, address),
                lambda answer: self._close_soon(answer.connection, codes.GOING_AWAY, "another address was faster"),
                self._spawn,
            )
            if (won := await race.run(self._book.last_good(member), peer.sighting)) is None:
                continue
            answer, address = won
            self._book.answered(member, address)
            if peer.lines:
                self._close_soon(answer.connection, codes.SURPLUS, "you were faster")
                continue
            greeted = asyncio.Event()
            conversation = self._spawn(self._converse(answer.connection, answer.hello, self._member, greeted.set))
            welcome = self._spawn(greeted.wait())
            try:
                await asyncio.wait({conversation, welcome}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                welcome.cancel()

    async def _look_up(self, member: MemberId) -> list[Address]:
        sighting = self._book.sighting(member)
        return await look_up(sighting, self._resolver) if sighting else []

    async def _knock(self, session: ClientSession, member: MemberId, address: Address) -> Answer | None:
        """Ask who is there. The other side speaks first, so that it does not count us as a peer before we chose it."""
        challenge = new_challenge() if self._secret else ""
        try:
            async with asyncio.timeout(KNOCK_S):
                websocket = await self._call(session, member, address, challenge)
        except ClientSSLError as error:
            self._turned_away("tls-dialled", f"{member} at {address.host}: {error}")
            return None
        except WSServerHandshakeError as error:
            if error.status == UNPROVEN:
                self._turned_away("secret", f"{member} at {address.host} asks for the secret of the members")
            return None
        except (ClientError, OSError, TimeoutError, ValueError) as error:  # the last: it is led on to where nothing is
            logger.debug("%s does not answer at %s: %r", member, address, error)
            return None
        except Exception as error:  # of aiohttp or the loop: whoever is there may provoke it, and ends no node
            self._failed_meeting(f"dialling {member} at {address.host}", error)
            return None
        connection = Connection(websocket, self._ended)
        reason = "no hello"
        try:
            async with asyncio.timeout(KNOCK_S):
                if self._secret is not None:
                    await prove_to_listener(websocket, self._secret, challenge)
                hello = await connection.receive_hello()
            if hello.identity.member == member:
                return Answer(connection, hello)
            reason = f"looking for {member}, found {hello.identity.member}"
            self._book.answered_by_another(member, address)
        except Unproven as unproven:
            self._turned_away("secret", f"{member} at {address.host} does not know the secret of the members")
            self._close_soon(connection, codes.REFUSED, codes.in_farewell(Refusal("secret", str(unproven))))
            return None
        except BadFrame as bad:
            self._count_bad(bad.kind)
            reason = str(bad)
        except (ConnectionOver, ConnectionError, TimeoutError):
            pass
        except Exception as error:  # the same
            self._failed_meeting(f"greeting {member} at {address.host}", error)
        except asyncio.CancelledError:
            self._close_soon(connection, codes.GOING_AWAY, "another address was faster")
            raise
        self._close_soon(connection, codes.GOING_AWAY, reason)
        return None

    async def _call(
        self, session: ClientSession, member: MemberId, address: Address, challenge: str
    ) -> ClientWebSocketResponse:
        return await session.ws_connect(
            URL.build(scheme="wss" if self._tls else "ws", host=address.host, port=address.port, path=PATH),
            heartbeat=HEARTBEAT_S,
            max_msg_size=frames.MAX_FRAME_BYTES,
            timeout=ClientWSTimeout(ws_close=2 * FAREWELL_S),
            headers={CHALLENGE_HEADER: challenge} if challenge else {},
            ssl=self._tls.dialling() if self._tls else True,
            server_hostname=member if self._tls else None,
        )

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        websocket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S, compress=False, max_msg_size=frames.MAX_FRAME_BYTES, timeout=2 * FAREWELL_S
        )
        if request.path != PATH or not websocket.can_prepare(request):
            self._count_bad("not-websocket")
            response = web.Response(status=426, headers={"Upgrade": "websocket"}, text="This port is for peers.\n")
            response.force_close()
            return response
        challenge = request.headers.get(CHALLENGE_HEADER, "")
        if self._secret is not None and not is_challenge(challenge):
            self._turned_away("secret", f"{request.remote} does not show that it knows the secret of the members")
            response = web.Response(status=UNPROVEN, text="This port is for members, who share a secret.\n")
            response.force_close()
            return response
        await websocket.prepare(request)
        with self._unforeseen():  # up to here strangers can provoke what they like, and the listener counts it
            if await self._proven(request, websocket, challenge):
                connection = Connection(websocket, self._ended)
                await self._converse(connection, None, None, lambda: self._listener.greeted(request.protocol))
        return websocket

    async def _proven(self, request: web.BaseRequest, websocket: web.WebSocketResponse, challenge: str) -> bool:
        """Whether that caller knows the secret of the members, if there is one."""
        if self._secret is None:
            return True
        try:
            await prove_to_dialler(websocket, self._secret, challenge)
        except Unproven as unproven:
            self._turned_away("secret", f"{request.remote} does not know the secret of the members")
            connection = Connection(websocket, self._ended)
            await connection.close(codes.REFUSED, codes.in_farewell(Refusal("secret", str(unproven))))
            return False
        except ConnectionError:
            return False
        except Exception as error:  # whoever does not know the secret ends no node
            self._failed_meeting(f"proving to {request.remote}", error)
            return False
        return True

    async def _converse(
        self, connection: Connection, heard: Hello | None, dialled_by: MemberId | None, greeted: Callable[[], None]
    ) -> None:
        """All that is said on one connection. `greeted` is called when the peer is."""
        self._connections.add(connection)  # in one step with our hello, or an announcement in between would be missed
        connection.send_hello(self._hello())
        line: Line | None = None
        code, reason = codes.BROKEN, "an error in this node"
        hello = heard
        try:
            hello = hello or await connection.receive_hello()
            await self._greet(connection, hello)
            line = self._welcome(connection, hello, dialled_by or hello.identity.member)
            greeted()
            while True:
                await self._take(line, await connection.receive())
        except BadFrame as bad:
            self._count_bad(bad.kind)
            code, reason = codes.NOT_OURS, str(bad)
        except Unwelcome as unwelcome:
            code, reason = codes.REFUSED, codes.in_farewell(unwelcome.refusal)
        except ConnectionOver as over:
            code, reason = codes.GOING_AWAY, ""
            if over.code == codes.REFUSED and hello is not None:
                self._refused_by(hello.identity if line is None else line.process, codes.of_farewell(str(over)))
        finally:
            self._connections.discard(connection)
            if line is not None:
                self._gone(line)
            await connection.close(code, reason)

    async def _greet(self, connection: Connection, hello: Hello) -> None:
        """Returns when the node is willing to talk to that process; raises `Unwelcome`."""
        if (problem := frames.incompatible(hello, self._node.hello())) is not None:
            raise Unwelcome(problem)
        if hello.identity.member == self._member:
            raise Unwelcome(Refusal("own-name", f"{self._member} is my own name"))
        if self._tls is not None and not self._tls.speaks_for(connection.certificate, hello.identity.member):
            self._turned_away("tls-name", f"a certificate that does not speak for {hello.identity.member} was shown")
            raise Unwelcome(Refusal("certificate", f"your certificate does not speak for {hello.identity.member}"))
        try:
            async with asyncio.timeout(GREETING_S):
                refusal = await asyncio.shield(self._node.greet(hello))
        except TimeoutError:
            raise Unwelcome(Refusal("stuck", "no answer to the greeting in time: is the disk stuck?")) from None
        if refusal is not None:
            raise Unwelcome(refusal)

    def _welcome(self, connection: Connection, hello: Hello, dialled_by: MemberId) -> Line:
        if connection.closed:
            raise ConnectionOver(None, "")
        peer = self._peers[hello.identity.member]
        if not peer.lines:
            peer.connected_since = asyncio.get_running_loop().time()
            peer.alone.clear()
        line = Line(connection, hello.identity, dialled_by)
        peer.lines.append(line)
        connection.send_greeted()
        self._settle(peer)
        return line

    async def _take(self, line: Line, frame: Frame) -> None:
        match frame:
            case [Hello() as hello]:
                if msgspec.structs.replace(hello.identity, cluster=line.process.cluster) != line.process:
                    raise BadFrame("another-process", "a hello of another process on the same connection")
                await self._greet(line.connection, hello)
                line.process = hello.identity
                return
            case _:
                pass
        sender = line.process.member
        for message in frame:
            if isinstance(message, Hello) or message.source != sender or message.destination != self._member:
                raise BadFrame("misaddressed", f"not everything in this frame is from {sender} to {self._member}")
        if not line.confirmed:
            line.confirmed = True
            self._settle(self._peers[sender])
        if frame:
            self._node.receive(line.process, cast("list[Wire]", frame))

    def _settle(self, peer: Peer) -> None:
        """Choose the line to send on, and close what the rules of `pairing` say is ours to close."""
        peer.route = pairing.preferred(peer.lines, self._member)
        for line in pairing.surplus(peer.lines, self._member):
            peer.lines.remove(line)
            self._close_soon(line.connection, codes.SURPLUS, "another connection of this pair stays")

    def _gone(self, line: Line) -> None:
        member = line.process.member
        peer = self._peers[member]
        if line not in peer.lines:
            return
        peer.lines.remove(line)
        self._settle(peer)
        if peer.lines:
            return
        if asyncio.get_running_loop().time() - peer.connected_since >= STEADY_S:
            peer.backoff.reset()
        peer.alone.set()
        if not self._closing:
            self._node.lost(member)

    @property
    def _node(self) -> Receiver:
        assert self._receiver is not None, "start() comes first"
        return self._receiver

    def _hello(self) -> Hello:
        return self._node.hello()

    def _count_bad(self, kind: str) -> None:
        self.bad_frames[kind] += 1
        logger.debug("closed a connection that is not ours: %s", kind)

    def _turned_away(self, kind: str, reason: str) -> None:
        """Somebody who would be a member did not show that he is. Counted each time, and said once a while."""
        self._count_bad(kind)
        now = asyncio.get_running_loop().time()
        if now >= self._said_of.get(kind, 0.0):
            self._said_of[kind] = now + SAY_AGAIN_S
            logger.warning("a connection between members was refused (%s): %s", kind, reason)

    def _failed_meeting(self, doing: str, error: Exception) -> None:
        """Nobody foresaw it, and anybody may have brought it about: it is said each time, and goes no further."""
        self._count_bad("failed")
        logger.error("%s failed", doing, exc_info=error)

    def _refused_by(self, by: Identity, refusal: Refusal) -> None:
        """Logged once, though it is dialled again and again."""
        peer = self._peers[by.member]
        if refusal.reason != peer.refusal:
            peer.refusal = refusal.reason
            logger.warning("%s refuses this node: %s", by.member, refusal.reason)
        if not self._closing:
            self._node.refused(by, refusal)

    def _close_soon(self, connection: Connection, code: int, reason: str) -> None:
        self._spawn(connection.close(code, reason))

    @contextlib.contextmanager
    def _unforeseen(self) -> Iterator[None]:
        """For what runs in a task of aiohttp, which would make an answer of the error and go on."""
        try:
            yield
        except Exception as error:
            self._node.failed(error)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._node.failed(error)
