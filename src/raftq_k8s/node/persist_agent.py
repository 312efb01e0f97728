"""The contract's way to bring one's own store: the whole state of a node, persisted and restored by the application.

What becomes of it is `storage/persist_agent.py`'s business.
"""

from typing import Protocol

from raftq_k8s.node.events import RaftNode
from raftq_k8s.storage.persist_agent import RaftPersistentData


class PersistAgent(Protocol):
    async def persist(self, node: RaftNode, data: RaftPersistentData) -> None:
        """Put it on stable storage, as a whole or not at all; raise where that failed. Nothing that rests on it leaves
        before this returns."""

    async def restore(self, node: RaftNode) -> RaftPersistentData | None:
        """What was persisted last, as it was. `None` on a fresh start, and only then: raise for what cannot be read."""
