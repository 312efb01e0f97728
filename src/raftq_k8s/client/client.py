"""A client of a cluster of agents, for programs on asyncio.

It asks one server after the other until one has an answer or the time of the call is over (`calls.py`), repeats only
what is safe to repeat (`repeating.py`), and says of each failure whether something was done (`errors.py`).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from raftq_k8s.client import paths
from raftq_k8s.client.answers import Change, Changed, Failover, Keys, Leader, Member, Status, Value, decoded
from raftq_k8s.client.calls import Call, Caller
from raftq_k8s.client.errors import Problem, Refused, Unavailable, Unreachable
from raftq_k8s.client.event_stream import Event
from raftq_k8s.client.exchange import Answer, Exchange, Request, Token, Unanswered, Unsent
from raftq_k8s.client.repeating import Done, Elsewhere, Final, NothingDone, NothingKnown, Repeat, judge
from raftq_k8s.client.servers import DEFAULT_SERVER, Servers
from raftq_k8s.client.sessions import Session
from raftq_k8s.client.streams import SILENCE_S, events_of
from raftq_k8s.client.writes import Writer, revision

Consistency: TypeAlias = Literal["linearizable", "lease", "local"]
"""How much a read knows: everything that was acknowledged before it; the same by the leader's clock; what the server
that answers has applied, which may be the past."""

PATIENCE_S = 60.0
"""So long a watch goes on looking for a server."""

_STALE_PAUSE_S = 0.05


class Snapshot(NamedTuple):
    server: str
    headers: Mapping[str, str]
    """By lower-case name: `x-raftq-applied-index`, `x-raftq-term`, `x-raftq-cluster`."""
    pieces: AsyncIterator[bytes]
    """Raises `Unreachable` where it breaks off; half of it is no snapshot."""


class Client(Writer):
    """To be used as an asynchronous context manager. Every call ends within `timeout_s`, and raises `ClientError`."""

    def __init__(
        self, servers: str | Sequence[str] = DEFAULT_SERVER, *, token: str | Path | None = None, timeout_s: float = 10.0
    ) -> None:
        """`servers`: `http://HOST:PORT` of any members, or of their Service; the first is asked first. `token`: itself,
        or the file that holds it. Raises `ValueError` for what is no address or no token."""
        self._servers = Servers(servers)
        self._token = Token(token)
        self._timeout_s = timeout_s
        self._opened: Caller | None = None
        self._highest_term = 0

    async def __aenter__(self) -> "Client":
        self._opened = Caller(Exchange(self._token), self._servers, self._timeout_s)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._opened is not None:
            await self._opened.exchange.close()
            self._opened = None

    # ----------------------------------------------------------------------------------------------------- the document

    async def get(self, key: str, *, consistency: Consistency = "linearizable") -> Value | None:
        """`None`: there is no such key."""
        request = Request("GET", paths.of_key(key), {"consistency": consistency})
        try:
            answer = await self._asked(request)
        except Refused as error:
            if error.problem.kind == "no-such-key":
                return None
            raise
        return Value(answer.body, revision(answer))

    async def whole(self, *, consistency: Consistency = "linearizable") -> Value:
        """The document; its revision is that of its last change."""
        answer = await self._asked(Request("GET", paths.DATA, {"consistency": consistency}))
        return Value(answer.body, revision(answer))

    async def keys(self, prefix: str = "", *, consistency: Consistency = "linearizable") -> Keys:
        """All keys that begin so. Raises `NotAnObject` for a document that has none."""
        query = {"prefix": prefix, "consistency": consistency}
        found = decoded((await self._asked(Request("GET", paths.DATA, query))).body, _Listing)
        return Keys(found.revision, {key: Value(bytes(at.value), at.revision) for key, at in found.keys.items()})

    async def send(self, request: Request) -> Answer:
        """A write outside of a session: sent again only where it certainly did nothing."""
        return await self._caller.call(Call(request, Repeat.HARMFUL))

    def session(self) -> Session:
        """For writes that are repeated until they are answered, and take effect once."""
        return Session(self._caller)

    async def watch(
        self, after: int | None = None, *, prefix: str = "", patience_s: float = PATIENCE_S
    ) -> AsyncGenerator[Changed, None]:
        """Every change of a later revision, in order, across servers that come and go; `None`: from now on. With a
        `prefix` only keys that begin so.

        Raises `Compacted` where those changes are not kept any more, and what the last server said when none could be
        heard for `patience_s`.
        """
        query = {} if after is None else {"after": str(after)}
        request = Request("GET", "/v1/events", query | ({"prefix": prefix} if prefix else {}))
        async with aclosing(events_of(self._caller, request, patience_s)) as events:
            async for event in events:
                if event.name == "change":
                    yield _changed(event)

    # ------------------------------------------------------------------------------------------------------- the leader

    async def leader(self) -> Leader:
        """Who leads. Its term is the fencing token, and never lower than in an answer before. Raises `Unavailable`
        while nobody leads."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._timeout_s
        while True:
            answer = await self._asked(Request("GET", "/v1/leader"))
            leader = decoded(answer.body, Leader)
            if self._is_news(leader.term):
                return leader
            if now() > deadline:
                sentence = f"{answer.server} still takes {leader.id} for the leader, which another server has deposed"
                raise Unavailable(sentence, Problem(status=answer.status))
            self._servers.failed(answer.server)
            await asyncio.sleep(_STALE_PAUSE_S)

    async def watch_leader(self, *, patience_s: float = PATIENCE_S) -> AsyncGenerator[Leader | None, None]:
        """Who leads, and each leader after it; `None` while nobody is known to. Raises as `watch` does."""
        said: tuple[object, ...] = ()
        async with aclosing(events_of(self._caller, Request("GET", "/v1/leader/events"), patience_s)) as events:
            async for event in events:
                if event.name != "leader":
                    continue
                told = decoded(event.data, _Told)
                if self._is_news(told.term) and (told.id, told.term, told.address) != said:
                    said = told.id, told.term, told.address
                    yield None if told.id is None else decoded(event.data, Leader)

    def _is_news(self, term: int) -> bool:
        if term < self._highest_term:
            return False
        self._highest_term = term
        return True

    # ------------------------------------------------------------------------------------------------------ the cluster

    async def status(self) -> Status:
        """What the server that answers knows of itself and of the cluster."""
        return decoded((await self._asked(Request("GET", "/v1/status"))).body, Status)

    async def members(self) -> tuple[Member, ...]:
        """As the leader knows them; where it cannot be reached, or nobody leads, as another server does."""
        leader = (await self.status()).leader_http
        if leader is not None and self._servers.first.startswith("http:"):
            self._servers.leader = f"http://{leader}"
        answer = await self._asked(Request("GET", "/v1/members"), only_leader=True)
        return decoded(answer.body, _Members).members

    async def remove(self, member: str, *, incarnation: str | None = None) -> None:
        """Take it out of the cluster, for good under that incarnation; it ends when that is committed."""
        query = {} if incarnation is None else {"incarnation": incarnation}
        await self._ordered(Request("DELETE", f"/v1/members/{paths.segment(member)}", query), Repeat.HARMFUL)

    async def promote(self, member: str) -> None:
        """Let a learner vote."""
        await self._ordered(Request("POST", f"/v1/members/{paths.segment(member)}/promote"), Repeat.HARMLESS)

    async def transfer(self, to: str | None = None) -> str:
        """Have another member lead, the best one where none is named, and return who leads then."""
        request = Request("POST", "/v1/transfer", body=msgspec.json.encode({"to": to}))
        answer = await self._ordered(request, Repeat.HARMFUL if to is None else Repeat.HARMLESS)
        return decoded(answer.body, _Transferred).leader

    async def pause(self, reason: str) -> None:
        """No automatic transfer, promotion or removal until `resume`."""
        body = msgspec.json.encode({"reason": reason})
        await self._caller.call(Call(Request("POST", "/v1/pause", body=body), Repeat.HARMLESS))

    async def resume(self) -> None:
        await self._caller.call(Call(Request("DELETE", "/v1/pause"), Repeat.HARMLESS))

    async def drain(self) -> None:
        """Have the first of the servers hand over what it does, before its process is ended: that one, and no other in
        its place."""
        await self._of_first(Request("POST", "/v1/drain"), Repeat.HARMLESS)

    async def recover(self, cluster: str) -> str:
        """Have the first of the servers give up the lost quorum of that cluster, which is its own, and go on alone as
        a new one, whose id is returned. It leads that a moment later."""
        request = Request("POST", "/v1/recover", body=msgspec.json.encode({"cluster": cluster}))
        return decoded((await self._of_first(request, Repeat.HARMFUL)).body, _Recovering).cluster

    async def join(self, cluster: str) -> None:
        """Have the first of the servers archive its volume, and join that cluster with an empty one."""
        request = Request("POST", "/v1/recover", body=msgspec.json.encode({"join": cluster}))
        await self._of_first(request, Repeat.HARMFUL)

    async def history(self) -> tuple[Failover, ...]:
        """The latest changes of the leader, the latest last, as the server that answers saw them."""
        answer = await self._asked(Request("GET", "/v1/history"))
        return decoded(answer.body, _History).failovers

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """All that the cluster holds, as one server has applied it by now."""
        request = Request("GET", "/v1/snapshot")
        server = (await self._asked(Request("GET", "/v1/status"))).server
        try:
            async with aclosing(self._caller.exchange.stream(server, request, SILENCE_S)) as stream:
                head = await anext(stream)
                assert isinstance(head, Answer)
                match judge(head):
                    case Done():
                        yield Snapshot(server, head.headers, _bytes(stream))
                    case Final(error) | NothingDone(error):
                        raise error
                    case Elsewhere() | NothingKnown():
                        raise Unreachable(f"{server} answered {head.status} where a snapshot was asked for")
        except (Unsent, Unanswered) as error:
            raise Unreachable(str(error)) from error

    async def _of_first(self, request: Request, repeat: Repeat) -> Answer:
        """That server, and no other in its place."""
        one = Caller(self._caller.exchange, Servers((self._servers.first,)), self._timeout_s)
        return await one.call(Call(request, repeat))

    async def _asked(self, request: Request, *, only_leader: bool = False) -> Answer:
        return await self._caller.call(Call(request, Repeat.UNNOTICED, only_leader))

    async def _ordered(self, request: Request, repeat: Repeat) -> Answer:
        return await self._caller.call(Call(request, repeat, only_leader=True))

    @property
    def _caller(self) -> Caller:
        if self._opened is None:
            raise RuntimeError("a client is opened by `async with Client(…) as client`")
        return self._opened


