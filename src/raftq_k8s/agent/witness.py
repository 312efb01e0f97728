"""The node as the keeper of the witness of births sees it, and what the agent does where its cluster was given up."""

import logging
from collections.abc import Callable

from raftq_k8s.agent.before_the_start import Recovered
from raftq_k8s.agent.recovery import SILENCE
from raftq_k8s.api.views import OperationRefused
from raftq_k8s.node.raftq import Raftq
from raftq_k8s.raft.birth import Testimony
from raftq_k8s.raft.membership import BirthRecord
from raftq_k8s.raft.types import ClusterId, Milliseconds, Term

log = logging.getLogger(__name__)


class WitnessedNode:
    def __init__(self, raftq: Raftq, maximum_election: Milliseconds, recovered: Recovered | None) -> None:
        self._raftq = raftq
        self._recovered = recovered
        self._silence_ms = SILENCE * maximum_election

    def birth(self) -> BirthRecord | None:
        return self._raftq.birth

    def wish(self) -> BirthRecord | None:
        return self._raftq.birth_wish

    def recovered_from(self) -> ClusterId | None:
        birth, recovered = self._raftq.birth, self._recovered
        return recovered.out_of if birth and recovered and birth.cluster == recovered.cluster else None

    def leads(self) -> Term | None:
        status = self._raftq.status()
        return status.term if status.established and status.quorum_left_ms > 0 else None

    def is_silent(self) -> bool:
        status = self._raftq.status()
        return status.leader is None and status.leaderless_ms >= self._silence_ms

    def witnessed(self, testimony: Testimony) -> None:
        self._raftq.witnessed(testimony)


def joining(join: Callable[[ClusterId], None]) -> Callable[[ClusterId], None]:
    """As a person would ask for it (`raftq recover --join`), and may be refused."""

    def give_up(cluster: ClusterId) -> None:
        log.warning("the witness of births says that this node's cluster was recovered as %s", cluster)
        try:
            join(cluster)
        except OperationRefused as refused:
            log.warning("it is not joined: %s", refused)

    return give_up
