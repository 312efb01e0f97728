"""Snapshots: how a peer gets what the log does not tell any more (paper §7, dissertation chapter 5).

A leader whose log begins after what a peer lacks sends it the state instead, as its own volume holds it: a *snapshot*,
with a mark that says up to which entry it goes. It travels in pieces, each asked of the leader's volume when the peer
has answered the one before: so a snapshot of any size takes the memory of one piece, and delays a heartbeat by no more
than one. Rounds go on meanwhile, with empty appends that end where the snapshot does: their answers renew the lease,
and the first that agrees says that the peer holds all of it, however it came by it.

**The peer says how far it is**, and that is all a leader believes: each answer names the bytes that are on the peer's
stable storage. So a piece may be lost, doubled or late: what does not follow the last one is answered, and otherwise
passed over, and the leader goes on where the peer is. A peer that crashed in the middle begins anew, and one that
changed its leader goes on where it was if the new one sends the same snapshot: replicas that are at one index make the
same bytes. A piece that is not answered within a window is sent again, once the peer was heard again at all; for who is
silent needs no piece. A snapshot that the volume has replaced meanwhile is begun anew as the one that took its place.

**It never goes back.** What a snapshot covers is committed. So a follower whose own log holds the snapshot's last entry
learns from it only that all up to there is committed, and has no use for the bytes; a log that does not hold it, and
has not committed as far, gives way to the snapshot as a whole: what it holds after that point follows another history.
The last piece is written together with the seal and the new beginning of the log, in one transaction, so that a crash
finds either the old log or the snapshot. When that is synced, and not before, the state machine is given the snapshot,
and the leader is told that it is installed.

**A damaged one** (its bytes do not have the checksum of its mark) is thrown away and counted, and begun anew.

A piece is a message of a valid leader: it begins a window and tells of cancelled transfers, as an append does, and its
answer acknowledges the round that it was sent in.
"""

from raftq_k8s.raft import lease
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.messages import SnapshotChunk, SnapshotResponse
from raftq_k8s.raft.output import ChunkWanted
from raftq_k8s.raft.partial_snapshot import PartialSnapshot
from raftq_k8s.raft.persistence import SnapshotPart
from raftq_k8s.raft.progress import Sending
from raftq_k8s.raft.quorum import NEVER
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.types import Instant, MemberId

# -------------------------------------------------------------------------------------------------------------- leaders


def begin(core: Core, leader: Leader, peer: MemberId) -> None:
    """That peer needs entries which this log does not hold any more."""
    assert core.snapshot is not None  # or the log would begin at its first entry
    _want_piece(core, peer, leader.progress[peer].send_snapshot(core.snapshot))


def _want_piece(core: Core, peer: MemberId, sending: Sending) -> None:
    sending.wanted = ChunkWanted(peer, sending.mark.index, sending.offset, core.settings.max_chunk_bytes)
    core.want(sending.wanted)


def send_piece(core: Core, wanted: ChunkWanted, data: bytes | None, now: Instant) -> None:
    """The volume gave what was wanted; `None` where it holds another snapshot by now."""
    leader = core.role
    if not isinstance(leader, Leader) or wanted.peer not in leader.progress:
        return
    sending = leader.progress[wanted.peer].sending
    if sending is None or sending.wanted != wanted:
        return
    sending.wanted = None
    sending.again_at = now + core.settings.window
    if data is None:
        if core.snapshot != sending.mark:
            begin(core, leader, wanted.peer)
        return
    sending.sent_in = leader.round
    if sending.advanced_at == NEVER:
        sending.advanced_at = now
    core.send(
        SnapshotChunk(
            core.me,
            wanted.peer,
            core.term,
            leader.round,
            sending.mark,
            sending.offset,
            data,
            core.cancelled_in_this_term,
        )
    )


def send_again_if_lost(core: Core, leader: Leader, peer: MemberId, now: Instant) -> None:
    sending = leader.progress[peer].sending
    if sending is None or sending.wanted is not None or now < sending.again_at:
        return
    if leader.heard.get(peer, 0) > sending.sent_in:
        _want_piece(core, peer, sending)


