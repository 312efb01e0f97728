"""What changes, as it changes: `/v1/events` for the document, `/v1/leader/events` for who leads.

An event of the document is a revision: all that one write changed, in one piece, with the revision as its id. Whoever
comes back with `Last-Event-ID` (or `after`) misses nothing and hears nothing twice, on whichever node; from before the
beginning of the journal it is told 410, and reads the document first. A node that is behind what a listener knows is
silent until it has passed that. With a `prefix` only keys that begin with it are told; when the whole document was
replaced, that is what the new one has of them. Between events an id without an event moves the listener's place on, so
that one whose keys seldom change does not fall behind the journal.

Where the journal begins anew under a listener, because a snapshot was installed, its connection ends, and it is told
410 when it comes again.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from raftq_k8s.api.answers import Answer, Response
from raftq_k8s.api.leader import encoded_leader
from raftq_k8s.api.news import Event, News, events_of, place, told
from raftq_k8s.api.problems import RETRY_AFTER, Problem
from raftq_k8s.api.requests import Request
from raftq_k8s.api.streams import EVENT_STREAM, Audience, Listener
from raftq_k8s.api.views import Node
from raftq_k8s.node.errors import NotStarted
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.types import NO_INDEX, Index
from raftq_k8s.state.journal import Compacted

_CATCH_UP_EVENTS = 64
"""One who comes late is told so many at a time."""

_NUMBER = re.compile(r"[0-9]{1,19}")


class Events:
    def __init__(self, node: Node, limit: int) -> None:
        """`limit`: so many may listen at a time."""
        self._node = node
        self._limit = limit
        self._changes = Audience(lambda: partial(self._announce_changes, node.document.applied_index), place)
        self._leaders = Audience(lambda: partial(self._announce_leaders, node.standing()), _to_all(b":\n\n"))
        self._one_at_a_time = asyncio.Lock()

    async def changes(self, request: Request) -> Response:
        if not self._node.status().caught_up:
            detail = "this node has not caught up since its start, and would tell you the past"
            raise Problem(503, "not-caught-up", "Not caught up", detail, headers=RETRY_AFTER)
        here = self._node.document.applied_index
        after = _asked_position(request, here)
        try:
            self._missed(after)
        except Compacted as compacted:
            raise _compacted(compacted) from None
        headers = b"X-Raftq-Applied-Index: %d\r\n" % here
        if request.method == "HEAD":
            return Answer(200, b"", EVENT_STREAM, headers)
        self._check_room()
        prefix = request.query.get("prefix", "")
        return Listener(self._changes, self._catch_up, headers=headers, position=after, prefix=prefix)

    async def leaders(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Answer(200, b"", EVENT_STREAM)
        self._check_room()
        return Listener(self._leaders, self._tell_leader)

    def close(self) -> None:
        """Let everybody go."""
        self._changes.close()
        self._leaders.close()

    def _check_room(self) -> None:
        if len(self._changes) + len(self._leaders) >= self._limit:
            detail = f"{self._limit} others listen to this node: ask another"
            raise Problem(503, "too-many-listeners", "Too many listeners", detail, headers=RETRY_AFTER)

    # -------------------------------------------------------------------------------------------------------- changes

    def _missed(self, position: int) -> Sequence[Event]:
        """Raises `Compacted`."""
        return events_of(self._node.journal.since(position))

    async def _catch_up(self, listener: Listener) -> None:
        """Bring it to where this node is: in pieces, and all who come late one after the other."""
        listener.tell(place(listener))
        while listener.position < self._node.document.applied_index:
            here = self._node.document.applied_index
            try:
                events = self._missed(listener.position)
            except Compacted:
                raise ConnectionResetError("the client reads more slowly than the journal goes on") from None
            for first in range(0, len(events), _CATCH_UP_EVENTS):
                async with self._one_at_a_time:
                    listener.tell(told(events[first : first + _CATCH_UP_EVENTS], listener.position, listener.prefix))
                    await asyncio.sleep(0)
                await listener.drained()
            listener.position = max(here, listener.position)

    async def _announce_changes(self, reached: Index) -> None:
        """Until the journal begins anew, or this node is stopped."""
        applied = NO_INDEX  # ahead of the document's own index, where the log's last entries are no commands
        with suppress(Compacted, NotStarted):
            while True:
                applied = await self._node.next_applied(applied)
                here = self._node.document.applied_index
                news = News(self._missed(reached), here)
                await self._changes.tell(news.told_to)
                reached = here

    # -------------------------------------------------------------------------------------------------------- leaders

    async def _tell_leader(self, listener: Listener) -> None:
        listener.tell(self._leader())

    async def _announce_leaders(self, seen: Standing) -> None:
        with suppress(NotStarted):
            while True:
                seen = await self._node.next_standing(seen)
                await self._leaders.tell(_to_all(self._leader()))

    def _leader(self) -> bytes:
        return b"event: leader\ndata: %s\n\n" % encoded_leader(self._node.status())


def _to_all(data: bytes) -> Callable[[Listener], bytes]:
    return lambda _: data


def _compacted(compacted: Compacted) -> Problem:
    detail = f"what changed is kept from after revision {compacted.oldest}: read the document, and go on from there"
    return Problem(410, "compacted", "Compacted", detail, members={"oldest": compacted.oldest})


def _asked_position(request: Request, here: int) -> int:
    """The header comes last, from a browser that comes back on the address with which it began: so it wins."""
    asked = request.headers.get("Last-Event-ID") or request.query.get("after")
    if asked is None:
        return here
    if not _NUMBER.fullmatch(asked):
        raise Problem(400, "bad-revision", "Bad revision", "after and Last-Event-ID are revisions: whole numbers")
    return int(asked)
