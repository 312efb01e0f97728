"""HTTP/1.1 on one connection: from bytes to requests, and from one answer to the next request.

llhttp, the parser of Node.js, reads (`httptools`); what it does not bound is bounded here. Requests that come before
the one at hand is answered wait in a row, and the socket is not read meanwhile: a client that asks faster than it is
answered is held back, and so is one whose body nobody has taken yet. There is no task while nothing is asked, and a
timer is set once for all requests of a connection: what a small request costs is what limits the writes of a leader.

A request that asks for another protocol is answered in this one, as the last on its connection: its body is read, for
some clients ask so with all they send, and what follows that may be neither. What is no HTTP is answered behind
everything that came before it, and closes the connection.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

import httptools
from multidict import CIMultiDict

from raftq_k8s.api.answers import Response
from raftq_k8s.api.problems import Problem, broken_body, headers_too_large
from raftq_k8s.api.requests import Body, Request

Handler = Callable[[Request], Awaitable[Response]]

HEAD_BYTES = 32 << 10
"""The first line and the headers of a request, all together, give or take a slice. And so much of a body's framing
(extensions of chunks, trailers) without any of the body."""
LINE_BYTES = 8190
LINES = 128

SLICE_BYTES = 16 << 10
"""So much is looked at before it is asked whether requests wait: one read of the socket may hold ten thousand."""

_HELD_BYTES = 64 << 10
"""So much of a body waits here for whoever reads it, before the socket does."""
_LINGER_S = 2.0
"""For so long the rest of a refused body is read and dropped: else its sender would see a reset, not our answer."""

_VERSIONS = frozenset({"1.0", "1.1"})
_FRAMING = ("Content-Length", "Transfer-Encoding")

log = logging.getLogger(__name__)


class Owner(Protocol):
    """Who keeps the connections."""

    def made(self, connection: "Connection") -> None: ...

    def lost(self, connection: "Connection") -> None: ...

    def unreadable(self, problem: Problem) -> None:
        """What came is no HTTP, or too much of it."""


class Connection(asyncio.Protocol):
    def __init__(self, owner: Owner, handler: Handler, idle_timeout_s: float) -> None:
        """`handler` raises nothing but `ConnectionError`."""
        self._owner = owner
        self._handler = handler
        self._idle_timeout_s = idle_timeout_s
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.gone: Callable[[], None] | None = None

        self._parser = httptools.HttpRequestParser(self)
        self._unparsed = b""
        """It came while requests waited."""
        self._target = b""
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._body_follows_upgrade = False
        """Though llhttp says that the request at hand is complete."""
        self._arriving: Body | None = None
        """Of the request whose head is complete, and whose body is not."""
        self._inside = False
        """A request has begun to arrive."""
        self._went_on = False
        """By what arrived last a head was completed, or its body has grown."""
        self._idle_bytes = 0
        """So much came since by what nothing went on."""
        self._objection: Problem | None = None
        self._deaf = False
        """What arrives from now on means nothing."""

        self._row: deque[Request | Problem] = deque()
        self._task: asyncio.Task[None] | None = None
        self._last = False
        """The answer at hand is the last."""
        self._reading_paused = False
        self._writing_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._idle_since = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    # ---------------------------------------------------------------------------------------------------- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one, though not by its type
        self._timer = self._loop.call_later(self._idle_timeout_s, self._look_at_the_time)
        self._owner.made(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.transport = None
        self._deaf = True
        del self._parser  # which holds this connection in turn, and both would wait for the next collection
        self._row.clear()
        self._unparsed = b""
        if self._timer is not None:
            self._timer.cancel()
        if self._arriving is not None:
            self._arriving.break_off()
        self.resume_writing()
        if self.gone is not None:
            self.gone()
            self.gone = None
        self._owner.lost(self)

    def data_received(self, data: bytes) -> None:
        if len(data) <= SLICE_BYTES and not self._unparsed:
            self._parse(data)
        else:
            self._unparsed += data
            self._parse_on()
        self._regulate()

    def _parse_on(self) -> None:
        """What came before, until a request has to wait."""
        data, self._unparsed = self._unparsed, b""
        start = 0
        while start < len(data) and not self._row and not self._deaf:
            self._parse(data[start : start + SLICE_BYTES])
            start += SLICE_BYTES
        if not self._deaf:
            self._unparsed = data[start:]

    def _parse(self, data: bytes) -> None:
        if self._deaf:
            return
        self._went_on = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay_with_this_protocol(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._object(self._objection or _no_http())
            return
        if self._went_on or not self._inside:
            self._idle_bytes = 0
        else:
            self._idle_bytes += len(data)
            if self._idle_bytes > HEAD_BYTES:
                self._object(_headers_too_large())

    def _stay_with_this_protocol(self, rest: bytes) -> None:
        """llhttp leaves all behind such a head to the other protocol. To another one it is the body of a head that says
        nothing but how long that is."""
        if not self._body_follows_upgrade:
            self._deaf = True
            return
        self._body_follows_upgrade = False
        self._parser = httptools.HttpRequestParser(_OnlyBody(self))
        framing = [f"{name}: {value}\r\n" for name in _FRAMING for value in self._headers.getall(name, ())]
        head = f"POST / HTTP/1.1\r\n{''.join(framing)}\r\n"
        self._parse(head.encode("utf-8", "surrogateescape") + rest)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drain(self) -> None:
        if self._writing_paused:
            self._drained = self._loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None
        if self.transport is None:
            raise ConnectionResetError("the client has gone")

    def _regulate(self) -> None:
        """Read no more than can be worked at."""
        full = bool(self._row) or (self._arriving is not None and self._arriving.held_bytes > _HELD_BYTES)
        if full is not self._reading_paused and self.transport is not None:
            self._reading_paused = full
            if full:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def _look_at_the_time(self) -> None:
        if self.transport is None:
            return
        if self.transport.is_closing():
            self.cut()  # and who does not even read the last answer loses it
            return
        left_s = self._idle_timeout_s
        if self._task is None:
            left_s += self._idle_since - self._loop.time()
        if left_s <= 0.0:
            self.close()
            return
        self._timer = self._loop.call_later(left_s, self._look_at_the_time)

    # ---------------------------------------------------------------------------------------------- called by llhttp

    def on_message_begin(self) -> None:
        self._inside = True
        self._target = b""
        self._headers = CIMultiDict()

    def on_url(self, piece: bytes) -> None:
        self._target += piece
        self._check_line(self._target)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._arriving is not None:
            return  # a trailer: nothing here needs one
        if len(name) + len(value) > LINE_BYTES or len(self._headers) >= LINES:
            self._check_line(name + value)
            self._refuse(_no_http(f"a request has at most {LINES} headers"))
        self._headers.add(name.decode("ascii"), value.strip(b" \t").decode("utf-8", "surrogateescape"))

    def on_headers_complete(self) -> None:
        self._went_on = True
        parser = self._parser
        version = parser.get_http_version()
        if version not in _VERSIONS:
            self._refuse(_no_http("this speaks HTTP/1.1, and HTTP/1.0"))
        if len(self._headers.getall("Host", ())) > 1:
            self._refuse(_no_http("a request has one header Host"))  # and its proxies may have seen another one
        method = parser.get_method().decode("ascii")
        upgrades = parser.should_upgrade()
        if upgrades and method != "CONNECT":
            self._body_follows_upgrade = any(name in self._headers for name in _FRAMING)
        path, query_string = _parts(self._target)
        body = self._arriving = Body(self._regulate)
        request = Request(
            method,
            path,
            query_string,
            self._headers,
            body,
            self,
            keep_alive=parser.should_keep_alive() and not upgrades,
            is_http_1_0=version == "1.0",
        )
        self._answer(request)

    def on_body(self, data: bytes) -> None:
        self._went_on = True
        if self._arriving is not None:
            self._arriving.arrived(data)

    def on_message_complete(self) -> None:
        if self._body_follows_upgrade:
            return
        self._went_on = True
        self._inside = False
        if self._arriving is not None:
            self._arriving.end()
            self._arriving = None

    def _check_line(self, line: bytes) -> None:
        if len(line) > LINE_BYTES:
            self._refuse(headers_too_large(f"a line of the request has at most {LINE_BYTES} bytes"))

    def _refuse(self, problem: Problem) -> None:
        """Let the parser stop."""
        self._objection = problem
        raise problem

    # --------------------------------------------------------------------------------------------------- one by one

    def _object(self, problem: Problem) -> None:
        """Nothing more can be understood. A body that is on its way does not end, and whoever reads it says so."""
        self._deaf = True
        if self._arriving is not None:
            self._arriving.break_off()
            self._arriving = None
        else:
            self._answer(problem)

    def _answer(self, asked: Request | Problem) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._answer_all(asked))
        else:
            self._row.append(asked)

    async def _answer_all(self, asked: Request | Problem) -> None:
        try:
            while await self._answered(asked) and self._row:
                asked = self._row.popleft()
                if self._unparsed and not self._row:
                    self._parse_on()
                self._regulate()
        except ConnectionError:
            self.cut()
        except Exception:
            log.exception("a connection cannot go on")
            self.cut()
        finally:
            self._task = None
            self._idle_since = self._loop.time()

    async def _answered(self, asked: Request | Problem) -> bool:
        """Returns whether there may be another one."""
        if isinstance(asked, Problem):
            self._owner.unreadable(asked)
            if self.transport is not None:
                self.transport.write(asked.answer().encoded())
            self.close()
            return False
        if asked.body.broken:  # known before anything was done
            return await self._answered(broken_body())
        response = await self._handler(asked)
        if self._last:
            response.keep_alive = False
        await response.send(asked)
        if not asked.body.complete:
            await self._linger(asked.body)
        if response.keep_alive and asked.body.complete:
            return True
        self.close()
        return False

    async def _linger(self, body: Body) -> None:
        try:
            async with asyncio.timeout(_LINGER_S):
                await body.dropped()
        except TimeoutError:
            pass

    # --------------------------------------------------------------------------------------------------- its end

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """What answers, if something is being answered."""
        return self._task

    def leave(self) -> None:
        """Close it: after the answer at hand, if there is one."""
        self._last = True
        if self._task is None:
            self.close()

    def hear_no_more(self) -> None:
        """What comes from now on may be another protocol."""
        self._deaf = True

    def close(self) -> None:
        """Let what was written arrive, and nothing more."""
        self._deaf = True
        self._row.clear()
        self._unparsed = b""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(self._idle_timeout_s, self._look_at_the_time)

    def cut(self) -> None:
        """Now."""
        self._deaf = True
        self._row.clear()
        self._unparsed = b""
        if self.transport is not None:
            self.transport.abort()


class _OnlyBody:
    """What is told of a request whose head was told before: and it is the last."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.on_body = connection.on_body

    def on_message_complete(self) -> None:
        self._connection.on_message_complete()
        self._connection.hear_no_more()


def _parts(target: bytes) -> tuple[str, str]:
    """Path and query of what a request line names. A proxy is given whole URLs; all other forms have no path here."""
    if not target.startswith(b"/"):
        try:
            url = httptools.parse_url(target)
        except httptools.HttpParserInvalidURLError:
            return target.decode("utf-8", "surrogateescape"), ""
        path, query = url.path or b"/", url.query or b""
    else:
        path, _, query = target.partition(b"#")[0].partition(b"?")
    return path.decode("utf-8", "surrogateescape"), query.decode("utf-8", "surrogateescape")


def _no_http(detail: str = "this is not a well-formed HTTP request") -> Problem:
    return Problem(400, "bad-request", "Bad request", detail, close=True)


def _headers_too_large() -> Problem:
    return headers_too_large(f"the headers of a request have at most {HEAD_BYTES} bytes")