def on_snapshot_response(core: Core, response: SnapshotResponse, now: Instant) -> None:
    leader = lease.leader_answered(core, response, response.index, "late-snapshot-response", now)
    if leader is None:
        return
    progress = leader.progress[response.source]
    sending = progress.sending
    if response.installed:
        progress.acknowledged(response.index)
    elif sending is None or sending.mark.index != response.index or sending.offset == response.offset:
        # An answer that tells nothing new was given to a piece that was sent twice: heeding it would double the next.
        core.ignore("late-snapshot-response")
    elif response.offset >= sending.mark.size:
        core.ignore("impossible")
    else:
        if response.offset > sending.offset:
            sending.advanced_at = now
        sending.offset = response.offset
        _want_piece(core, response.source, sending)


def is_sent(core: Core, now: Instant) -> bool:
    """Whether some peer is getting on with this volume's snapshot, which would have to begin anew with another one."""
    if not isinstance(core.role, Leader):
        return False
    return any(
        progress.sending is not None and now < progress.sending.advanced_at + core.settings.maximum_election
        for progress in core.role.progress.values()
    )


# ------------------------------------------------------------------------------------------------------------ followers


def on_snapshot_chunk(core: Core, chunk: SnapshotChunk, now: Instant) -> None:
    if chunk.term < core.term:
        # As with an append of an earlier term: the answer tells its sender, and acknowledges nothing.
        core.send(SnapshotResponse(core.me, chunk.source, core.term, 0, chunk.mark.index, 0, False, 0.0))
        return
    if chunk.term == core.term and isinstance(core.role, Leader):
        core.ignore("impossible")
        return
    core.follow(chunk.term, chunk.source, now)
    core.note_cancelled(chunk.term, chunk.cancelled)
    lease.heard_leader(core, now)

    mark = chunk.mark
    if mark.index <= core.commit or core.log.matches(mark.index, mark.term):
        core.commit = max(core.commit, mark.index)
        _answer(core, chunk, mark.size, installed=True)
        return
    if core.piece is not None:
        core.ignore("snapshot-piece-too-soon")
        return
    receiving = _receiving(core, chunk)
    if receiving is None:
        core.ignore("late-snapshot-piece")
    elif chunk.offset != receiving.size:
        _answer(core, chunk, receiving.size, installed=False)
    else:
        receiving.add(chunk.data)
        _take(core, chunk, receiving)


def _receiving(core: Core, chunk: SnapshotChunk) -> PartialSnapshot | None:
    """The snapshot to which that piece belongs. `None` for one that its own leader has given up for a later one."""
    known = core.receiving
    if known is None or (known.mark != chunk.mark and known.term < chunk.term) or known.mark.index < chunk.mark.index:
        core.receiving = known = PartialSnapshot(chunk.mark, chunk.term)
    if known.mark != chunk.mark:
        return None
    known.term = chunk.term
    return known


def _take(core: Core, chunk: SnapshotChunk, receiving: PartialSnapshot) -> None:
    part = SnapshotPart(chunk.mark.index, chunk.offset, chunk.data)
    if not receiving.is_complete:
        core.piece = part
        _answer(core, chunk, receiving.size, installed=False)
        return
    core.receiving = None
    if receiving.is_intact:
        core.install(part, receiving.mark)
        _answer(core, chunk, receiving.size, installed=True)
    else:
        core.ignore("snapshot-damaged")
        _answer(core, chunk, 0, installed=False)


def _answer(core: Core, chunk: SnapshotChunk, size: int, *, installed: bool) -> None:
    """Once what it says is synced."""
    core.send_after_writes(
        SnapshotResponse(
            core.me,
            chunk.source,
            core.term,
            chunk.round,
            chunk.mark.index,
            size,
            installed,
            core.settings.window,
        )
    )


def is_received(core: Core) -> bool:
    """Whether a snapshot is being put together here that this node still needs: its volume can begin no other one."""
    return core.receiving is not None and core.receiving.mark.index > core.commit
