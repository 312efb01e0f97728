"""What goes wrong, when, and for how long: a plan that is made before anything runs.

The plan of a seed is a *swarm* (Groce and others, "Swarm testing", 2012): each seed has only some kinds of faults, and
each of those more or less often, so that some histories are full of crashes and know no partition, and others the
reverse. A plan is data: it can be written to a file, replayed, and made smaller by leaving faults out.
"""

import msgspec

from raftq_k8s.node.snapshots import SnapshotBounds
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import Instant, Milliseconds
from raftq_k8s.raft.versions import SPOKEN, Versions
from raftq_k8s.sim.dice import Dice


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    kind: str
    at: Instant
    lasts: Milliseconds = 0.0
    node: int = 0
    others: tuple[int, ...] = ()
    """The rest of those concerned: the far side of a partition, the other end of a connection."""
    amount: float = 0.0
    """A rate, a factor, a probability, a step: whatever the kind needs."""


class Plan(msgspec.Struct, frozen=True):
    seed: int
    settings: tuple[Settings, ...]
    """One a machine: the first members, and those that may join later."""
    founders: int
    """So many of them are the first members."""
    born: bool
    """Whether the volumes know their cluster at the start."""
    stream: bool
    latency: tuple[Milliseconds, Milliseconds]
    disk: tuple[Milliseconds, Milliseconds]
    clients: int
    sessions: int
    """So many more clients keep sessions."""
    keys: int
    think: Milliseconds
    retries: bool
    snapshots: SnapshotBounds
    lasts: Milliseconds
    """The time of the faults; after that they stop, and all has to become well."""
    faults: tuple[Fault, ...]


KINDS = {
    "crash": "a process is killed, or its machine dies; what was not synced is gone",
    "crash-all": "all processes are killed at once",
    "freeze": "a process stands still for up to 30 s while its clock goes on",
    "pause": "a process stands still for a fraction of a second",
    "drift": "a clock runs up to 4 % too fast or too slow, and changes its rate again and again",
    "partition": "the members fall apart into two sides; connections between them die at once, or by their silence",
    "one-way": "one direction between two members is cut",
    "bridge": "two members do not reach each other, while all others do",
    "flap": "a pair is cut and mended again and again",
    "break": "a connection dies, and both sides hear of it",
    "lossy": "messages are lost and doubled, and overtake each other",
    "slow-network": "everything takes longer on its way",
    "slow-disk": "a disk takes up to 400 times as long",
    "full-disk": "a disk takes no write; the process ends and cannot start again until there is room",
    "wipe": "a volume is lost; its member comes back as another incarnation, and asks to be taken in",
    "corrupt": "a volume is damaged beyond opening",
    "observe-term": "a member sees a higher term outside",
    "transfer": "whoever leads hands over: to that member, or (amount 1) to whom it thinks best, as before it stops",
    "join": "a process that was no member starts, and asks to be taken in",
    "leave": "a member is to go for good; later its machine comes back with an empty volume, and asks to be taken in",
    "replace-voters": "these and no others are to vote, by one joint change",
}

SCRIPTED = {
    "rolled-back": "an old copy takes the place of a volume; first it reaches a peer that knows better",
    "twin": "a second process starts on a volume; the first one, when it wakes, reaches a peer that met the second",
    "scarce": "the volume of whoever leads lives on its reserve for a while, or (amount over 1500) every volume does",
}
"""Told in `scripted.py`: one member at a time, and never part of a swarm."""

_USUAL_PER_MINUTE = {
    "wipe": 4.0,
    "corrupt": 1.0,
    "crash-all": 3.0,
    "freeze": 4.0,
    "full-disk": 3.0,
    "observe-term": 6.0,
    "join": 6.0,
    "leave": 6.0,
    "replace-voters": 6.0,
}
_OFTEN_PER_MINUTE = 12.0

PROFILES = (
    Settings(),
    Settings(heartbeat=50.0, minimum_election=250.0, maximum_election=500.0),
    Settings(heartbeat=100.0, minimum_election=400.0, maximum_election=900.0),
    Settings(heartbeat=100.0, minimum_election=200.0, maximum_election=450.0),
)


