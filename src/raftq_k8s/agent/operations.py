"""What a person asks of this agent itself, over HTTP."""

from collections.abc import Callable

from raftq_k8s.agent.recovery import Recovery
from raftq_k8s.raft.types import ClusterId


class AgentOperations:
    def __init__(self, begin_departure: Callable[[str], object], recovery: Recovery) -> None:
        self._begin_departure = begin_departure
        self._recovery = recovery

    async def drain(self) -> None:
        self._begin_departure("drained by a person")

    async def recover(self, old: ClusterId) -> ClusterId:
        return self._recovery.recover(old)

    async def join(self, new: ClusterId) -> None:
        self._recovery.join(new)
