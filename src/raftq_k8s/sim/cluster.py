"""A whole cluster, what befalls it, and what becomes of it."""

import msgspec

from raftq_k8s.raft.birth import lowest
from raftq_k8s.raft.membership import BirthRecord, Member
from raftq_k8s.raft.types import ClusterId, MemberId, Milliseconds, Term
from raftq_k8s.sim.clients import Client, Clients
from raftq_k8s.sim.dice import Dice
from raftq_k8s.sim.events import Events
from raftq_k8s.sim.faults import Fault, Plan
from raftq_k8s.sim.invariants import Invariants
from raftq_k8s.sim.machine import Machine
from raftq_k8s.sim.network import SILENCE, Network, Weather
from raftq_k8s.sim.session_clients import SessionClient
from raftq_k8s.sim.violation import LIVENESS, NO_EXCEPTION, STATE_MACHINE_SAFETY, Violation

ELECTION_TIMES = 10
"""Maximum ones, within which a leader must be found once the faults are over."""
RECONNECTED: Milliseconds = 3000.0
"""By then whoever can be dialled is."""


class Found(msgspec.Struct, frozen=True):
    """A rule was broken."""

    seed: int
    step: int
    at_ms: Milliseconds
    invariant: str
    what: str


class Result(msgspec.Struct, frozen=True):
    seed: int
    violation: Found | None
    simulated_ms: Milliseconds
    steps: int
    elections: int
    commits: int
    reads: int
    """By read index, on any node."""
    lease_reads: int
    snapshots: int
    installed: int
    """Snapshots that took the place of a log."""
    faults: dict[str, int]
    trace: int
    """A digest of everything that happened."""


