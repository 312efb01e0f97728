"""What a person may ask of this very agent: to get ready for its end, and what to do after a lost quorum.

`POST /v1/drain` answers as soon as that has begun; the agent is ended by whoever ends processes. `POST /v1/recover` is
deliberate: it names the cluster that is given up (`{"cluster": OLD}`), or the one to join with an empty volume
(`{"join": NEW}`), so that nobody recovers the wrong node by a slip of the hand.
"""

import msgspec

from raftq_k8s.api.answers import Answer, json_answer
from raftq_k8s.api.json_bodies import JsonBodies
from raftq_k8s.api.problems import Problem
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import OperationRefused, Operations
from raftq_k8s.raft.types import ClusterId


class RecoveryAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cluster: ClusterId | None = None
    """The one that is given up: this node's."""
    join: ClusterId | None = None


class OperationRoutes:
    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._bodies = JsonBodies(RecoveryAsked)

    async def drain(self, request: Request) -> Answer:
        try:
            await self._operations.drain()
        except OperationRefused as error:
            raise refused_by_agent(error) from None
        return json_answer(202, {"draining": True})

    async def recover(self, request: Request) -> Answer:
        try:
            match await self._bodies.read(request):
                case RecoveryAsked(str(old), None):
                    return json_answer(202, {"cluster": await self._operations.recover(old)})
                case RecoveryAsked(None, str(new)):
                    await self._operations.join(new)
                    return json_answer(202, {"cluster": new})
                case _:
                    detail = "name either the cluster that is given up (cluster) or the one to join; nothing was done"
                    raise Problem(422, "bad-body", "Bad body", detail)
        except OperationRefused as error:
            raise refused_by_agent(error) from None


def refused_by_agent(error: OperationRefused) -> Problem:
    return Problem(409, "refused", "Refused", f"{error}")
