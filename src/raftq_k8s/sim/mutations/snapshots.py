"""The state in place of the log that made it."""

from collections.abc import Iterator
from typing import Any

import msgspec

from raftq_k8s.raft import lease, snapshots
from raftq_k8s.raft.consensus import Consensus
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.membership import Membership
from raftq_k8s.raft.messages import SnapshotChunk, SnapshotResponse
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.types import Index, Instant
from raftq_k8s.sim.mutations.mutation import Mutation
from raftq_k8s.sim.mutations.provoking import doubled_snapshots
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.state.snapshot import Frozen, Restoring


def _acknowledge_at_once(core: Core, chunk: SnapshotChunk, size: int, *, installed: bool) -> None:
    core.send(
        SnapshotResponse(
            core.me, chunk.source, core.term, chunk.round, chunk.mark.index, size, installed, core.settings.window
        )
    )


def _take_any(core: Core, chunk: SnapshotChunk, now: Instant) -> None:
    """Without a look at what is committed here already."""
    if chunk.term < core.term or isinstance(core.role, Leader):
        return
    core.follow(chunk.term, chunk.source, now)
    core.note_cancelled(chunk.term, chunk.cancelled)
    lease.heard_leader(core, now)
    receiving = snapshots._receiving(core, chunk) if core.piece is None else None
    if receiving is None:
        return
    if chunk.offset != receiving.size:
        snapshots._answer(core, chunk, receiving.size, installed=False)
        return
    receiving.add(chunk.data)
    snapshots._take(core, chunk, receiving)


_open_sessions = Frozen._open_sessions


def _without_replies(self: Frozen) -> Iterator[Any]:
    for frame in _open_sessions(self):
        sessions = [msgspec.structs.replace(session, replies=()) for session in frame.sessions]
        yield msgspec.structs.replace(frame, sessions=sessions)


def _latest(self: Consensus, index: Index) -> Membership:
    return self.membership


_install = StateMachine.install


def _keep_the_sessions(self: StateMachine, restoring: Restoring) -> None:
    sessions = self.sessions
    _install(self, restoring)
    self.sessions = sessions


_LAGGARDS = ("crash", "partition", "slow-network", "lossy")

MUTATIONS = (
    Mutation(
        "snapshot-rewinds",
        "5",
        "a snapshot is installed though more is committed already",
        ((snapshots, "on_snapshot_chunk", _take_any),),
        ("crash", "pause", "break"),
        2.0,
        doubled_snapshots,
    ),
    Mutation(
        "snapshot-acknowledged-unsealed",
        "6",
        "a snapshot is acknowledged before it is sealed and synced",
        ((snapshots, "_answer", _acknowledge_at_once),),
        _LAGGARDS,
        2.0,
    ),
    Mutation(
        "replies-not-in-snapshot",
        "9",
        "a snapshot forgets the replies of sessions",
        ((Frozen, "_open_sessions", _without_replies),),
        ("crash", "partition", "break"),
        2.0,
    ),
    Mutation(
        "sessions-not-restored",
        "5",
        "a state that is restored keeps the sessions that it had",
        ((StateMachine, "install", _keep_the_sessions),),
        ("crash", "partition"),
    ),
    Mutation(
        "snapshot-of-later-members",
        "3",
        "a snapshot tells of the members of now, not of those at its index",
        ((Consensus, "membership_at", _latest),),
        ("join", "leave", "replace-voters", "slow-disk"),
        3.0,
    ),
)
