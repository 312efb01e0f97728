"""Drivers talking to each other under a hand-driven clock: every write and message is seen, and held back at will."""

from collections import deque
from itertools import count

from raftq_k8s.node.actions import Actions, Load, Written
from raftq_k8s.node.driver import Driver
from raftq_k8s.node.forwarding import Outcome
from raftq_k8s.node.given import Node
from raftq_k8s.node.read_queue import ReadOutcome
from raftq_k8s.node.snapshots import BOUNDS, SnapshotBounds
from raftq_k8s.node.submissions import Submission, Token
from raftq_k8s.node.transport import Wire
from raftq_k8s.raft.birth import BirthRule, lowest
from raftq_k8s.raft.membership import BirthRecord, Identity, Member
from raftq_k8s.raft.output import EntriesWanted
from raftq_k8s.raft.persistence import Write
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import BootId, ClusterId, Incarnation, MemberId, Term
from raftq_k8s.state.document import Document
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.storage.contents import Contents

SETTINGS = Settings()
LARGEST = 10_000
TELLS_TIME_EVERY = 1_000.0
IDLE = 10_000


def member(name: str) -> MemberId:
    return MemberId(name)


def volume_of(name: str, birth: BirthRecord | None) -> Contents:
    volume = Contents(member(name), Incarnation(f"volume-{name}"))
    volume.birth = birth
    return volume


def record(*names: str) -> BirthRecord:
    return BirthRecord(
        ClusterId("cluster"), tuple(Member(member(name), Incarnation(f"volume-{name}")) for name in names), Term(1)
    )


class Held:
    """One driver, what it did, and what is held back of it. Its volume is what every ended write has left there."""

    def __init__(
        self,
        volume: Contents,
        rule: BirthRule,
        seed: int,
        now: float,
        connected: set[str],
        settings: Settings,
        bounds: SnapshotBounds,
    ) -> None:
        self.name = volume.member
        self.volume = volume
        self.rule = rule
        self.settings, self.bounds = settings, bounds
        self.connected = connected
        self.disk_ends = True
        self.history: list[Actions] = []
        self.resolved: dict[Token, Outcome] = {}
        self.reads: dict[Token, ReadOutcome] = {}
        self.start(seed, now)

    def start(self, seed: int, now: float, tail_bytes: int = 1 << 20) -> None:
        """A process begins; of a former one only the volume is left."""
        self.state = StateMachine(1 << 20, idle_ms=IDLE)
        self.writes: deque[tuple[Written, Write]] = deque()
        self.loads: deque[Load] = deque()
        node = Node(
            self.volume.open(tail_bytes),
            BootId(f"boot-{self.name}-{seed}"),
            self.rule,
            ClusterId("cluster"),
            self.settings,
            seed,
            "",
            LARGEST,
            TELLS_TIME_EVERY,
            self.bounds,
        )
        self.driver = Driver(node, self.state, lambda peer: peer in self.connected, now)

    def end_a_write(self, now: float) -> None:
        written, write = self.writes.popleft()
        self.volume.keep(write)
        self.driver.persisted(written, now)

    def load(self, now: float) -> None:
        load = self.loads.popleft()
        match load:
            case EntriesWanted(first, last, max_bytes):
                self.driver.loaded(load, self.volume.load(first, last, max_bytes), now)
            case _:
                found = self.volume.read_snapshot(load.index, load.offset, load.max_bytes)
                self.driver.loaded(load, found, now)

    @property
    def document(self) -> Document:
        return self.state.document


