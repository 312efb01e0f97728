"""How fast, how much. Every length of time that the protocol knows follows from three of these numbers."""

import msgspec

from raftq_k8s.raft.types import Milliseconds
from raftq_k8s.raft.versions import SPOKEN, Versions


class Settings(msgspec.Struct, frozen=True):
    """Times in milliseconds. Raises `ValueError` for numbers with which no leader could keep its followers quiet."""

    heartbeat: Milliseconds = 100.0
    minimum_election: Milliseconds = 200.0
    maximum_election: Milliseconds = 800.0
    max_append_bytes: int = 1 << 18
    """Of entries in one append; a single larger one still travels, alone."""
    max_inflight: int = 64
    """Appends with entries that a peer has not answered yet. 1 for a transport that reorders."""
    max_uncommitted_bytes: int = 1 << 26
    """Proposed and not committed yet; beyond it proposals are refused as `Overloaded`."""

    max_inflight_bytes: int = 1 << 22
    """Of entries that a peer has not answered yet; the last of them may pass it."""
    max_chunk_bytes: int = 1 << 16
    """Of a snapshot, in one message."""
    tail_bytes: int = 1 << 22
    """Of applied entries, so many are kept in memory for slow peers; older ones are loaded from the volume."""
    kept_entries: int = 1024
    """So many that a snapshot covers stay in the log, for peers that lack a little."""
    max_voters: int = 5
    """Further members stay learners."""
    silent_for: Milliseconds = 10_000.0
    """So long a member must have been silent before a namesake with another volume may take its place."""
    replace_dead_after: Milliseconds | None = None
    """When a voter has been silent for so long, a learner that has caught up takes its place; `None`: it may come
    back."""
    versions: Versions = SPOKEN
    """Of what this node can say and read."""

    def __post_init__(self) -> None:
        if self.heartbeat <= 0:
            raise ValueError(f"the heartbeat must be longer than 0 ms, not {self.heartbeat:g}")
        if self.minimum_election < 2 * self.heartbeat:
            raise ValueError(
                f"the minimum election time ({self.minimum_election:g} ms) must be at least two heartbeats "
                f"({2 * self.heartbeat:g} ms), or a single late message deposes a healthy leader"
            )
        if self.maximum_election <= self.minimum_election:
            raise ValueError(
                f"the maximum election time ({self.maximum_election:g} ms) must be longer than the minimum "
                f"({self.minimum_election:g} ms), or candidates collide again and again"
            )
        bounds = (
            self.max_append_bytes,
            self.max_inflight,
            self.max_uncommitted_bytes,
            self.max_inflight_bytes,
            self.max_chunk_bytes,
        )
        if min(bounds) < 1:
            raise ValueError("bounds of bytes and messages must be at least 1")
        if min(self.tail_bytes, self.kept_entries) < 0:
            raise ValueError("what is kept of the log, in memory and behind a snapshot, is not less than nothing")
        if self.max_voters < 1 or min(self.silent_for, self.replace_dead_after or 0.0) < 0:
            raise ValueError("somebody must vote, and nobody can have been silent for less than no time")
        if not 0 < self.versions.oldest <= self.versions.newest:
            raise ValueError(f"versions must go from an older to a newer one, not {self.versions}")

    @property
    def window(self) -> Milliseconds:
        """How long a voter refuses votes after it heard a leader."""
        return self.minimum_election

    @property
    def round_interval(self) -> Milliseconds:
        """How often a leader is heard at the least: often enough that a window survives three lost rounds."""
        return min(self.heartbeat, self.minimum_election / 4)
