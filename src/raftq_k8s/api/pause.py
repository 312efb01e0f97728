"""The cluster at rest, for maintenance: while it is paused nobody is promoted, removed or handed the leadership by
itself. Elections go on, and so does everything that people ask for. Replicated: it is paused whoever leads next.
"""

from typing import Annotated

import msgspec

from raftq_k8s.api.answers import Answer, json_answer
from raftq_k8s.api.json_bodies import JsonBodies
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import Node
from raftq_k8s.state.commands import LONGEST_REASON, Pause, Resume


class PauseAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: Annotated[str, msgspec.Meta(max_length=LONGEST_REASON)] = ""


class PauseRoutes:
    def __init__(self, node: Node, timeout_s: float) -> None:
        self._node = node
        self._timeout_s = timeout_s
        self._bodies = JsonBodies(PauseAsked)

    async def get(self, request: Request) -> Answer:
        """As far as this node has applied the log."""
        return json_answer(200, {"paused": self._node.paused})

    async def begin(self, request: Request) -> Answer:
        asked = await self._bodies.read(request)
        noted = await self._node.submit(Pause(asked.reason), self._timeout_s)
        return json_answer(200, {"paused": asked.reason, "revision": noted.revision})

    async def end(self, request: Request) -> Answer:
        """Does no harm where there is no pause."""
        noted = await self._node.submit(Resume(), self._timeout_s)
        return json_answer(200, {"paused": None, "revision": noted.revision})
