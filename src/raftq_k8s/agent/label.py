"""The node as the keeper of the label sees it."""

from raftq_k8s.node.raftq import Raftq
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.types import ClusterId, MemberId, Term


class LabelledNode:
    def __init__(self, raftq: Raftq) -> None:
        self._raftq = raftq

    def standing(self) -> Standing:
        return self._raftq.standing()

    async def next_standing(self, seen: Standing) -> Standing:
        return await self._raftq.next_standing(seen)

    def leads(self) -> bool:
        return self._raftq.status().quorum_left_ms > 0

    def voters(self) -> tuple[MemberId, ...]:
        return self._raftq.status().voters

    def cluster(self) -> ClusterId | None:
        return self._raftq.status().cluster

    def observe_term(self, term: Term) -> None:
        self._raftq.observe_term(term)
