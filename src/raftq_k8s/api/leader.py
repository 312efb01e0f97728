"""Who leads, for an application beside this node or anywhere else: `/leader`, in full `/v1/leader`.

`established` and `lease_left_ms` are a leader's own knowledge: on any other node the one is false and the other 0.
"""

import msgspec

from raftq_k8s.api.answers import Answer
from raftq_k8s.api.problems import no_leader
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import Node
from raftq_k8s.node.status import NodeStatus
from raftq_k8s.raft.types import MemberId, Milliseconds, Term


class Leader(msgspec.Struct, frozen=True):
    id: MemberId | None
    """`None` in an event that says that nobody is known to lead."""
    address: str | None
    """Its HTTP face, `host:port`, where it has one and this node knows it."""
    term: Term
    """The fencing token."""
    is_me: bool
    established: bool
    lease_left_ms: Milliseconds


_encode = msgspec.json.Encoder().encode


def encoded_leader(status: NodeStatus) -> bytes:
    return _encode(
        Leader(
            id=status.leader,
            address=status.leader_http or None,
            term=status.term,
            is_me=status.leader == status.member,
            established=status.established,
            lease_left_ms=status.lease_left_ms,
        )
    )


class LeaderRoute:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def get(self, request: Request) -> Answer:
        status = self._node.status()
        if status.leader is None:
            raise no_leader()
        return Answer(200, encoded_leader(status))
