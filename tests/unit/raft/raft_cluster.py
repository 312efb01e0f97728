"""A few nodes in one thread: a network of lists, disks of lists, and a clock that stands still until it is moved.

Messages wait until `deliver`, writes until `sync`, unless the cluster is told to do both by itself (`settle`,
`advance`). What was not synced is gone after `crash`. Nothing is random but the core's own dice. All processes have
greeted each other from their start on, and were accepted; tests of that say hello themselves.
"""

from collections.abc import Callable, Iterable

from raftq_k8s.raft.consensus import Consensus
from raftq_k8s.raft.membership import BirthRecord, Change, Hello, Identity, Member
from raftq_k8s.raft.messages import Entry, EntryKind, Message
from raftq_k8s.raft.pending_reads import ConfirmedRead, FailedRead, ReadContext, ReadFailure
from raftq_k8s.raft.persistence import HardState, Receipt, Restored, Write
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import BootId, ClusterId, Generation, Incarnation, Index, MemberId, Term

CLUSTER = ClusterId("test")
STEP = 5.0
"""Milliseconds: how finely `advance` moves the clock, and how long a message travels."""


class Disk:
    """What is synced, and the writes under way, in order."""

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.entries: list[Entry] = []
        self.under_way: list[tuple[Receipt, Write]] = []

    def sync(self) -> Receipt:
        receipt, write = self.under_way.pop(0)
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        if write.entries:
            del self.entries[write.entries[0].index - 1 :]
            self.entries.extend(write.entries)
        return receipt


class Node:
    def __init__(self, cluster: "Cluster", name: str, seed: int) -> None:
        self.cluster, self.name, self.seed = cluster, MemberId(name), seed
        self.incarnation = Incarnation(f"i-{name}")
        self.disk = Disk()
        self.generation = 0
        self.applied: list[Entry] = []
        self.reads: list[ConfirmedRead] = []
        self.failed_reads: list[FailedRead] = []
        self.settings = cluster.settings
        self.consensus: Consensus | None = None
        self.slow_disk = False

    def start(self) -> None:
        self.generation += 1
        boot = BootId(f"{self.name}-boot{self.generation}")
        restored = Restored(
            self.name,
            self.incarnation,
            Generation(self.generation),
            self.cluster.record,
            self.disk.hard_state,
            list(self.disk.entries),
        )
        self.identity = Identity(CLUSTER, self.name, restored.incarnation, restored.generation, boot)
        self.applied, self.reads, self.failed_reads = [], [], []
        self.consensus = Consensus(
            self.identity, restored, self.settings, self.seed + self.generation * 1000, self.cluster.now
        )
        for other in self.cluster.live:
            if other is not self:
                other.core._core.accepted[self.name] = self.identity
                self.consensus._core.accepted[other.name] = other.identity

    def wipe(self) -> None:
        """Its volume is lost: it comes back, once it is started, as another incarnation."""
        self.crash()
        self.disk = Disk()
        self.generation = 0
        self.incarnation = Incarnation(f"{self.incarnation}'")

    @property
    def member(self) -> Member:
        return Member(self.name, self.incarnation)

    def crash(self) -> None:
        self.disk.under_way.clear()
        self.consensus = None

    @property
    def hello(self) -> Hello:
        return Hello(1, 1, self.identity, self.cluster.record, "")

    @property
    def core(self) -> Consensus:
        assert self.consensus is not None, f"{self.name} is down"
        return self.consensus

    def sync(self) -> None:
        while self.disk.under_way:
            self.core.persisted(self.disk.sync(), self.cluster.now)
        self.collect()

    def collect(self) -> None:
        """Carry out what the core wants, the disk aside."""
        if self.consensus is None:
            return
        output = self.consensus.take_output()
        if output.write is not None:
            assert output.receipt is not None
            self.disk.under_way.append((output.receipt, output.write))
        self.cluster.wire.extend(output.messages)
        self.reads.extend(output.reads)
        self.failed_reads.extend(output.failed_reads)
        for entry in output.committed:
            assert entry.index == len(self.applied) + 1, "applied out of order"
            self.applied.append(entry)
        if self.applied:
            self.consensus.applied(self.applied[-1].index)

    @property
    def commands(self) -> list[bytes]:
        return [entry.command for entry in self.applied if entry.kind is EntryKind.COMMAND]


