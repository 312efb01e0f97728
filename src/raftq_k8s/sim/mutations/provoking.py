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
    apart = tuple(Fault("drift", 0.0, node=node, amount=0.96 if node % 2 else 1.04) for node in range(3))
    cuts = tuple(Fault("partition", 3000.0 * turn, 2800.0, turn % 3, amount=1.0) for turn in range(1, 7))
    return msgspec.structs.replace(
        plan,
        settings=_all(plan, 100.0, 1000.0, 1500.0, 3),
        founders=3,
        latency=(0.1, 0.3),
        disk=(0.1, 0.3),
        stream=True,
        clients=0,
        sessions=0,
        faults=(*apart, *cuts),
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
        settings=_all(plan, 200.0, 800.0, 1500.0, 3),
        founders=3,
        latency=(0.1, 1.0),
        disk=(2.0, 10.0),
        stream=True,
        clients=6,
        sessions=0,
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
        sessions=0,
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


def cut_off_in_change(plan: Plan) -> Plan:
    """Again and again members are changed, and a moment before that one of them is cut off: when that is the leader,
    its change is not committed, and gone when it is heard again."""
    dice = Dice(plan.seed, 4)
    faults = []
    for turn in range(8):
        at = 700.0 + 2200.0 * turn
        alone = dice.below(5)
        voters = dice.some_of(range(5), 4)
        faults.append(Fault("partition", at, 1500.0, alone, amount=0.0))
        faults.append(Fault("replace-voters", at + 10.0, node=voters[0], others=tuple(voters[1:])))
    return msgspec.structs.replace(
        plan,
        settings=_all(plan, 100.0, 300.0, 600.0, 5),
        founders=5,
        born=True,
        latency=(0.1, 1.0),
        disk=(0.1, 1.0),
        faults=tuple(faults),
    )


def doubled_snapshots(plan: Plan) -> Plan:
    """Snapshots of one piece, which are often doubled, and late."""
    bounds = {"max_chunk_bytes": 1 << 16, "kept_entries": 0, "tail_bytes": 0}
    return msgspec.structs.replace(
        plan,
        settings=tuple(msgspec.structs.replace(settings, **bounds) for settings in plan.settings),
        snapshots=SnapshotBounds(after_bytes=300, after_entries=5, slice_bytes=1 << 16),
        stream=False,
        clients=4,
        faults=(Fault("lossy", 0.0, plan.lasts, amount=0.2), *plan.faults),
    )


def datagrams(plan: Plan) -> Plan:
    """Three members at the least, so that commands are forwarded, and messages that can be lost one by one."""
    return msgspec.structs.replace(plan, settings=(plan.settings * 3)[:3], founders=3, stream=False, clients=8)


def restarted_before_transfer(plan: Plan) -> Plan:
    """Again and again a voter starts anew, and a moment later the leadership is handed over."""
    dice = Dice(plan.seed, 4)
    faults = []
    for turn in range(10):
        at = 700.0 + 900.0 * turn
        voter, target = dice.some_of((0, 1, 2), 2)
        faults.append(Fault("crash", at, 10.0, voter))
        faults.append(Fault("transfer", at + dice.between(40.0, 120.0), node=target))
    return msgspec.structs.replace(
        plan,
        settings=_all(plan, 100.0, 400.0, 900.0, 3),
        founders=3,
        born=True,
        latency=(0.1, 1.0),
        disk=(0.1, 1.0),
        clients=1,
        sessions=0,
        faults=tuple(faults),
    )


def never_one_voter(plan: Plan) -> Plan:
    """Five first members at the least, of which two or more are to vote."""
    faults = tuple(fault for fault in plan.faults if fault.kind != "replace-voters" or fault.others)
    return msgspec.structs.replace(plan, faults=faults)


def _all(
    plan: Plan, heartbeat: Milliseconds, minimum: Milliseconds, maximum: Milliseconds, size: int = 0
) -> tuple[Settings, ...]:
    """Times for all alike; and for so many as `size` says, or as there are."""
    count = size or len(plan.settings)
    return tuple(
        msgspec.structs.replace(
            settings, heartbeat=heartbeat, minimum_election=minimum, maximum_election=maximum, max_inflight=64
        )
        for settings in (plan.settings * count)[:count]
    )


def _at(fault: Fault) -> float:
    return fault.at
