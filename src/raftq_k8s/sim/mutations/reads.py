"""What is answered from a state, and when."""

from raftq_k8s.node.read_queue import ReadQueue
from raftq_k8s.raft import reads
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.pending_reads import PendingRead, ReadOrigin
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.types import Index, Instant
from raftq_k8s.sim.mutations.mutation import Mutation
from raftq_k8s.sim.mutations.provoking import deposed_unaware


def _without_a_round(core: Core, leader: Leader, origin: ReadOrigin, now: Instant) -> None:
    leader.reads.append(PendingRead(origin, max(core.commit, leader.first_index), 0))
    reads.confirm(core, now)


def _by_an_earlier_round(core: Core, leader: Leader, origin: ReadOrigin, now: Instant) -> None:
    leader.reads.append(PendingRead(origin, max(core.commit, leader.first_index), leader.round))
    reads.confirm(core, now)


def _before_the_first_commit(core: Core, leader: Leader, origin: ReadOrigin, now: Instant) -> None:
    leader.reads.append(PendingRead(origin, core.commit, leader.round + 1))
    reads.confirm(core, now)


_applied = ReadQueue.applied


def _whatever_is_applied(self: ReadQueue, index: Index) -> None:
    while self._confirmed:
        _applied(self, max(index, self._confirmed[0][0]))


MUTATIONS = (
    Mutation(
        "read-without-a-round",
        "7",
        "a leader answers reads without asking whether it still leads",
        ((reads, "_admit", _without_a_round),),
        shaped=deposed_unaware,
    ),
    Mutation(
        "read-by-an-earlier-round",
        "7",
        "an acknowledgement of a round before a read confirms it",
        ((reads, "_admit", _by_an_earlier_round),),
        shaped=deposed_unaware,
    ),
    Mutation(
        "read-before-first-commit",
        "7",
        "a new leader answers reads before an entry of its term is committed",
        ((reads, "_admit", _before_the_first_commit),),
        ("transfer", "crash"),
        3.0,
    ),
    Mutation(
        "read-before-applied",
        "7",
        "a confirmed read is answered by a state that has not applied so far",
        ((ReadQueue, "applied", _whatever_is_applied),),
    ),
)
