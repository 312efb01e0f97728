"""One simulated process and the machine it runs on: the real driver, a clock of its own, a disk, and a shaky life.

It takes turns as `node/runtime.py` does: what happened is looked at, then the time, then everything that the driver
wants is carried out. While the process is frozen its clock goes on, and what happens to it waits; on thaw some of that
is looked at before the time is, and some after.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from raftq_k8s.node.actions import Actions, Load, Loaded, Written
from raftq_k8s.node.driver import Driver
from raftq_k8s.node.given import Node
from raftq_k8s.node.snapshots import SnapshotBounds
from raftq_k8s.node.submissions import Submission, Token
from raftq_k8s.node.transport import Wire
from raftq_k8s.raft.birth import BirthRule
from raftq_k8s.raft.consensus import Consensus, NotLeader, TransferRefused
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.membership import Change, ChangeRefused, Hello, Identity, Refusal
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import BootId, ClusterId, Instant, MemberId, Milliseconds, Term
from raftq_k8s.sim.dice import Dice
from raftq_k8s.sim.disk import Disk
from raftq_k8s.sim.events import Events
from raftq_k8s.sim.invariants import Invariants
from raftq_k8s.sim.network import Network
from raftq_k8s.sim.observed import ObservedState
from raftq_k8s.sim.seen import Seen
from raftq_k8s.sim.session_watch import TIME_INTERVAL
from raftq_k8s.storage.volume import VolumeUnusable

if TYPE_CHECKING:
    from raftq_k8s.sim.clients import Clients

LARGEST_COMMAND = 10_000
LONGEST_PATIENCE: Milliseconds = 6000.0
"""Within that every process has answered whoever asked it, if it ran at all."""
START_AGAIN: Milliseconds = 700.0
UNAWAITED = Token(0)
"""Nobody asks what becomes of it."""


class Machine:
    def __init__(
        self,
        name: MemberId,
        number: int,
        settings: Settings,
        snapshots: SnapshotBounds,
        rule: BirthRule,
        events: Events,
        network: Network,
        invariants: Invariants,
        dice: Dice,
    ) -> None:
        self.name = self.host = name
        """`host`: where it runs; two processes of one member run on different ones."""
        self.number = number
        self.settings, self.snapshots = settings, snapshots
        self.disk = Disk(name, events, dice, self)
        self.disk.tail_bytes = settings.tail_bytes
        self.life = 0
        self.wanted = True
        """Whether it is to run at all."""
        self.departing = False
        """Whether its member is to go for good."""
        self.up = False
        self.frozen = False
        self.naps = 0
        self._thawed_at: Instant = 0.0
        self.seen = Seen(name)
        self.driver: Driver
        self.state: ObservedState
        self.clients: Clients
        self._rule = rule
        self._events, self._network, self._invariants, self._dice = events, network, invariants, dice
        self._lives = 0
        self._waiting: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._timer_at: Instant = math.inf
        self._rate = 1.0
        self._clock_at_change: Instant = dice.between(0.0, 1e6)
        self._changed_at: Instant = 0.0

    # ------------------------------------------------------------------------------------------------------------ clock

    @property
    def clock(self) -> Instant:
        return self._clock_at_change + (self._events.now - self._changed_at) * self._rate

    def when(self, clock: Instant) -> Instant:
        """The global time at which this machine's clock shows that, at its present rate."""
        return self._changed_at + (clock - self._clock_at_change) / self._rate

    def run_at_rate(self, rate: float) -> None:
        self._clock_at_change, self._changed_at = self.clock, self._events.now
        self._rate = rate
        if self.up and not self.frozen:
            self._timer_at = math.inf
            self._arm(self.clock)

    # ------------------------------------------------------------------------------------------------------------- life

    def start(self) -> None:
        if self.up or self.disk.corrupt or not self.wanted:
            return
        self._lives += 1
        try:
            restored = self.disk.open(self._lives)
        except VolumeUnusable:
            self._events.after(START_AGAIN, self.start)
            return
        self.life = self._lives
        self.up, self.frozen = True, False
        self._waiting.clear()
        self._timer_at = math.inf
        self.state = ObservedState(self._invariants.logs, self.name)
        seed = self._dice.below(1 << 48)
        boot = BootId(f"{self.name}-boot{self.life}")
        cluster = ClusterId(f"cluster-of-{self.name}-{self.disk.wiped}")
        node = Node(
            restored, boot, self._rule, cluster, self.settings, seed, "", LARGEST_COMMAND, TIME_INTERVAL, self.snapshots
        )
        self.driver = Driver(node, self.state, self._is_connected, self.clock)
        self._invariants.started(self)
        self._network.started(self)
        if self.departing:
            self.driver.depart(self.name, self.clock)
        self._turn()

    def _is_connected(self, peer: MemberId) -> bool:
        return self._network.connected(self.host, peer)

    def lose_volume(self, silently: bool) -> None:
        """Its machine is replaced by one with an empty disk, which is not told to found: where all whom it expects are
        blank, it would, and nobody could detect that there was a cluster."""
        self.crash(silently)
        self.disk.wipe()
        self._rule = BirthRule(self._rule.expected, None)
        self.seen.start_promising_anew()
        self.departing = False

    def become(self, first: "Machine") -> None:
        """Whoever starts here finds the volume of that machine, as it is now, and owes what was promised there."""
        self.disk.contents = deepcopy(first.disk.contents)
        self.disk.wiped = first.disk.wiped
        self.seen.promised_until = self.clock + (first.seen.promised_until - first.clock)
        self._lives = 1000 * (first._lives + 1)

    def crash(self, silently: bool) -> None:
        if not self.up:
            return
        self.up = self.frozen = False
        self.life = 0
        self._waiting.clear()
        self.disk.crash()
        self._invariants.crashed(self)
        self._network.died(self, silently)
        self.clients.crashed(self)

    def write_failed(self, life: int) -> None:
        """The process ends, as `runtime.py` does, and its supervisor starts it again."""
        if life == self.life:
            self.crash(silently=False)
            self._events.after(START_AGAIN, self.start)

    def freeze(self, length: Milliseconds) -> None:
        if self.up and not self.frozen:
            self.frozen = True
            self.naps += 1
            self._network.froze(self, self.naps)
            self._events.after(length, self.thaw, self.naps)

    def thaw(self, nap: int) -> None:
        if not (self.up and self.frozen and self.naps == nap):
            return
        self.frozen = False
        self._thawed_at = self._events.now
        waiting, self._waiting = self._waiting, []
        before = self._dice.below(len(waiting) + 1) if self._dice.chance(0.5) else len(waiting)
        for number, (event, arguments) in enumerate(waiting):
            if number == before:
                self._turn()
            event(*arguments, self.clock)
            self._invariants.look(self)
        self._timer_at = math.inf
        self._turn()

    def had_time_since(self, instant: Instant) -> bool:
        """Whether it could do by now what was due then. What comes to a process that stands still waits for its thaw,
        and all its time begins there."""
        return not self.frozen and max(instant, self._thawed_at + LONGEST_PATIENCE) < self._events.now

    # ----------------------------------------------------------------------------------------------- what happens to it

    def _happen(self, event: Callable[..., None], *arguments: Any) -> None:
        if self.frozen:
            self._waiting.append((event, arguments))
        elif self.up:
            event(*arguments, self.clock)
            self._turn()

    def greeted(self, hello: Hello) -> None:
        self._happen(self.driver.greet, hello)

    def received(self, sender: Identity, messages: Sequence[Wire]) -> None:
        self._happen(self.driver.receive, sender, messages)

    def lost(self, peer: MemberId) -> None:
        self._happen(self.driver.lost, peer)

    def refused(self, by: Identity, refusal: Refusal) -> None:
        self._happen(self.driver.refused, by, refusal)

    def observe_term(self, term: Term) -> None:
        self._happen(self.driver.observe_term, term)

    def submit(self, token: Token, command: bytes, patience: Milliseconds) -> None:
        self._happen(self._submit, token, command, patience)

    def _submit(self, token: Token, command: bytes, patience: Milliseconds, now: Instant) -> None:
        self.driver.submit([Submission(token, command, now + patience)])

    def read(self, token: Token, patience: Milliseconds) -> None:
        self._happen(self._read, token, patience)

    def _read(self, token: Token, patience: Milliseconds, now: Instant) -> None:
        self.driver.read(token, now + patience)

    def leased_read(self) -> bool:
        """Whether this process would answer a read at this moment, by its lease alone."""
        consensus = self.consensus
        if consensus is None or self.frozen:
            return False
        index = consensus.leased_read(self.clock)
        self._turn()
        return index is not None and consensus.applied_index >= index

    def transfer(self, target: MemberId) -> None:
        self._happen(self._transfer, target)

    def _transfer(self, target: MemberId, now: Instant) -> None:
        with suppress(NotLeader, TransferRefused):
            self.driver.transfer(UNAWAITED, target, math.inf, now)

    def change(self, change: Change) -> None:
        self._happen(self._change, change)

    def _change(self, change: Change, now: Instant) -> None:
        consensus = self.consensus
        if consensus is not None:
            with suppress(NotLeader, ChangeRefused):
                consensus.change(change, now)

    def depart(self, member: MemberId) -> None:
        if self.up:
            self._happen(self.driver.depart, member)

    def room_changed(self, full: bool) -> None:
        self._happen(self.driver.room_changed, full)

    def hand_over(self) -> None:
        self._happen(self.driver.hand_over)

    def written(self, life: int, written: Written) -> None:
        if life == self.life:
            self._happen(self.driver.persisted, written)

    def loaded(self, life: int, load: Load, loaded: Loaded) -> None:
        if life == self.life:
            self._happen(self.driver.loaded, load, loaded)

    # ------------------------------------------------------------------------------------------------------------ turns

    def _wake(self, at: Instant, life: int) -> None:
        if at == self._timer_at and life == self.life and not self.frozen:
            self._timer_at = math.inf
            self._turn()
            self._invariants.woke(self)

    def _turn(self) -> None:
        now = self.clock
        driver = self.driver
        if now >= driver.wake_at:
            driver.tick(now)
        self._invariants.look(self)
        acted = False
        while (actions := driver.next_actions(now)) is not None:
            acted = True
            self._carry_out(actions)
            if not actions.more:
                break
        if acted:
            self._invariants.look(self)
        if self.up:
            self._arm(now)

    def _arm(self, now: Instant) -> None:
        """Like the runtime's: only ever moved to an earlier time, and by whole milliseconds."""
        wake_at = self.driver.wake_at
        if wake_at == math.inf:
            return
        at = self._events.now + max(1, math.ceil(wake_at - now)) / self._rate
        if at < self._timer_at:
            self._timer_at = at
            self._events.at(at, self._wake, at, self.life)

    def _carry_out(self, actions: Actions) -> None:
        for written, write in actions.writes:
            self._invariants.writing(self, write)
            self.disk.write(written, write)
        for load in actions.loads:
            self.disk.load(load)
        if actions.announce:
            self._network.announce(self)
        for destination, messages in actions.messages.items():
            self._invariants.leaving(self, messages)
            self._network.send(self, destination, messages)
        for verdict in actions.greetings:
            self._network.verdict(self, verdict)
        for token, outcome in actions.resolved:
            self.clients.resolved(self, token, outcome)
        for token, read in actions.reads:
            self.clients.readers.resolved(self, token, read)

    # --------------------------------------------------------------------------------------------------------- readings

    @property
    def core(self) -> Core | None:
        """The consensus core, once this node was born."""
        if not self.up:
            return None
        phase = self.driver._phase
        return phase._core if type(phase) is Consensus else None

    @property
    def leads(self) -> bool:
        core = self.core
        return core is not None and type(core.role) is Leader

    @property
    def consensus(self) -> Consensus | None:
        if not self.up:
            return None
        phase = self.driver._phase
        return phase if type(phase) is Consensus else None
