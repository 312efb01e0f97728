"""Faults that are told one at a time, as scripts. Against the first two no protocol that forgets can be safe by itself.

An *old copy of a volume* under the same incarnation has forgotten what the member said since, and so has *one of two
processes on one volume* forgotten what the other one says. Whoever has met the newer state can tell, and turns the
member away, which then takes no part any more; so here the first peer that it reaches is one of those. Whom nobody who
knows better meets in time votes twice, and nothing in the cluster could have told: that stands in `docs/simulator.md`,
and is not among the faults of a swarm.

*Room that is scarce* is no danger to anybody: it is told here because what has to be seen is a leader without any.
"""

from copy import deepcopy
from typing import TYPE_CHECKING

from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.types import MemberId, Milliseconds
from raftq_k8s.sim.faults import Fault
from raftq_k8s.sim.machine import Machine
from raftq_k8s.sim.violation import LIVENESS, MEMBERSHIP_SAFETY, Violation
from raftq_k8s.storage.contents import Contents

if TYPE_CHECKING:
    from raftq_k8s.sim.cluster import Cluster

LOOK_AGAIN: Milliseconds = 50.0
TURNED_AWAY_WITHIN: Milliseconds = 8_000.0
"""It is dialled, greeted and told by then."""
HANDED_OVER_WITHIN: Milliseconds = 6_000.0
"""Several of the longest election times: one of its tries has come to something by then."""


def strike(cluster: "Cluster", fault: Fault) -> None:
    machine = cluster.machines[fault.node]
    match fault.kind:
        case "rolled-back":
            RolledBack(cluster, machine, fault)
        case "twin":
            Twin(cluster, machine, fault)
        case _:
            Scarce(cluster, machine, fault)


class _Script:
    def __init__(self, cluster: "Cluster", machine: Machine, fault: Fault) -> None:
        self.cluster, self.machine, self.fault = cluster, machine, fault
        self.events, self.network = cluster.events, cluster.network

    def others_than(self, known: set[MemberId]) -> list[tuple[MemberId, MemberId]]:
        """The directions between this machine and all peers but those."""
        me = self.machine
        peers = [each.host for each in self.cluster.machines if each.name != me.name and each.host not in known]
        return [(me.host, peer) for peer in peers] + [(peer, me.host) for peer in peers]

    def wait_until_it_is_turned_away(self, deadline: Milliseconds, what: str) -> None:
        core = self.machine.core
        if core is not None and core.fenced is not None:
            self.events.after(self.fault.amount, self.turned_away)
        elif self.events.now > deadline:
            raise Violation(MEMBERSHIP_SAFETY, f"{self.machine.host} runs {what}, met who knows, and takes part")
        else:
            self.events.after(LOOK_AGAIN, self.wait_until_it_is_turned_away, deadline, what)

    def turned_away(self) -> None:
        raise NotImplementedError


class RolledBack(_Script):
    """The volume is copied, goes on for a while, and is put back as it was when it was copied."""

    def __init__(self, cluster: "Cluster", machine: Machine, fault: Fault) -> None:
        super().__init__(cluster, machine, fault)
        self._copy = deepcopy(machine.disk.contents)
        self._cut: list[tuple[MemberId, MemberId]] = []
        self.events.after(fault.lasts, self._put_back)

    def _put_back(self) -> None:
        leader = self._knows_better()
        if leader is None:
            if self.machine.leads:
                self.machine.hand_over()
            self.events.after(LOOK_AGAIN, self._put_back)
            return
        self.machine.crash(silently=False)
        self.machine.disk.roll_back(self._copy)
        self._cut = self.others_than({leader.host})
        self.network.cut(self._cut)
        self.machine.start()
        self.wait_until_it_is_turned_away(self.events.now + TURNED_AWAY_WITHIN, "an old copy of its volume")

    def _knows_better(self) -> Machine | None:
        """Whoever leads and was told by this member, in its term, what the copy lacks."""
        if not self.machine.up or self._copy.birth is None:
            return None
        for leader in self.cluster.machines:
            core = leader.core
            if leader is self.machine or leader.frozen or core is None or not isinstance(core.role, Leader):
                continue
            progress = core.role.progress.get(self.machine.name)
            if progress is not None and self._lacks(self._copy, progress.match):
                return leader
        return None

    @staticmethod
    def _lacks(copy: Contents, acknowledged: int) -> bool:
        return copy.last_index < acknowledged

    def turned_away(self) -> None:
        """What it would like to say now reaches everybody. Then its volume is archived, and it comes anew."""
        self.network.mend(self._cut)
        self.events.after(3000.0, self._come_anew)

    def _come_anew(self) -> None:
        self.machine.lose_volume(silently=False)
        self.machine.start()