async def _bytes(stream: AsyncIterator[bytes | Answer]) -> AsyncGenerator[bytes, None]:
    async for piece in stream:
        assert isinstance(piece, bytes)
        yield piece


class _At(msgspec.Struct):
    revision: int
    value: msgspec.Raw


class _Listing(msgspec.Struct):
    revision: int
    keys: dict[str, _At]


_ABSENT = msgspec.Raw()


class _Change(msgspec.Struct):
    key: str | None = None
    value: msgspec.Raw = _ABSENT
    document: msgspec.Raw = _ABSENT


class _Changed(msgspec.Struct):
    revision: int
    changes: list[_Change]


class _Told(msgspec.Struct):
    """Of the leader, or that there is none."""

    id: str | None
    term: int
    address: str | None = None


class _Members(msgspec.Struct):
    members: tuple[Member, ...]


class _History(msgspec.Struct):
    failovers: tuple[Failover, ...]


class _Recovering(msgspec.Struct, frozen=True):
    cluster: str


class _Transferred(msgspec.Struct):
    leader: str


def _changed(event: Event) -> Changed:
    told = decoded(event.data, _Changed)
    return Changed(told.revision, tuple(map(_change, told.changes)))


def _change(told: _Change) -> Change:
    return Change(told.key, bytes(told.document if told.key is None else told.value) or None)
