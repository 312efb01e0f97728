"""The contract's way to bring one's own store: the whole state of a node, persisted and restored by the application.

Only the shape is here. The adapter that makes a volume of it comes in a later release; until then a `Raftq` that is
given one says so.
"""

from typing import Protocol

import msgspec

from raftq_k8s.node.events import RaftNode
from raftq_k8s.raft.types import MemberId, Term


class RaftPersistentData(msgspec.Struct, rename="camel"):
    term: Term
    voted_for: MemberId | None
    data: object


class PersistAgent(Protocol):
    async def persist(self, node: RaftNode, data: RaftPersistentData) -> None:
        """Put it on stable storage, as a whole or not at all; raise where that failed."""

    async def restore(self, node: RaftNode) -> RaftPersistentData | None:
        """What was persisted last. `None` on a fresh start, and only then: raise for a store that cannot be read."""
