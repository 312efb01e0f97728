"""What is given to a node at its start and stays; a trace opens with it."""

import msgspec

from raftq_k8s.node.snapshots import BOUNDS, SnapshotBounds
from raftq_k8s.raft.birth import BirthRule
from raftq_k8s.raft.persistence import Restored
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import BootId, ClusterId, Milliseconds


class Node(msgspec.Struct, frozen=True):
    restored: Restored
    boot: BootId
    rule: BirthRule
    cluster: ClusterId
    """The id of a cluster that this node founds, if it does."""
    settings: Settings
    seed: int
    http_address: str
    largest_command: int
    session_time_interval: Milliseconds = 5_000.0
    """So often a leader tells the log how much time has passed, while sessions exist that may expire by it."""
    snapshots: SnapshotBounds = BOUNDS
