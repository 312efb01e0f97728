"""A whole cluster, what befalls it, and what becomes of it."""

import msgspec

from raftq_k8s.raft.birth import BirthRule, lowest
from raftq_k8s.raft.membership import BirthRecord, Member, Membership, ReplaceVoters
from raftq_k8s.raft.quorum import NEVER
from raftq_k8s.raft.types import ClusterId, Instant, MemberId, Milliseconds, Term
from raftq_k8s.sim import scripted
from raftq_k8s.sim.clients import Client, Clients
from raftq_k8s.sim.dice import Dice
from raftq_k8s.sim.events import Events
from raftq_k8s.sim.faults import Fault, Plan
from raftq_k8s.sim.invariants import Invariants
from raftq_k8s.sim.machine import Machine
from raftq_k8s.sim.memberships import in_force, is_quorum, member
from raftq_k8s.sim.network import SILENCE, Network, Weather
from raftq_k8s.sim.session_clients import SessionClient
from raftq_k8s.sim.violation import LIVENESS, NO_EXCEPTION, STATE_MACHINE_SAFETY, Violation

ELECTION_TIMES = 10
"""Maximum ones, within which a leader must be found once the faults are over."""
RECONNECTED: Milliseconds = 3000.0
"""By then whoever can be dialled is."""
UNNOTICED: Milliseconds = 1000.0
"""So long a leader may go on counting on a voter that was lost: longer than any window."""


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
        founders = names[: plan.founders]
        self._founding = lowest(founders), BirthRule(founders, None)
        self.machines = [self._machine(name, number) for number, name in enumerate(names)]
        self.invariants.logs.machines = {machine.name: machine for machine in self.machines}
        self.clients = Clients(self.events, self.invariants, self.machines, plan.keys)
        self._healed = False
        self._volume_lost_at: Instant = NEVER
        for machine in self.machines:
            machine.wanted = machine.number < plan.founders
            self._connect(machine)
        if plan.born:
            record = BirthRecord(
                ClusterId("simulated"),
                tuple(Member(machine.name, machine.disk.incarnation) for machine in self.machines[: plan.founders]),
                Term(1),
            )
            for machine in self.machines[: plan.founders]:
                machine.disk.contents.birth = record

    def _machine(self, name: MemberId, number: int) -> Machine:
        plan = self.plan
        return Machine(
            name,
            number,
            plan.settings[number],
            plan.snapshots,
            self._founding[number >= plan.founders],
            self.events,
            self.network,
            self.invariants,
            Dice(plan.seed, 100 + number),
        )

    def _connect(self, machine: Machine) -> None:
        machine.clients = self.clients
        machine.disk.usual = self.plan.disk
        self.network.add(machine)

    def take_over(self, first: Machine) -> Machine:
        """Another process of that member, elsewhere, with its volume as it is now: from here on the member is that."""
        second = self._machine(first.name, first.number)
        second.host = MemberId(f"{first.name}-again")
        second.become(first)
        self.machines[first.number] = second
        self.invariants.logs.machines[second.name] = second
        self._connect(second)
        return second

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
            case "wipe" if self._can_spare(machine):
                self._volume_lost_at = self.events.now
                machine.lose_volume(silently=fault.amount > 0)
                self.events.after(fault.lasts, machine.start)
            case "corrupt" if self._can_spare(machine):
                self._volume_lost_at = self.events.now
                machine.crash(silently=False)
                machine.disk.corrupt = True
            case "join":
                machine.wanted = True
                machine.start()
            case "leave":
                self._leave(machine, fault)
            case "replace-voters":
                self._replace_voters({fault.node, *fault.others})
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
            case "rolled-back" | "twin" | "scarce":
                scripted.strike(self, fault)
            case _:
                pass

    def _can_spare(self, machine: Machine) -> bool:
        """Whether every configuration that is or may come into force has a majority left without that volume: also
        without the members that are about to go. Where the birth record is not everywhere yet, the loss of a founder's
        may be the end of it."""
        if any(each.disk.contents.birth is None for each in self.machines[: self.plan.founders] if not each.disk.wiped):
            return False
        lost = member(machine)
        kept = {member(each) for each in self.machines if not each.disk.corrupt} - {lost}
        departing = {member(each) for each in self.machines if each.departing}
        memberships = [each for machine in self.machines for _, each in machine.seen.configurations]
        return all(
            is_quorum(_with_lost_learners(each, kept), kept.__contains__)
            and is_quorum(_with_lost_learners(_without(each, departing), kept), kept.__contains__)
            for each in (self.invariants.memberships.latest, *memberships)
        )

    def _leave(self, machine: Machine, fault: Fault) -> None:
        """It asks by itself, or its owner asks whoever leads. Not when a volume was lost just now: nobody has noticed,
        and who is let go may be missed."""
        if self.events.now < self._volume_lost_at + UNNOTICED:
            return
        machine.departing = True
        machine.depart(machine.name)
        if fault.amount:
            for each in self.machines:
                if each.leads:
                    each.depart(machine.name)
        self.events.after(fault.lasts, self._come_back, machine)

    def _come_back(self, machine: Machine) -> None:
        """As a new machine with an empty volume, if it was let go."""
        if self.invariants.memberships.was_removed(member(machine)):
            machine.lose_volume(silently=False)
            machine.start()

    def _replace_voters(self, numbers: set[int]) -> None:
        for machine in self.machines:
            if machine.leads:
                known = [each for each in in_force(machine).members if self._number(each.name) in numbers]
                kept = {member(each) for each in self.machines if not each.disk.corrupt}
                if 2 * len(kept.intersection(known)) > len(known):  # else nothing is ever committed any more
                    machine.change(ReplaceVoters(tuple(known)))

    def _number(self, name: MemberId) -> int:
        return self.invariants.logs.machines[name].number

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
    def _members(self) -> list[Machine]:
        """By what is committed, as far as their volumes are whole."""
        members = self.invariants.memberships.latest.members or self._founders
        return [machine for machine in self.machines if member(machine) in members and not machine.disk.corrupt]

    @property
    def _founders(self) -> list[Member]:
        return [member(machine) for machine in self.machines[: self.plan.founders]]

    @property
    def _staying(self) -> list[Machine]:
        """Whoever runs and understands what is spoken, and neither is to go nor was let go, has to be a member in the
        end."""
        memberships = self.invariants.memberships
        return [
            machine
            for machine in self.machines
            if machine.wanted
            and not machine.disk.corrupt
            and not machine.departing
            and not memberships.was_removed(member(machine))
            and machine.settings.versions.newest >= memberships.latest.version
        ]

    def _all_becomes_well(self) -> None:
        longest = max(settings.maximum_election for settings in self.plan.settings)
        silent_for = max(settings.silent_for for settings in self.plan.settings)
        if not self.events.run_until(self.events.now + SILENCE[1] + RECONNECTED, self._all_are_connected):
            raise Violation(LIVENESS, f"members do not find each other again after the faults: {self._stands()}")
        self._somebody_comes_to_serve(ELECTION_TIMES * longest)
        patience = ELECTION_TIMES * longest + len(self.machines) * (silent_for + RECONNECTED)
        if not self.events.run_until(self.events.now + patience, self._all_agree):
            raise Violation(LIVENESS, f"{patience / 1000:.0f} s later not all agree: {self._stands()}")
        states = {machine.state.written_down() for machine in self._members}
        if len(states) != 1:
            raise Violation(STATE_MACHINE_SAFETY, "states differ though all has been applied everywhere")

    def _all_are_connected(self) -> bool:
        members = self._members
        return all(self.network.connected(one.host, other.name) for one in members for other in members if one != other)

    def _somebody_comes_to_serve(self, patience: Milliseconds) -> None:
        """Who leads in time may have to bring a majority what it lacks first, an entry after the other where messages
        are small and slow: as long as it leads, and they get on."""
        led_in, held = None, 0
        while not self.events.run_until(self.events.now + patience, self._somebody_serves):
            leads_in, holds = self._led_in(), self._held()
            if leads_in is None or (led_in is not None and (leads_in != led_in or holds <= held)):
                raise Violation(LIVENESS, f"nobody serves {ELECTION_TIMES} maximum election times after the faults")
            led_in, held = leads_in, holds

    def _led_in(self) -> Term | None:
        return max((core.term for machine in self.machines if machine.leads and (core := machine.core)), default=None)

    def _held(self) -> int:
        """Of logs and of snapshots on their way: it grows as long as somebody gets what it lacks."""
        cores = [core for machine in self.machines if (core := machine.core) is not None]
        return sum(core.log.stable + (core.receiving.size if core.receiving is not None else 0) for core in cores)

    def _somebody_serves(self) -> bool:
        return any(machine.up and machine.driver.standing.established for machine in self.machines)

    def _all_agree(self) -> bool:
        if not self._somebody_serves():
            return False
        members = self._members
        wanted = max(core.log.last_index for machine in members if (core := machine.core) is not None)
        for machine in members:
            core = machine.core
            if core is None or not wanted == core.applied == core.commit == core.log.last_index == core.log.stable:
                return False
        return all(machine in members for machine in self._staying)

    def _stands(self) -> str:
        return "; ".join(
            f"{machine.name} {core.standing.role} {core.term} {core.commit}/{core.log.last_index}"
            if (core := machine.core) is not None
            else f"{machine.name} {'unborn' if machine.up else 'down'}"
            for machine in self.machines
        )


def _without(membership: Membership, departing: set[Member]) -> Membership:
    staying = tuple(voter for voter in membership.voters if voter not in departing)
    return msgspec.structs.replace(membership, voters=staying or membership.voters)


def _with_lost_learners(membership: Membership, kept: set[Member]) -> Membership:
    """A leader that has not noticed yet may make one a voter that was lost just now."""
    lost = tuple(learner for learner in membership.learners if learner not in kept)
    return msgspec.structs.replace(membership, voters=(*membership.voters, *lost))


def run(plan: Plan) -> Result:
    return Cluster(plan).run()
