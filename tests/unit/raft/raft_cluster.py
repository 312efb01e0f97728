"""A few nodes in one thread: a network of lists, disks of lists, and a clock that stands still until it is moved.

Messages wait until `deliver`, writes and reads of the disk until `sync`, unless the cluster is told to do both by
itself (`settle`, `advance`). What was not synced is gone after `crash`. Nothing is random but the core's own dice. All
processes have greeted each other from their start on, and were accepted; tests of that say hello themselves.

The state that the log drives is the list of what was applied, so a snapshot is that list, written down.
"""

from collections.abc import Callable, Iterable
from zlib import crc32

import msgspec

from raftq_k8s.raft.consensus import Consensus
from raftq_k8s.raft.membership import BirthRecord, Change, Hello, Identity, Member
from raftq_k8s.raft.messages import Entry, EntryKind, Message, SnapshotMark
from raftq_k8s.raft.output import ChunkWanted, EntriesWanted, Wanted
from raftq_k8s.raft.pending_reads import ConfirmedRead, FailedRead, ReadContext, ReadFailure
from raftq_k8s.raft.persistence import Receipt, SnapshotPart, Write
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import BootId, ClusterId, Incarnation, Index, MemberId, Term
from raftq_k8s.storage.contents import Contents

CLUSTER = ClusterId("test")
STEP = 5.0
"""Milliseconds: how finely `advance` moves the clock, and how long a message travels."""


class Disk(Contents):
    """What is synced, and the writes under way, in order; those of the node itself, and not of its core, have no
    receipt."""

    def __init__(self, member: Member, birth: BirthRecord) -> None:
        super().__init__(member.name, member.incarnation)
        self.birth = birth
        self.under_way: list[tuple[Receipt | None, Write]] = []

    def sync(self) -> tuple[Receipt | None, Write]:
        receipt, write = self.under_way.pop(0)
        self.keep(write)
        return receipt, write


def written_down(applied: list[Entry]) -> bytes:
    return msgspec.msgpack.encode(applied)


