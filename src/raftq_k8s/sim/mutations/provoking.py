"""Plans in which a bug that needs a coincidence shows soon: what a swarm would come upon in the end, made frequent."""

import msgspec

from raftq_k8s.node.snapshots import SnapshotBounds
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import Milliseconds
from raftq_k8s.sim.dice import Dice
from raftq_k8s.sim.faults import Fault, Plan


def clocks_apart(plan: Plan) -> Plan:
    """Half of the clocks as slow as they may be and half as fast, long windows, and a network and disks that lose none
    of the few milliseconds by which such clocks differ within one."""
    apart = tuple(
        Fault("drift", 0.0, node=node, amount=0.96 if node % 2 else 1.04) for node in range(len(plan.settings))
    )
    return msgspec.structs.replace(
        plan,
        settings=_all(plan, 100.0, 1000.0, 1500.0),
        latency=(0.1, 0.3),
        disk=(0.1, 0.3),
        stream=True,
        clients=1,
        faults=apart + tuple(msgspec.structs.replace(fault, lasts=3000.0, amount=1.0) for fault in plan.faults),
    )


def deposed_unaware(plan: Plan) -> Plan:
    """Again and again leadership is handed over, and a moment later one of the others hears nothing any more: when that
    is the old leader, it does not learn that it is none. Many ask for one key meanwhile."""
    dice = Dice(plan.seed, 4)
    faults = []
    for turn in range(8):
        at = 600.0 + 900.0 * turn
        target, deaf = dice.some_of((0, 1, 2), 2)
        third = 3 - target - deaf
        cut_at = at + dice.between(0.5, 12.0)
        faults.append(Fault("transfer", at, node=target))
        faults += [Fault("one-way", cut_at, 500.0, speaker, (deaf,)) for speaker in (target, third)]
    return msgspec.structs.replace(
        plan,
        settings=(_all(plan, 200.0, 800.0, 1500.0) * 3)[:3],
        founders=3,
        latency=(0.1, 1.0),
        disk=(2.0, 10.0),
        stream=True,
        clients=6,
        keys=1,
        think=20.0,
        lasts=8_000.0,
        faults=tuple(faults),
    )


def handed_over_late(plan: Plan) -> Plan:
    """Whoever is handed the leadership stands still until about the moment at which that is given up."""
    dice = Dice(plan.seed, 4)
    faults = []
    for fault in plan.faults:
        faults += [fault, Fault("pause", fault.at + 1.0, dice.between(350.0, 550.0), fault.node)]
    return msgspec.structs.replace(
        plan,
        settings=_all(plan, 200.0, 450.0, 500.0),
        latency=(20.0, 150.0),
        disk=(0.1, 1.0),
        clients=1,
        think=300.0,
        faults=tuple(sorted(faults, key=_at)),
    )


def snapshots_come_twice(plan: Plan) -> Plan:
    """Whole snapshots in one message each, on a network that doubles and delays, to members that are cut off a lot."""
    return msgspec.structs.replace(
        plan,
        settings=tuple(
            msgspec.structs.replace(settings, max_chunk_bytes=1 << 16, kept_entries=0) for settings in plan.settings
        ),
        snapshots=SnapshotBounds(after_entries=5, slice_bytes=1 << 16),
        stream=False,
        latency=(0.5, 30.0),
        disk=(0.1, 1.0),
        clients=8,
        think=20.0,
    )


def _all(plan: Plan, heartbeat: Milliseconds, minimum: Milliseconds, maximum: Milliseconds) -> tuple[Settings, ...]:
    return tuple(
        msgspec.structs.replace(
            settings, heartbeat=heartbeat, minimum_election=minimum, maximum_election=maximum, max_inflight=64
        )
        for settings in plan.settings
    )


def _at(fault: Fault) -> float:
    return fault.at