def swarm(seed: int, kinds: tuple[str, ...] = tuple(KINDS), lasts: Milliseconds = 20_000.0, often: float = 1.0) -> Plan:
    """The plan of a seed; `kinds` are those that may be chosen, `often` how much more than usual they happen."""
    dice = Dice(seed, 1)
    size = dice.one_of((3, 3, 3, 3, 5, 5, 4, 2, 1))
    chosen = [kind for kind in kinds if dice.chance(0.5)] or list(kinds)
    faults: list[Fault] = []
    spares = Dice(seed, 7).one_of((1, 1, 2, 3)) if "join" in chosen else 0
    for kind in chosen:
        per_minute = _USUAL_PER_MINUTE.get(kind, _OFTEN_PER_MINUTE) * dice.one_of((0.5, 1.0, 1.0, 3.0))
        mean = 60_000.0 / (per_minute * often)
        at = dice.between(0.0, 2 * mean)
        while at < lasts:
            faults.append(_fault(kind, at, size, spares, dice))
            at += dice.between(0.0, 2 * mean)
    faults = sorted(_together(faults, Dice(seed, 3)), key=lambda fault: fault.at)
    return Plan(
        seed=seed,
        settings=_settings(size + spares, dice, Dice(seed, 5), Dice(seed, 9)),
        founders=size,
        snapshots=_snapshots(Dice(seed, 6)),
        born=dice.chance(0.7),
        stream=dice.chance(0.6),
        latency=dice.one_of(((0.1, 1.0), (0.5, 5.0), (0.5, 30.0))),
        disk=dice.one_of(((0.1, 1.0), (0.5, 5.0), (1.0, 40.0))),
        clients=dice.one_of((1, 4, 4, 8)),
        sessions=Dice(seed, 4).one_of((0, 0, 1, 2, 4)),
        keys=dice.one_of((1, 3, 8)),
        think=dice.one_of((20.0, 100.0, 300.0)),
        retries=dice.chance(0.5),
        lasts=lasts,
        faults=tuple(faults),
    )


