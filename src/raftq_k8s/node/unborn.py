"""A node that belongs to no cluster yet, until the record of its birth is on its volume."""

import msgspec

from raftq_k8s.node.actions import Actions, BirthReceipt
from raftq_k8s.raft.birth import Birth
from raftq_k8s.raft.consensus import Consensus
from raftq_k8s.raft.membership import Identity
from raftq_k8s.raft.persistence import HardState, Restored, Write
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import Instant


class Unborn:
    def __init__(self, birth: Birth) -> None:
        self.birth = birth
        self._record_handed_over = False
        self._said = ""

    @property
    def waiting_for(self) -> str:
        record = self.birth.record
        if record is None:
            return self.birth.waiting_for
        return f"a member of cluster {record.cluster}, as soon as that is on the volume"

    def news(self) -> str | None:
        """What it waits for, where that was not said yet."""
        if self._said == self.waiting_for:
            return None
        self._said = self.waiting_for
        return self._said

    def next_actions(self, now: Instant) -> Actions:
        record = self.birth.record
        if record is None:
            return Actions(messages={request.destination: [request] for request in self.birth.ask(now)})
        if self._record_handed_over:
            return Actions()
        self._record_handed_over = True
        return Actions(writes=[(BirthReceipt(), Write(birth=record))])

    def member(self, blank: Identity, settings: Settings, seed: int, now: Instant) -> Consensus:
        """What it becomes once the record is on its volume."""
        record = self.birth.record
        assert record is not None  # its write was handed over
        restored = Restored(blank.member, blank.incarnation, blank.generation, record, HardState(), [])
        identity = msgspec.structs.replace(blank, cluster=record.cluster)
        return Consensus(identity, restored, settings, seed, now)