class Node:
    def __init__(self, cluster: "Cluster", name: str, seed: int) -> None:
        self.cluster, self.name, self.seed = cluster, MemberId(name), seed
        self.incarnation = Incarnation(f"i-{name}")
        self.disk = Disk(self.member, cluster.record)
        self.applied: list[Entry] = []
        self.wanted: list[Wanted] = []
        self.reads: list[ConfirmedRead] = []
        self.failed_reads: list[FailedRead] = []
        self.settings = cluster.settings
        self.consensus: Consensus | None = None
        self.slow_disk = False
        self.installed = 0
        """Snapshots of others."""

    def start(self) -> None:
        restored = self.disk.open(self.settings.tail_bytes)
        boot = BootId(f"{self.name}-boot{restored.generation}")
        self.identity = Identity(CLUSTER, self.name, restored.incarnation, restored.generation, boot)
        self.applied, self.wanted, self.reads, self.failed_reads = [], [], [], []
        self.consensus = Consensus(
            self.identity, restored, self.settings, self.seed + restored.generation * 1000, self.cluster.now
        )
        for other in self.cluster.live:
            if other is not self:
                other.meet(self)
                self.meet(other)

    def meet(self, other: "Node") -> None:
        core = self.core._core
        core.accepted[other.name] = other.identity
        core.connected.add(other.name)
        core.speaks[other.name] = other.settings.versions

    def wipe(self) -> None:
        """Its volume is lost: it comes back, once it is started, as another incarnation. Nobody hears any more what the
        former one said."""
        self.crash()
        self.cluster.take(lambda message: message.source == self.name)
        self.incarnation = Incarnation(f"{self.incarnation}'")
        self.disk = Disk(self.member, self.cluster.record)

    @property
    def member(self) -> Member:
        return Member(self.name, self.incarnation)

    def crash(self) -> None:
        self.disk.under_way.clear()
        self.consensus = None

    @property
    def hello(self) -> Hello:
        core = self.core
        return Hello(1, 1, self.identity, self.cluster.record, "", core.standing.term, core.vote, core.last_index)

    @property
    def core(self) -> Consensus:
        assert self.consensus is not None, f"{self.name} is down"
        return self.consensus

    def sync(self) -> None:
        while self.disk.under_way:
            self.sync_one()
        self.answer_wanted()
        self.collect()

    def sync_one(self) -> None:
        receipt, write = self.disk.sync()
        if receipt is not None:
            self.core.persisted(receipt, self.cluster.now)
        elif write.seal is not None:
            self.core.snapshot_taken(write.seal)

    def answer_wanted(self) -> None:
        """Read what the core wants of the disk, which has ended every write that was given before."""
        wanted, self.wanted = self.wanted, []
        for each in wanted:
            match each:
                case EntriesWanted(first, last, max_bytes):
                    self.core.entries_loaded(each, self.disk.load(first, last, max_bytes), self.cluster.now)
                case ChunkWanted(_, index, offset, max_bytes):
                    data = self.disk.read_snapshot(index, offset, max_bytes)
                    self.core.snapshot_chunk(each, data, self.cluster.now)

    def take_snapshot(self) -> None:
        """Write the state down, in pieces, and seal it; unless there is nothing new, or another one is arriving."""
        known = self.core.snapshot
        if not self.applied or self.core.receives_snapshot or (known and known.index >= self.applied[-1].index):
            return
        data, last = written_down(self.applied), self.applied[-1]
        for offset in range(0, len(data), 100):
            part = SnapshotPart(last.index, offset, data[offset : offset + 100])
            self.disk.under_way.append((None, Write(part=part)))
        mark = SnapshotMark(last.index, last.term, self.core.membership_at(last.index), len(data), crc32(data))
        self.disk.under_way.append((None, Write(seal=mark)))

    def collect(self) -> None:
        """Carry out what the core wants, the disk aside."""
        if self.consensus is None:
            return
        output = self.consensus.take_output()
        if output.write is not None:
            assert output.receipt is not None
            self.disk.under_way.append((output.receipt, output.write))
            self.installed += output.write.seal is not None
        self.cluster.wire.extend(output.messages)
        self.wanted.extend(output.wanted)
        self.reads.extend(output.reads)
        self.failed_reads.extend(output.failed_reads)
        if output.install is not None:
            self.install(output.install)
        for entry in output.committed:
            assert entry.index == len(self.applied) + 1, "applied out of order"
            self.applied.append(entry)
        if self.applied:
            self.consensus.applied(self.applied[-1].index)
        if output.install is not None or output.committed:
            self.collect()

    def install(self, mark: SnapshotMark) -> None:
        data = self.disk.read_snapshot(mark.index, 0, mark.size)
        assert data is not None, "told to install before it is sealed"
        assert mark.index >= len(self.applied), "the state goes back"
        self.applied = msgspec.msgpack.decode(data, type=list[Entry])
        assert len(self.applied) == mark.index

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
        for _ in range(5000):
            for node in self.live:
                node.collect()
            self.sync()
            delivered = self.deliver()
            busy = [node for node in self.live if not node.slow_disk and (node.disk.under_way or node.wanted)]
            if not delivered and not busy:
                return
        raise AssertionError("messages go round in circles")

    def settle_without(self, chosen: Callable[[Message], bool]) -> None:
        """The same, but for messages that stay on the wire."""
        held: list[Message] = []
        for _ in range(1000):
            held += self.take(chosen)
            for node in self.live:
                node.collect()
            self.sync()
            if not self.wire:
                break
            self.deliver(self.take(lambda message: not chosen(message)))
        self.wire += held

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

    def snapshot(self, name: str) -> SnapshotMark:
        """Let that node take a snapshot of its state."""
        self.nodes[name].take_snapshot()
        self.nodes[name].sync()
        self.settle()
        mark = self[name].snapshot
        assert mark is not None, f"{name} has applied nothing"
        return mark

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
