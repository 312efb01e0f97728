"""The node as the keeper of the label sees it.

With an application beside it, a leader counts as established only while that application serves as the leader. That
takes nothing from the label's protocol, for which a leader that is not yet established is nothing new: there is one
more thing to wait for before the first write.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

import msgspec

from raftq_k8s.node.errors import NotStarted
from raftq_k8s.node.raftq import Raftq
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.types import ClusterId, MemberId, Term


class Application(Protocol):
    def promoted_in(self) -> Term | None:
        """The term in which the application serves as the leader."""

    async def next_promoted(self, seen: Term | None) -> None:
        """Waits until `promoted_in` differs from that."""


class LabelledNode:
    def __init__(self, raftq: Raftq, application: Application | None = None) -> None:
        self._raftq = raftq
        self._application = application

    def standing(self) -> Standing:
        standing = self._raftq.standing()
        if self._application is None or self._application.promoted_in() == standing.term:
            return standing
        return msgspec.structs.replace(standing, established=False)

    async def next_standing(self, seen: Standing) -> Standing:
        try:
            return await self._next_standing(seen)
        except NotStarted:  # it takes no part any more, and its process stays: somebody has to take the label off
            if (now := self.standing()) == seen:
                await asyncio.Event().wait()
            return now

    async def _next_standing(self, seen: Standing) -> Standing:
        if self._application is None:
            return await self._raftq.next_standing(seen)
        while True:
            raft, promoted = self._raftq.standing(), self._application.promoted_in()
            if self.standing() != seen:
                return self.standing()
            await _first(self._raftq.next_standing(raft), self._application.next_promoted(promoted))

    def leads(self) -> bool:
        return self._raftq.status().quorum_left_ms > 0

    def voters(self) -> tuple[MemberId, ...]:
        return self._raftq.status().voters

    def cluster(self) -> ClusterId | None:
        return self._raftq.status().cluster

    def observe_term(self, term: Term) -> None:
        self._raftq.observe_term(term)


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