class Twin(_Script):
    """The process stands still, cut off; another one is started on its volume, and goes on with it. Then the first one
    wakes, and what it reaches first are peers that have met the second."""

    def __init__(self, cluster: "Cluster", machine: Machine, fault: Fault) -> None:
        super().__init__(cluster, machine, fault)
        self._cut = self.others_than(set())
        if not machine.up or machine.disk.contents.birth is None:
            return
        self.network.cut(self._cut)
        machine.freeze(10 * fault.lasts)
        second = cluster.take_over(machine)
        second.start()
        self.events.after(fault.lasts, self._wake, second)

    def _wake(self, second: Machine) -> None:
        """Once everybody has met the second one, or at least somebody has: only those are reached."""
        met = {
            peer.host
            for peer in self.cluster.machines
            if (core := peer.core) is not None
            and (process := core.accepted.get(second.name)) is not None
            and second.up
            and process.is_process(second.driver.identity)
        }
        if not met:
            self.events.after(LOOK_AGAIN, self._wake, second)
            return
        unmet = self.others_than(met)
        self.network.mend([direction for direction in self._cut if direction not in unmet])
        self._cut = unmet
        self.machine.thaw(self.machine.naps)
        self.wait_until_it_is_turned_away(self.events.now + TURNED_AWAY_WITHIN, "beside a younger process")

    def turned_away(self) -> None:
        """What it would like to say now reaches everybody. Then it ends."""
        self.network.mend(self._cut)
        self.events.after(3000.0, self.machine.crash, False)


class Scarce(_Script):
    """Whoever leads has no room but its reserve, for so long, and then again."""

    ALL: float = 1500.0

    def __init__(self, cluster: "Cluster", machine: Machine, fault: Fault) -> None:
        super().__init__(cluster, machine, fault)
        self._fill()

    def _fill(self) -> None:
        leader = next((each for each in self.cluster.machines if each.leads and not each.frozen), None)
        if leader is None:
            self.events.after(LOOK_AGAIN, self._fill)
            return
        concerned = self.cluster.machines if self.fault.amount > self.ALL else [leader]
        for each in concerned:
            each.room_changed(True)
        if concerned == [leader]:
            self._wait_until_it_is_handed_over(leader, self.events.now + HANDED_OVER_WITHIN)
        self.events.after(self.fault.lasts + HANDED_OVER_WITHIN, self._make_room, concerned)

    def _wait_until_it_is_handed_over(self, leader: Machine, deadline: Milliseconds) -> None:
        if not leader.leads or leader.frozen:
            return
        if self.events.now > deadline and self._could_hand_over(leader):
            raise Violation(LIVENESS, f"{leader.host} has no room, and leads all the same")
        self.events.after(LOOK_AGAIN, self._wait_until_it_is_handed_over, leader, deadline)

    def _could_hand_over(self, leader: Machine) -> bool:
        return len(leader.driver.status(leader.clock).connected) > 1

    def _make_room(self, concerned: list[Machine]) -> None:
        for each in concerned:
            each.room_changed(False)
