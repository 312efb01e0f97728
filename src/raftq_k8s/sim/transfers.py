"""Transfers of leadership as an observer of all messages sees them: whom each leader told to stand, what votes were
forced by that, and from which round on whoever acknowledges knows that a transfer is given up."""

from raftq_k8s.raft.messages import AppendEntries, SnapshotChunk, TimeoutNow, VoteRequest
from raftq_k8s.raft.types import NO_TRANSFER, MemberId, Term, TransferId
from raftq_k8s.sim.violation import ONE_LEASE_HOLDER, Violation


class Transfers:
    __slots__ = ("_over", "_told", "forced")

    def __init__(self) -> None:
        self.forced: dict[tuple[Term, MemberId], TransferId] = {}
        """The transfer that a candidate of a term leans on."""
        self._told: set[tuple[Term, MemberId, TransferId]] = set()
        self._over: dict[Term, list[tuple[int, TransferId]]] = {}
        """Of each term, the first round that says of each transfer that it is given up."""

    def told(self, message: TimeoutNow) -> None:
        self._told.add((message.term, message.destination, message.transfer))

    def forces(self, request: VoteRequest) -> None:
        if request.transfer == NO_TRANSFER:
            return
        if (request.term - 1, request.source, request.transfer) not in self._told:
            raise Violation(
                ONE_LEASE_HOLDER, f"{request.source} stands in {request.term} as if a leader had told it to"
            )
        self.forced[request.term, request.source] = request.transfer

    def given_up(self, append: AppendEntries | SnapshotChunk) -> None:
        if append.cancelled == NO_TRANSFER:
            return
        over = self._over.setdefault(append.term, [])
        if not over or over[-1][1] < append.cancelled:
            over.append((append.round, append.cancelled))

    def known_to_be_over(self, term: Term, acknowledged: int) -> TransferId:
        """The last transfer of which whoever acknowledges that round has heard that it is given up."""
        over = self._over.get(term)
        if not over:
            return NO_TRANSFER
        return max((transfer for round_, transfer in over if round_ <= acknowledged), default=NO_TRANSFER)
