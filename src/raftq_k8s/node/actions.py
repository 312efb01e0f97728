"""What a driver wants done, and how it is told that a write or a read of its volume has ended."""

from typing import TypeAlias

import msgspec

from raftq_k8s.node.forwarding import Outcome
from raftq_k8s.node.handovers import HandedOver
from raftq_k8s.node.read_queue import ReadOutcome
from raftq_k8s.node.submissions import Token
from raftq_k8s.node.transport import Wire
from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.output import Accepted, ChunkWanted, EntriesWanted, Refused, Standing
from raftq_k8s.raft.persistence import Receipt, Write
from raftq_k8s.raft.types import Index, MemberId


class BirthReceipt(msgspec.Struct, frozen=True, tag="birth"):
    """Names the one write of an unborn node: its birth record."""


class SliceReceipt(msgspec.Struct, frozen=True, gc=False, tag="slice"):
    """Names a write of a snapshot that the driver takes by itself."""

    number: int


Written: TypeAlias = Receipt | BirthReceipt | SliceReceipt


class SliceWanted(msgspec.Struct, frozen=True, gc=False, tag="slice"):
    """A piece of this volume's snapshot at `index`, to become this node's state."""

    index: Index
    offset: int
    max_bytes: int


Load: TypeAlias = EntriesWanted | ChunkWanted | SliceWanted
"""Entries of the volume, for the first, or else bytes of its snapshot."""

Loaded: TypeAlias = tuple[Entry, ...] | bytes | None


class Actions(msgspec.Struct):
    """To be carried out in any order, but for the writes and the loads: those come in theirs, and the loads last."""

    writes: list[tuple[Written, Write]] = msgspec.field(default_factory=list)
    """Call `persisted` with the receipt when it is on stable storage. A write that fails is final: stop the node."""
    loads: list[Load] = msgspec.field(default_factory=list)
    """Call `loaded` with what the volume holds once it has done everything before. One that fails is final as well."""
    announce: bool = False
    """This node's hello changed."""
    messages: dict[MemberId, list[Wire]] = msgspec.field(default_factory=dict)
    greetings: tuple[Accepted | Refused, ...] = ()
    resolved: list[tuple[Token, Outcome]] = msgspec.field(default_factory=list)
    reads: list[tuple[Token, ReadOutcome]] = msgspec.field(default_factory=list)
    """Where an index stands, this node's state answers the read, as it is now."""
    handed_over: list[tuple[Token, HandedOver]] = msgspec.field(default_factory=list)
    standing: Standing | None = None
    """Set when it changed."""
    notes: list[str] = msgspec.field(default_factory=list)
    """Sentences for a log."""
    unfinished: bool = False
    """The driver has not done all that it could."""

    @property
    def more(self) -> bool:
        """Whether to ask for the next ones at once: these, or what is applied with the next, may bring about others.
        Messages and answers do not, and neither does a write of the core before it ends. Else there are none until
        something happens."""
        return bool(
            self.unfinished
            or self.standing
            or self.greetings
            or self.loads
            or self.handed_over
            or any(isinstance(written, SliceReceipt) for written, _ in self.writes)
        )

    def __bool__(self) -> bool:
        return bool(
            self.writes
            or self.loads
            or self.announce
            or self.messages
            or self.greetings
            or self.resolved
            or self.reads
            or self.handed_over
            or self.standing
            or self.notes
        )
