"""What a state becomes when the log is cut."""

from raftq_k8s.node.actions import Loaded, SliceWanted
from raftq_k8s.node.forwarding import Refused
from raftq_k8s.node.snapshots import Snapshots
from raftq_k8s.node.submissions import Submissions
from raftq_k8s.raft import snapshots
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.membership import Membership
from raftq_k8s.raft.messages import SnapshotChunk, SnapshotMark, SnapshotResponse
from raftq_k8s.raft.partial_snapshot import PartialSnapshot
from raftq_k8s.raft.persistence import SnapshotPart
from raftq_k8s.raft.types import Index, Instant, Term
from raftq_k8s.sim.mutations.mutation import Mutation
from raftq_k8s.sim.mutations.provoking import snapshots_come_twice

_on_snapshot_chunk = snapshots.on_snapshot_chunk


def _take_any(core: Core, chunk: SnapshotChunk, now: Instant) -> None:
    whole = PartialSnapshot(chunk.mark, chunk.term)
    whole.add(chunk.data)
    if core.term == chunk.term and whole.is_complete and chunk.mark.index <= core.commit and core.piece is None:
        core.install(SnapshotPart(chunk.mark.index, 0, chunk.data), chunk.mark)
    else:
        _on_snapshot_chunk(core, chunk, now)


def _answer_at_once(core: Core, chunk: SnapshotChunk, size: int, *, installed: bool) -> None:
    window = core.settings.window
    core.send(
        SnapshotResponse(
            core.me, chunk.source, core.term, chunk.round, chunk.mark.index, size, installed=installed, window=window
        )
    )


_take = Snapshots.take


def _called_too_low(self: Snapshots, index: Index, term: Term, membership: Membership) -> None:
    _take(self, Index(index - 1), term, membership)


def _never_installed(self: Snapshots, wanted: SliceWanted, data: Loaded) -> SnapshotMark | None:
    restoring, self._restoring = self._restoring, None
    return restoring.mark if restoring is not None else None


def _covered_is_refused(self: Submissions, index: Index) -> None:
    for proposed in [proposed for proposed in self._proposed if proposed <= index]:
        for proposal in self._proposed.pop(proposed):
            self.resolve(proposal.origin, Refused("not-leader"))


MUTATIONS = (
    Mutation(
        "snapshot-rewinds",
        "5",
        "a follower takes a snapshot that it is beyond",
        ((snapshots, "on_snapshot_chunk", _take_any),),
        ("lossy", "partition"),
        3.0,
        snapshots_come_twice,
    ),
    Mutation(
        "snapshot-called-too-low",
        "5",
        "a snapshot says that it covers one entry less than it does",
        ((Snapshots, "take", _called_too_low),),
    ),
    Mutation(
        "state-not-restored",
        "5",
        "a snapshot counts as restored, and the state is as it was",
        ((Snapshots, "loaded", _never_installed),),
    ),
    Mutation(
        "installed-before-synced",
        "6",
        "a snapshot is called installed before it is on the disk",
        ((snapshots, "_answer", _answer_at_once),),
    ),
    Mutation(
        "covered-is-refused",
        "9",
        "a proposal that a snapshot covers is taken for lost",
        ((Submissions, "covered", _covered_is_refused),),
        ("one-way", "partition", "pause", "freeze"),
        2.0,
    ),
)
