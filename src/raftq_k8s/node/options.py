"""The options of a `Raftq`, and what follows from them for the core and for the size of a command."""

import msgspec

from raftq_k8s.node.persist_agent import PersistAgent
from raftq_k8s.node.snapshots import BOUNDS, SnapshotBounds
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import Milliseconds

_ENVELOPE_BYTES = 1024
"""What a message says around the commands that it carries: names, positions, who sends it."""

_SMALLEST_MESSAGE = 4096

_PERSISTED_LOG = SnapshotBounds(after_bytes=1 << 16, after_entries=256)
_PERSISTED_BEHIND_A_SNAPSHOT = 64
"""Entries. A persist agent is given everything each time, so all of it is cut short."""


class RaftqOptions(msgspec.Struct, frozen=True):
    """Times in milliseconds; the defaults are the contract's."""

    heartbeat: Milliseconds = 100
    minimum_election_time: Milliseconds = 200
    maximum_election_time: Milliseconds = 800
    persist_agent: PersistAgent | None = None
    """Keeps this node's state, instead of a volume: for documents of some hundred kilobytes at the most."""
    bootstrap: bool = False
    """Found the cluster, of this node and of those acknowledged before `serviceStarted`. On exactly one node; ignored
    where the volume holds a cluster already."""
    max_voters: int = 5
    """Further members learn, and stand ready. The same on every node, for whoever leads goes by its own."""
    replace_dead_after: Milliseconds | None = None
    """When a voter was silent for so long, a member that only learnt takes its place; `None`: never."""
    max_message_bytes: int = 65536
    """The longest message, encoded. A command that does not fit one is refused as `TooLarge`."""

    def __post_init__(self) -> None:
        if self.max_message_bytes < _SMALLEST_MESSAGE:
            raise ValueError(f"max_message_bytes must be at least {_SMALLEST_MESSAGE}, not {self.max_message_bytes}")


class Sizing(msgspec.Struct, frozen=True):
    """What one kind of transport asks of the core."""

    settings: Settings
    largest_command: int


def for_stream(options: RaftqOptions) -> Sizing:
    """For a transport of binary frames that keeps their order: many appends under way, commands as they are."""
    return Sizing(_settings(options), options.max_message_bytes - _ENVELOPE_BYTES)


def for_bus(options: RaftqOptions) -> Sizing:
    """For the bus: one append under way, because messages may overtake each other, and commands grow by base64 to four
    thirds. Of an append of many small commands the JSON around each is most, hence a quarter for those. A piece of a
    snapshot brings along who belonged to the cluster, hence half."""
    room = options.max_message_bytes - _ENVELOPE_BYTES
    settings = msgspec.structs.replace(
        _settings(options), max_append_bytes=room // 4, max_inflight=1, max_chunk_bytes=room // 2
    )
    return Sizing(settings, room // 4 * 3)


def snapshot_bounds(options: RaftqOptions) -> SnapshotBounds:
    return BOUNDS if options.persist_agent is None else _PERSISTED_LOG


def _settings(options: RaftqOptions) -> Settings:
    return Settings(
        heartbeat=options.heartbeat,
        minimum_election=options.minimum_election_time,
        maximum_election=options.maximum_election_time,
        kept_entries=Settings().kept_entries if options.persist_agent is None else _PERSISTED_BEHIND_A_SNAPSHOT,
        max_voters=options.max_voters,
        replace_dead_after=options.replace_dead_after,
    )
