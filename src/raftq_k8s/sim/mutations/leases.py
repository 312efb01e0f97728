"""Until when a leader may act, and a voter elects nobody else."""

from raftq_k8s.raft import lease
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.quorum import NEVER
from raftq_k8s.raft.types import Instant, Milliseconds
from raftq_k8s.sim.mutations.mutation import Mutation
from raftq_k8s.sim.mutations.provoking import clocks_apart


def _no_window(core: Core, now: Instant) -> Milliseconds:
    return 0.0


def _forget_promise(core: Core, now: Instant) -> None:
    core.refuse_until = NEVER
    core.restart_election_timer(now)


def _never_over(core: Core, now: Instant) -> None:
    pass


MUTATIONS = (
    Mutation("lease-too-long", "10", "a lease lasts longer than the window", ((lease, "DRIFT_ALLOWANCE", 1.5),)),
    Mutation(
        "no-drift-allowance",
        "10",
        "clocks are taken for equal",
        ((lease, "DRIFT_ALLOWANCE", 1.0),),
        shaped=clocks_apart,
    ),
    Mutation("window-ignored", "10", "a voter elects whoever asks", ((lease, "window_left", _no_window),)),
    Mutation(
        "restart-forgets-promise",
        "10",
        "a restarted voter refuses nobody",
        ((lease, "forget_nothing", _forget_promise),),
        ("bridge", "partition", "crash"),
        3.0,
    ),
    Mutation("no-step-down", "10", "a leader without a quorum goes on", ((lease, "step_down_if_over", _never_over),)),
)