class Cluster:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.events = Events()
        self.faults_seen: dict[str, int] = {}
        self.weather = Weather(plan.latency)
        self.network = Network(self.events, Dice(plan.seed, 2), self.weather, plan.stream)
        self.invariants = Invariants(self.events)
        names = tuple(MemberId(f"n{number}") for number in range(len(plan.settings)))
        self.machines = [
            Machine(
                name,
                number,
                plan.settings[number],
                plan.snapshots,
                lowest(names),
                self.events,
                self.network,
                self.invariants,
                Dice(plan.seed, 100 + number),
            )
            for number, name in enumerate(names)
        ]
        self.invariants.logs.machines = {machine.name: machine for machine in self.machines}
        self.clients = Clients(self.events, self.invariants, self.machines, plan.keys)
        self._healed = False
        for machine in self.machines:
            machine.clients = self.clients
            machine.disk.usual = plan.disk
            self.network.add(machine)
        if plan.born:
            record = BirthRecord(
                ClusterId("simulated"),
                tuple(Member(machine.name, machine.disk.incarnation) for machine in self.machines),
                Term(1),
            )
            for machine in self.machines:
                machine.disk.contents.birth = record

    def run(self) -> Result:
        violation = None
        try:
            self._run()
        except Violation as broken:
            violation = self._found(broken.invariant, broken.what)
        except Exception as error:
            violation = self._found(NO_EXCEPTION, f"{type(error).__name__}: {error}")
        return Result(
            seed=self.plan.seed,
            violation=violation,
            simulated_ms=self.events.now,
            steps=self.events.steps,
            elections=len(self.invariants.leader_of),
            commits=len(self.invariants.logs.committed),
            reads=self.clients.readers.answered,
            lease_reads=self.clients.readers.leased,
            snapshots=self.invariants.logs.snapshots,
            installed=self.invariants.logs.installed,
            faults=self.faults_seen,
            trace=self.invariants.trace,
        )

    def _found(self, invariant: str, what: str) -> Found:
        return Found(self.plan.seed, self.events.steps, self.events.now, invariant, what)

    def _run(self) -> None:
        plan = self.plan
        for machine in self.machines:
            machine.start()
        for number in range(plan.clients):
            dice = Dice(plan.seed, 200 + number)
            self.clients.begin(Client(f"c{number}", dice, plan.think, plan.retries))
        for number in range(plan.sessions):
            dice = Dice(plan.seed, 300 + number)
            watch = self.invariants.sessions
            SessionClient(f"s{number}", dice, plan.think, self.clients, watch, self.events, self.machines).begin()
        for fault in plan.faults:
            self.events.at(fault.at, self._strike, fault)
        self.events.run_until(plan.lasts)
        self._heal()
        self._all_becomes_well()
        self.clients.everybody_was_answered()
        self.clients.history.check()

    # ------------------------------------------------------------------------------------------------------- the faults

    def _strike(self, fault: Fault) -> None:
        if self._healed:
            return
        self.faults_seen[fault.kind] = self.faults_seen.get(fault.kind, 0) + 1
        machine = self.machines[fault.node]
        match fault.kind:
            case "crash":
                machine.crash(silently=fault.amount > 0)
                self.events.after(fault.lasts, machine.start)
            case "crash-all":
                for each in self.machines:
                    each.crash(silently=fault.amount > 0)
                    self.events.after(fault.lasts, each.start)
            case "wipe" if machine.disk.contents.birth is not None:
                machine.crash(silently=fault.amount > 0)
                machine.disk.wipe()
                machine.seen.start_promising_anew()
                self.events.after(fault.lasts, machine.start)
            case "corrupt":
                machine.crash(silently=False)
                machine.disk.corrupt = True
            case "freeze" | "pause":
                machine.freeze(fault.lasts)
            case "drift":
                machine.run_at_rate(fault.amount)
            case "partition" | "one-way" | "bridge" | "flap":
                self._cut(fault)
            case "break":
                for other in fault.others:
                    self.network.break_between(machine.name, self.machines[other].name)
            case "lossy":
                self.weather.lost = self.weather.doubled = self.weather.overtaken = fault.amount
                self.events.after(fault.lasts, self._calm_down)
            case "slow-network":
                self.weather.slowed_by = fault.amount
                self.events.after(fault.lasts, self._speed_up)
            case "slow-disk":
                machine.disk.slowed_by = fault.amount
                self.events.after(fault.lasts, self._repair, machine)
            case "full-disk":
                machine.disk.full = True
                self.events.after(fault.lasts, self._repair, machine)
            case "observe-term":
                core = machine.core
                if core is not None:
                    machine.observe_term(Term(core.term + int(fault.amount)))
            case "transfer":
                for each in self.machines:
                    if each.leads and fault.amount:
                        each.hand_over()
                    elif each.leads:
                        each.transfer(machine.name)
            case _:
                pass

    def _cut(self, fault: Fault) -> None:
        near = {fault.node} | (set(fault.others) if fault.kind == "partition" else set())
        far = set(range(len(self.machines))) - near if fault.kind == "partition" else set(fault.others)
        names = [machine.name for machine in self.machines]
        directions = [(names[one], names[other]) for one in sorted(near) for other in sorted(far)]
        if fault.kind != "one-way":
            directions += [(other, one) for one, other in directions]
        if fault.kind == "flap":
            self._flap(directions, fault.amount, self.events.now + fault.lasts)
        else:
            if fault.amount:
                for one, other in directions:
                    self.network.break_between(one, other)
            self.network.cut(directions)
            self.events.after(fault.lasts, self.network.mend, directions)

    def _flap(self, directions: list[tuple[MemberId, MemberId]], period: Milliseconds, until: float) -> None:
        if self._healed or self.events.now >= until:
            return
        self.network.cut(directions)
        self.events.after(period / 2, self.network.mend, directions)
        self.events.after(period, self._flap, directions, period, until)

    def _calm_down(self) -> None:
        self.weather.lost = self.weather.doubled = self.weather.overtaken = 0.0

    def _speed_up(self) -> None:
        self.weather.slowed_by = 1.0

    def _repair(self, machine: Machine) -> None:
        machine.disk.repair()

    # --------------------------------------------------------------------------------------------------- and afterwards

    def _heal(self) -> None:
        self._healed = True
        self.clients.stopped = True
        self._calm_down()
        self._speed_up()
        for direction in list(self.weather.cut):
            self.network.mend([direction] * self.weather.cut[direction])
        for machine in self.machines:
            self._repair(machine)
            machine.thaw(machine.naps)
            machine.start()

    @property
    def _healthy(self) -> list[Machine]:
        return [machine for machine in self.machines if not (machine.disk.wiped or machine.disk.corrupt)]

    def _all_becomes_well(self) -> None:
        longest = max(settings.maximum_election for settings in self.plan.settings)
        if not self.events.run_until(self.events.now + SILENCE[1] + RECONNECTED, self._all_are_connected):
            raise Violation(LIVENESS, f"members do not find each other again after the faults: {self._stands()}")
        if not self.events.run_until(self.events.now + ELECTION_TIMES * longest, self._somebody_serves):
            raise Violation(LIVENESS, f"nobody serves {ELECTION_TIMES} maximum election times after the faults")
        if not self.events.run_until(self.events.now + ELECTION_TIMES * longest, self._all_agree):
            raise Violation(LIVENESS, f"{ELECTION_TIMES} maximum election times later not all agree: {self._stands()}")
        states = {machine.state.written_down() for machine in self._healthy}
        if len(states) != 1:
            raise Violation(STATE_MACHINE_SAFETY, "states differ though all has been applied everywhere")

    def _all_are_connected(self) -> bool:
        names = [machine.name for machine in self._healthy]
        return all(self.network.connected(one, other) for one in names for other in names if one != other)

    def _somebody_serves(self) -> bool:
        return any(
            machine.up and machine.driver.standing.established and not machine.disk.wiped for machine in self.machines
        )

    def _all_agree(self) -> bool:
        healthy = self._healthy
        first = healthy[0].core
        if first is None:
            return False
        wanted = first.log.last_index
        for machine in healthy:
            core = machine.core
            if core is None or not wanted == core.applied == core.commit == core.log.last_index == core.log.stable:
                return False
        return self._somebody_serves()

    def _stands(self) -> str:
        return "; ".join(
            f"{machine.name} {core.standing.role} {core.term} {core.commit}/{core.log.last_index}"
            if (core := machine.core) is not None
            else f"{machine.name} {'unborn' if machine.up else 'down'}"
            for machine in self.machines
        )


def run(plan: Plan) -> Result:
    return Cluster(plan).run()
