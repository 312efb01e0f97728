"""The leadership handed over on purpose: `POST /v1/transfer`, to a named voter or to the one that suits best.

It is the leader's to do; others send the client there. Writes that come meanwhile wait, and are done by the successor.
An application beside the leader stops first, so that the successor's need not wait for it.
"""

from contextlib import AbstractAsyncContextManager, nullcontext

import msgspec

from raftq_k8s.api.answers import Answer, json_answer
from raftq_k8s.api.json_bodies import JsonBodies
from raftq_k8s.api.problems import RETRY_AFTER, Problem
from raftq_k8s.api.redirects import led_elsewhere
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import ApplicationView, Node
from raftq_k8s.node.errors import TransferFailed
from raftq_k8s.raft.consensus import TransferRefused
from raftq_k8s.raft.types import MemberId


class TransferAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    to: MemberId | None = None


class Transfer:
    def __init__(self, node: Node, timeout_s: float, application: ApplicationView | None) -> None:
        self._node = node
        self._application = application
        self._timeout_s = timeout_s
        self._bodies = JsonBodies(TransferAsked)

    async def post(self, request: Request) -> Answer:
        return led_elsewhere(self._node, request) or await self._transferred(await self._bodies.read(request))

    async def _transferred(self, asked: TransferAsked) -> Answer:
        try:
            async with self._without_application(asked.to):
                leader = await self._node.transfer(asked.to, self._timeout_s)
        except TransferRefused as error:
            raise Problem(409, "transfer-refused", "Transfer refused", f"{error}; nothing was done") from None
        except TransferFailed as error:
            raise Problem(503, "transfer-failed", "Transfer failed", str(error), headers=RETRY_AFTER) from None
        return json_answer(200, {"leader": leader, "term": self._node.standing().term})

    def _without_application(self, successor: MemberId | None) -> AbstractAsyncContextManager[None]:
        """It is not stopped for a transfer that cannot be."""
        status = self._node.status()
        candidates = set(status.voters) & set(status.connected) - {status.member}
        if self._application is None or not (candidates if successor is None else successor in candidates):
            return nullcontext()
        return self._application.set_aside()
