"""Leadership handed over, against windows and leases."""

from raftq_k8s.raft import lease, transfer
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.quorum import FOREVER, promised_until
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.types import Instant, Milliseconds, Term, TransferId
from raftq_k8s.sim.mutations.mutation import Mutation
from raftq_k8s.sim.mutations.provoking import handed_over_late, restarted_before_transfer


def _never_cancelled(core: Core, term: Term, id_: TransferId) -> bool:
    return False


def _nothing_after_start(core: Core, now: Instant) -> Milliseconds:
    return 0.0


def _kept_in_a_transfer(core: Core, leader: Leader) -> Instant:
    return promised_until({**leader.lease_promises, core.me: FOREVER}, core.configuration)


def _old_rounds_count(leader: Leader) -> None:
    leader.lease_promises = dict(leader.promises)


_PROVOKING = ("transfer", "slow-network", "one-way", "pause")

MUTATIONS = (
    Mutation(
        "cancelled-vote-forced",
        "10",
        "the vote of a transfer that was given up still passes the window",
        ((transfer, "_is_cancelled", _never_cancelled),),
        ("transfer",),
        3.0,
        handed_over_late,
    ),
    Mutation(
        "restarted-vote-forced",
        "10",
        "a restarted voter, which forgot what was given up, grants forced votes at once",
        ((lease, "window_after_start", _nothing_after_start),),
        shaped=restarted_before_transfer,
    ),
    Mutation(
        "lease-kept-in-transfer",
        "10",
        "a lease is not revoked when a transfer begins",
        ((lease, "lease_until", _kept_in_a_transfer),),
        _PROVOKING,
        3.0,
    ),
    Mutation(
        "lease-of-old-rounds",
        "10",
        "after a transfer that was given up, the lease rests on what was promised before",
        ((lease, "begin_anew", _old_rounds_count),),
        ("transfer",),
        3.0,
        handed_over_late,
    ),
)
