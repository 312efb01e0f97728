"""Exactly once: writes that are repeated for as long as their time lasts, and take effect once.

A session is registered with the cluster; each write carries its number and a sequence. Servers keep the replies to the
latest 32, and answer a repeated write with its first reply. So a write waits here while one that is 32 older is still
under way. A session that lay idle for ten minutes has expired: a write that comes first under it has done nothing, and
is sent under a new one, unseen. One whose earlier try may have been carried out ends as `OutcomeUnknown`.
"""

import asyncio
import contextlib

import msgspec

from raftq_k8s.client.answers import decoded
from raftq_k8s.client.calls import Call, Caller
from raftq_k8s.client.errors import ClientError, Refused
from raftq_k8s.client.exchange import Answer, Request
from raftq_k8s.client.repeating import Repeat
from raftq_k8s.client.writes import Writer

WINDOW = 32
_EXPIRED = "no-such-session"


class _Opened(msgspec.Struct, frozen=True):
    session: int


class Session(Writer):
    """Made by `Client.session`, to be used as a context manager. `OutcomeUnknown` only when the time of a call is
    over."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._id: int | None = None
        self._opening = asyncio.Lock()
        self._last = 0
        self._under_way: set[int] = set()
        self._one_ended = asyncio.Event()

    async def __aenter__(self) -> "Session":
        """Raises `ClientError` where none can be opened."""
        await self._opened()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give it back. It expires by itself where that fails, and what was done in it stays done."""
        if self._id is not None:
            with contextlib.suppress(ClientError):
                await self._caller.call(Call(Request("DELETE", f"/v1/sessions/{self._id}"), Repeat.HARMLESS))

    async def send(self, request: Request) -> Answer:
        session = await self._opened()
        try:
            return await self._in_session(session, request)
        except Refused as error:
            if error.problem.kind != _EXPIRED:
                raise
        if self._id == session:
            self._id = None
        return await self._in_session(await self._opened(), request)

    async def _in_session(self, session: int, request: Request) -> Answer:
        sequence = await self._begun()
        headers = {**request.headers, "Idempotency-Key": f"{session}/{sequence}"}
        try:
            return await self._caller.call(Call(request._replace(headers=headers), Repeat.HARMLESS))
        finally:
            self._under_way.remove(sequence)
            self._one_ended.set()

    async def _begun(self) -> int:
        while self._under_way and self._last + 1 - min(self._under_way) >= WINDOW:
            self._one_ended.clear()
            await self._one_ended.wait()
        self._last += 1
        self._under_way.add(self._last)
        return self._last

    async def _opened(self) -> int:
        async with self._opening:
            if self._id is None:
                answer = await self._caller.call(Call(Request("POST", "/v1/sessions"), Repeat.HARMLESS))
                self._id = decoded(answer.body, _Opened).session
            return self._id
