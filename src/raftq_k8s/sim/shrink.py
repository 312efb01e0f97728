"""The shortest story: of a plan that breaks a rule, the faults without which the same rule is not broken any more.

First halves of the faults are left out, then quarters, and so on down to single ones (Zeller's delta debugging); then
clients, and the time after the violation. Another random history may come out of a smaller plan; what counts is that
the same invariant fails.
"""

import msgspec

from raftq_k8s.raft.types import Milliseconds
from raftq_k8s.sim.cluster import Found, run
from raftq_k8s.sim.faults import Plan

MOST_RUNS = 150
MARGIN: Milliseconds = 1.0


def shrunk(plan: Plan, found: Found) -> tuple[Plan, Found]:
    """A plan that is no larger, and what it breaks."""
    return _Shrinking(plan, found).result()


class _Shrinking:
    def __init__(self, plan: Plan, found: Found) -> None:
        self._best, self._found = plan, found
        self._runs = 0

    def result(self) -> tuple[Plan, Found]:
        self._shorten()
        piece = max(1, len(self._best.faults) // 2)
        while True:
            left_out = self._leave_out(piece)
            if piece == 1 and not left_out:
                break
            piece = max(1, piece // 2)
        for clients in (0, 1, 2):
            if clients < self._best.clients and self._try(_with(self._best, clients=clients)):
                break
        if self._best.sessions:
            self._try(_with(self._best, sessions=0))
        self._shorten()
        return self._best, self._found

    def _leave_out(self, piece: int) -> bool:
        """Try without each run of that many faults. Returns whether any could go."""
        first, any_went = 0, False
        while first < len(self._best.faults):
            faults = self._best.faults
            if self._try(_with(self._best, faults=faults[:first] + faults[first + piece :])):
                any_went = True
            else:
                first += piece
        return any_went

    def _shorten(self) -> None:
        end = self._found.at_ms + MARGIN
        if end < self._best.lasts:
            kept = tuple(fault for fault in self._best.faults if fault.at <= end)
            self._try(_with(self._best, lasts=end, faults=kept))

    def _try(self, plan: Plan) -> bool:
        if self._runs >= MOST_RUNS:
            return False
        self._runs += 1
        found = run(plan).violation
        if found is None or found.invariant != self._found.invariant:
            return False
        self._best, self._found = plan, found
        return True


def _with(plan: Plan, **changes: object) -> Plan:
    return msgspec.structs.replace(plan, **changes)