def _together(faults: list[Fault], dice: Dice) -> list[Fault]:
    """In some seeds misfortunes never come singly: what happens within two seconds happens almost at once."""
    if dice.chance(0.6):
        return faults
    return [
        msgspec.structs.replace(fault, at=fault.at // 2000.0 * 2000.0 + dice.between(0.0, 250.0)) for fault in faults
    ]


def scripted(seed: int, kind: str, lasts: Milliseconds = 20_000.0) -> Plan:
    """A script, amid faults that end no process and no majority."""
    dice = Dice(seed, 8)
    plan = swarm(seed, ("pause", "transfer", "lossy", "slow-network", "break"), lasts, often=0.5)
    size = dice.one_of((3, 3, 5))
    node = dice.below(size)
    told = Fault(kind, dice.between(500.0, 3000.0), dice.between(200.0, 4000.0), node, amount=dice.between(0.0, 2000.0))
    others = [fault for fault in plan.faults if fault.node < size and not any(other >= size for other in fault.others)]
    return msgspec.structs.replace(
        plan,
        settings=(plan.settings * 5)[:size],
        founders=size,
        born=True,
        clients=max(1, plan.clients),
        faults=tuple(sorted([*others, told], key=lambda fault: fault.at)),
    )


def plan_of(seed: int, kinds: tuple[str, ...], lasts: Milliseconds) -> Plan:
    """A swarm of those kinds; or, where they are scripted ones, one of them."""
    if all(kind in SCRIPTED for kind in kinds):
        return scripted(seed, kinds[seed % len(kinds)], lasts)
    return swarm(seed, kinds, lasts)


def calm(seed: int, size: int = 3, clients: int = 0, sessions: int = 0, lasts: Milliseconds = 60_000.0) -> Plan:
    """Nothing goes wrong."""
    return Plan(
        seed=seed,
        settings=(Settings(),) * size,
        founders=size,
        snapshots=SnapshotBounds(),
        born=True,
        stream=True,
        latency=(0.1, 1.0),
        disk=(0.5, 5.0),
        clients=clients,
        sessions=sessions,
        keys=3,
        think=100.0,
        retries=False,
        lasts=lasts,
        faults=(),
    )


def _snapshots(dice: Dice) -> SnapshotBounds:
    """So small that every history has some."""
    return SnapshotBounds(
        after_bytes=dice.one_of((300, 2000, 1 << 20)),
        after_entries=dice.one_of((5, 20, 100)),
        slice_bytes=dice.one_of((50, 400, 1 << 16)),
    )


def _settings(size: int, dice: Dice, more: Dice, rest: Dice) -> tuple[Settings, ...]:
    inflight = dice.one_of((1, 4, 64))
    max_bytes = dice.one_of((1, 200, 1 << 18))
    profile = dice.one_of(PROFILES)
    mixed = dice.chance(0.25)
    kept_entries = more.one_of((0, 2, 30))
    tail_bytes = more.one_of((0, 300, 1 << 20))
    max_chunk_bytes = more.one_of((500, 2000, 1 << 16))
    max_inflight_bytes = more.one_of((100, 1 << 16, 1 << 22))
    max_voters = more.one_of((3, 5, 5, 7))
    upgrading = more.chance(0.3)
    silent_for = more.one_of((700.0, 2500.0))
    replace_dead_after = rest.one_of((None, None, 1000.0, 3000.0))
    return tuple(
        msgspec.structs.replace(
            dice.one_of(PROFILES) if mixed else profile,
            max_inflight=inflight,
            max_append_bytes=max_bytes,
            kept_entries=kept_entries,
            tail_bytes=tail_bytes,
            max_chunk_bytes=max_chunk_bytes,
            max_inflight_bytes=max_inflight_bytes,
            max_voters=max_voters,
            silent_for=silent_for,
            replace_dead_after=replace_dead_after,
            versions=Versions(1, more.one_of((1, 2, 2))) if upgrading else SPOKEN,
        )
        for _ in range(size)
    )


def _fault(kind: str, at: Instant, founders: int, spares: int, dice: Dice) -> Fault:
    node = dice.below(founders + spares)
    others = tuple(number for number in range(founders + spares) if number != node)
    other = (dice.one_of(others),) if others else ()
    match kind:
        case "crash" | "wipe":
            down = dice.one_of((10.0, 100.0, 300.0, 1000.0, 5000.0))
            return Fault(kind, at, dice.between(0.0, 2 * down), node, amount=float(dice.chance(0.5)))
        case "join":
            return Fault(kind, at, 0.0, founders + dice.below(spares))
        case "leave":
            return Fault(kind, at, dice.between(1000.0, 10_000.0), node, amount=float(dice.chance(0.5)))
        case "replace-voters":
            return Fault(kind, at, 0.0, node, tuple(dice.some_of(others, dice.below(len(others) + 1))))
        case "crash-all":
            return Fault(kind, at, dice.between(0.0, 1000.0), amount=float(dice.chance(0.5)))
        case "freeze":
            return Fault(kind, at, dice.one_of((1000.0, 3000.0, 8000.0, 30_000.0)) * dice.between(0.3, 1.0), node)
        case "pause":
            return Fault(kind, at, dice.between(5.0, 700.0), node)
        case "drift":
            return Fault(kind, at, node=node, amount=dice.one_of((0.96, 1.04, dice.between(0.96, 1.04))))
        case "partition":
            side = tuple(dice.some_of(others, dice.below(len(others) + 1)))
            return Fault(kind, at, _while(dice), node, side, amount=float(dice.chance(0.5)))
        case "one-way" | "bridge":
            return Fault(kind, at, _while(dice), node, other, amount=float(dice.chance(0.5)))
        case "flap":
            return Fault(kind, at, _while(dice), node, other, amount=dice.between(30.0, 600.0))
        case "break":
            return Fault(kind, at, 0.0, node, other)
        case "lossy":
            return Fault(kind, at, _while(dice), amount=dice.between(0.01, 0.3))
        case "slow-network":
            return Fault(kind, at, _while(dice), amount=dice.between(2.0, 60.0))
        case "slow-disk":
            return Fault(kind, at, _while(dice), node, amount=dice.one_of((5.0, 50.0, 400.0)))
        case "full-disk":
            return Fault(kind, at, _while(dice), node)
        case "transfer":
            return Fault(kind, at, 0.0, node, amount=float(dice.chance(0.3)))
        case "observe-term":
            return Fault(kind, at, 0.0, node, amount=float(dice.one_of((1, 1, 2, 50))))
        case _:
            return Fault(kind, at, 0.0, node)


def _while(dice: Dice) -> Milliseconds:
    return dice.one_of((300.0, 1500.0, 6000.0)) * dice.between(0.2, 1.5)


def told(fault: Fault) -> str:
    """One line for people."""
    who = "" if fault.kind in ("crash-all", "lossy", "slow-network") else f" n{fault.node}"
    others = "".join(f" n{other}" for other in fault.others)
    lasts = f" for {fault.lasts / 1000:.3f} s" if fault.lasts else ""
    amount = f" ({fault.amount:g})" if fault.amount else ""
    return f"at {fault.at / 1000:6.3f} s  {fault.kind}{who}{' |' + others if others else ''}{lasts}{amount}"
