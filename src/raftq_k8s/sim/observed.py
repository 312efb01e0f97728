"""The real state machine of a simulated node; it tells what was applied, and what became of it by a snapshot."""

from zlib import crc32

from raftq_k8s.raft.types import Index, MemberId
from raftq_k8s.sim.logs import Logs
from raftq_k8s.sim.session_watch import IDLE_MS, SESSIONS_LIMIT
from raftq_k8s.state.commands import Result
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.state.snapshot import Restoring


class ObservedState(StateMachine):
    def __init__(self, logs: Logs, name: MemberId) -> None:
        super().__init__(1 << 20, SESSIONS_LIMIT, IDLE_MS)
        self._logs, self._name = logs, name
        self._applied = 0

    def apply(self, index: Index, command: bytes) -> Result:
        result = super().apply(index, command)
        changed = self.document._changed == index
        self._logs.applied(self._name, self._applied, index, command, result, changed)
        self._applied += 1
        return result

    def install(self, restoring: Restoring) -> None:
        super().install(restoring)
        written = self.written_down()
        index = self.document.applied_index
        self._applied = self._logs.restored(self._name, self._applied, index, len(written), crc32(written))

    def written_down(self) -> bytes:
        """As a snapshot."""
        return b"".join(self.freeze().parts(1 << 16))