class DriverCluster:
    def __init__(
        self,
        *names: str,
        initialised: bool = True,
        disks_end: bool = True,
        settings: Settings = SETTINGS,
        bounds: SnapshotBounds = BOUNDS,
        rule: BirthRule | None = None,
    ) -> None:
        self.now = 10_000.0
        self.names = names
        self.cut: set[str] = set()
        self.network: deque[tuple[Identity, str, Wire]] = deque()
        self.hold_messages = False
        self.lost: type[Wire] | None = None
        """Messages of that kind do not arrive."""
        self._tokens = 0
        rule = rule or lowest(tuple(map(member, names)))
        self._seeds = count(1)
        self.nodes: dict[str, Held] = {}
        for name in names:
            volume = volume_of(name, record(*names) if initialised else None)
            seed, others = next(self._seeds), set(names) - {name}
            self.nodes[name] = Held(volume, rule, seed, self.now, others, settings, bounds)
        for held in self.nodes.values():
            held.disk_ends = disks_end
        self.settle()
        for one in names:
            for other in names:
                if one != other:
                    self.greet(one, other)

    def __getitem__(self, name: str) -> Held:
        return self.nodes[name]

    def restart(self, name: str, tail_bytes: int = 1 << 20) -> None:
        """The process is killed, what was not synced is lost, and it begins again."""
        self[name].start(next(self._seeds), self.now, tail_bytes)
        for other in self.names:
            if other != name:
                self[other].driver.lost(member(name), self.now)
                self.greet(name, other)
                self.greet(other, name)

    def add(self, name: str) -> Held:
        """A process with an empty volume, which everybody can reach, and which has greeted nobody yet."""
        rule = BirthRule((), founder=None)
        first = self.nodes[self.names[0]]
        held = Held(
            volume_of(name, None), rule, next(self._seeds), self.now, {*self.names}, first.settings, first.bounds
        )
        for other in self.nodes.values():
            other.connected.add(name)
        self.nodes[name] = held
        self.names = (*self.names, name)
        self.settle()
        return held

    def greet(self, one: str, other: str) -> None:
        self[other].driver.greet(self[one].driver.hello(), self.now)
        self.settle()

    def submit(self, name: str, *commands: bytes, patience: float = 5_000.0) -> Token:
        """All at once; returns the token of the last."""
        submissions = []
        for command in commands:
            self._tokens += 1
            submissions.append(Submission(Token(self._tokens), command, self.now + patience))
        self[name].driver.submit(submissions)
        self.settle()
        return Token(self._tokens)

    def read(self, name: str, patience: float = 5_000.0) -> Token:
        self._tokens += 1
        token = Token(self._tokens)
        self[name].driver.read(token, self.now + patience)
        self.settle()
        return token

    def settle(self) -> None:
        """Until nothing is left to do at this moment."""
        while self._act() or self._end_a_write() or self._load() or self._deliver():
            pass

    def _act(self) -> bool:
        acted = False
        for held in self.nodes.values():
            actions = held.driver.next_actions(self.now)
            if actions is None:
                continue
            acted = True
            assert actions.more or held.driver.next_actions(self.now) is None
            held.history.append(actions)
            held.writes.extend(actions.writes)
            held.loads.extend(actions.loads)
            for destination, messages in actions.messages.items():
                self.network.extend((held.driver.identity, destination, message) for message in messages)
            held.resolved.update(actions.resolved)
            held.reads.update(actions.reads)
            if actions.announce:
                for other in self.names:
                    if other != held.name:
                        self[other].driver.greet(held.driver.hello(), self.now)
        return acted

    def _end_a_write(self) -> bool:
        for held in self.nodes.values():
            if held.writes and held.disk_ends:
                held.end_a_write(self.now)
                return True
        return False

    def _load(self) -> bool:
        for held in self.nodes.values():
            if held.loads and held.disk_ends:
                held.load(self.now)
                return True
        return False

    def _deliver(self) -> bool:
        if self.hold_messages or not self.network:
            return False
        sender, destination, message = self.network.popleft()
        if not {sender.member, destination} & self.cut and not (self.lost and isinstance(message, self.lost)):
            self[destination].driver.receive(sender, [message], self.now)
        return True

    def advance(self, milliseconds: float) -> None:
        end = self.now + milliseconds
        while True:
            wake = min(held.driver.wake_at for held in self.nodes.values())
            if wake > end:
                break
            self.now = max(self.now, wake)
            for held in self.nodes.values():
                held.driver.tick(self.now)
            self.settle()
        self.now = end
        self.settle()

    def elect(self) -> str:
        """Let time pass until somebody leads and is followed by all that are not cut off."""
        for _ in range(200):
            self.advance(50)
            leaders = {held.driver.standing.leader for name, held in self.nodes.items() if name not in self.cut}
            leader = leaders.pop() if len(leaders) == 1 else None
            if leader is not None and leader not in self.cut and self[leader].driver.standing.established:
                return leader
        raise AssertionError("nobody was elected")

    def others(self, leader: str) -> list[str]:
        return [name for name in self.names if name != leader]