class Cluster:
    def __init__(self, *names: str, settings: Settings | None = None, seed: int = 1) -> None:
        self.settings = settings or Settings()
        self.now = 1000.0
        self.record = BirthRecord(
            CLUSTER, tuple(Member(MemberId(name), Incarnation(f"i-{name}")) for name in names), Term(1)
        )
        self.wire: list[Message] = []
        self.cut: set[tuple[str, str]] = set()
        self.nodes = {name: Node(self, name, seed + number) for number, name in enumerate(names)}
        self.leaders: dict[Term, MemberId] = {}
        for node in self.nodes.values():
            node.start()

    def add(self, name: str) -> Node:
        """A process that has adopted this cluster's record, which does not name it; whether it is a member, the log
        says."""
        node = self.nodes[name] = Node(self, name, seed=100 + len(self.nodes))
        node.start()
        return node

    def change(self, name: str, change: Change) -> Index:
        """Hand the leader a change of members."""
        index = self[name].change(change, self.now)
        self.nodes[name].collect()
        return index

    def __getitem__(self, name: str) -> Consensus:
        return self.nodes[name].core

    @property
    def live(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.consensus is not None]

    # ------------------------------------------------------------------------------------------------------- network

    def isolate(self, name: str) -> None:
        for other in self.nodes:
            if other != name:
                self.cut |= {(name, other), (other, name)}

    def heal(self) -> None:
        self.cut.clear()

    def take(self, chosen: Callable[[Message], bool] = lambda _: True) -> list[Message]:
        """Take messages off the wire."""
        taken = [message for message in self.wire if chosen(message)]
        self.wire = [message for message in self.wire if not chosen(message)]
        return taken

    def deliver(self, messages: Iterable[Message] | None = None) -> int:
        """Bring messages (all on the wire, if not said otherwise) to whoever can be reached."""
        batch = self.take() if messages is None else list(messages)
        for message in batch:
            receiver = self.nodes[message.destination]
            if receiver.consensus is None or (message.source, message.destination) in self.cut:
                continue
            receiver.consensus.step(message, self.now)
            receiver.collect()
        return len(batch)

    # ---------------------------------------------------------------------------------------------------------- time

    def sync(self) -> None:
        for node in self.live:
            if not node.slow_disk:
                node.sync()

    def settle(self) -> None:
        """Write and deliver until nothing is left to do at this moment."""
        for _ in range(1000):
            for node in self.live:
                node.collect()
            self.sync()
            if not self.deliver() and not any(node.disk.under_way and not node.slow_disk for node in self.live):
                return
        raise AssertionError("messages go round in circles")

    def advance(self, milliseconds: float) -> None:
        until = self.now + milliseconds
        while self.now < until:
            self.now = min(until, self.now + STEP)
            for node in self.live:
                node.core.tick(self.now)
                self.note_leaders()
            self.settle()
            self.note_leaders()

    def note_leaders(self) -> None:
        for node in self.live:
            standing = node.core.standing
            if standing.role == "leader":
                first = self.leaders.setdefault(standing.term, node.name)
                assert first == node.name, f"{first} and {node.name} both led term {standing.term}"

    # ------------------------------------------------------------------------------------------------------- shorthands

    def elect(self, name: str) -> Consensus:
        """Let time pass until that node leads, the others being held back meanwhile."""
        for other in self.nodes.values():
            if other.consensus is not None:
                other.core.set_eligible(other.name == name, self.now)
        for _ in range(60):
            if self[name].standing.established:
                break
            self.advance(100)
        assert self[name].standing.established, f"{name} was not elected: {self.describe()}"
        for node in self.live:
            node.core.set_eligible(True, self.now)
        return self[name]

    def propose(self, name: str, *commands: bytes) -> tuple[Term, Index]:
        where = self[name].propose(commands, self.now)
        self.nodes[name].collect()
        return where

    def read(self, name: str, context: int) -> None:
        self[name].read(ReadContext(context), self.now)
        self.nodes[name].collect()

    def read_index(self, name: str, context: int) -> Index | ReadFailure | None:
        """What became of a read; `None` while it waits."""
        node = self.nodes[name]
        confirmed: list[Index | ReadFailure] = [read.index for read in node.reads if read.context == context]
        failed = [read.reason for read in node.failed_reads if read.context == context]
        outcomes = confirmed + failed
        assert len(outcomes) <= 1, "a read is answered once"
        return outcomes[0] if outcomes else None

    def leader(self) -> str | None:
        leading = [node for node in self.live if node.core.standing.role == "leader"]
        return max(leading, key=lambda node: node.core.standing.term).name if leading else None

    def describe(self) -> str:
        return "; ".join(f"{node.name} {node.core.standing}" for node in self.live)
