"""What a person asks of this agent itself, over HTTP."""

from collections.abc import Callable

from raftq_k8s.api.views import OperationRefused
from raftq_k8s.raft.types import ClusterId


class AgentOperations:
    def __init__(self, begin_departure: Callable[[str], object]) -> None:
        self._begin_departure = begin_departure

    async def drain(self) -> None:
        self._begin_departure("drained by a person")

    async def recover(self, old: ClusterId) -> ClusterId:
        raise OperationRefused(_NOT_HERE)

    async def join(self, new: ClusterId) -> None:
        raise OperationRefused(_NOT_HERE)


_NOT_HERE = "a running agent does not give up its quorum: nothing was done"
