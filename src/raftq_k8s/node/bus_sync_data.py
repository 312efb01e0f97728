"""`syncData`: what a leader says to the others, and what is answered to those who took a node for the leader.

The contract's `data` are the entries of an append; with all else it is empty. What is said to a leader is
`dataResponse` (`bus_data_response`). What any of it means is the core's business, and for the outcome of a forwarded
command that of `forwarding`.
"""

from typing import TypeAlias

from raftq_k8s.node.bus_envelope import AnyIndex, AnyTerm, AnyTransfer, Count, Part
from raftq_k8s.node.forwarding import Forwarded, Outcome
from raftq_k8s.raft.membership import Identity
from raftq_k8s.raft.messages import (
    AppendEntries,
    Entry,
    EntryKind,
    JoinResponse,
    ReadIndexResponse,
    SnapshotChunk,
    SnapshotMark,
    TimeoutNow,
)
from raftq_k8s.raft.types import NO_TRANSFER, Incarnation, Index, MemberId, Term

SaidByLeader: TypeAlias = AppendEntries | Forwarded | TimeoutNow | ReadIndexResponse | SnapshotChunk | JoinResponse


class _AppendAsked(Part, frozen=True):
    round: Count
    previous_index: AnyIndex
    previous_term: AnyTerm
    commit: AnyIndex
    cancelled: AnyTransfer = NO_TRANSFER


class _ForwardAnswered(Part, frozen=True):
    ticket: Count
    outcome: Outcome


class _HandOver(Part, frozen=True):
    transfer: AnyTransfer


class _ReadAnswered(Part, frozen=True):
    ticket: Count
    granted: bool
    index: AnyIndex


class _SnapshotPiece(Part, frozen=True):
    round: Count
    mark: SnapshotMark
    offset: Count
    data: bytes
    cancelled: AnyTransfer = NO_TRANSFER


class _JoinAnswered(Part, frozen=True):
    incarnation: Incarnation
    granted: bool
    leader: MemberId | None
    reason: str


class SyncDataBody(Part, frozen=True):
    node: MemberId
    data: list[tuple[AnyTerm, EntryKind, bytes]]
    """The entries after the previous one: term, kind, command."""
    append: _AppendAsked | None = None
    forwarded: _ForwardAnswered | None = None
    hand_over: _HandOver | None = None
    read_index: _ReadAnswered | None = None
    snapshot: _SnapshotPiece | None = None
    join: _JoinAnswered | None = None

    @classmethod
    def of(cls, me: MemberId, spoken: SaidByLeader) -> "SyncDataBody":
        match spoken:
            case AppendEntries(round=round_, previous_index=index, previous_term=term, commit=commit):
                data = [(entry.term, entry.kind, entry.command) for entry in spoken.entries]
                return cls(me, data, append=_AppendAsked(round_, index, term, commit, spoken.cancelled))
            case Forwarded(ticket=ticket, outcome=outcome):
                return cls(me, [], forwarded=_ForwardAnswered(ticket, outcome))
            case TimeoutNow(transfer=transfer):
                return cls(me, [], hand_over=_HandOver(transfer))
            case ReadIndexResponse(ticket=ticket, granted=granted, index=index):
                return cls(me, [], read_index=_ReadAnswered(ticket, granted, index))
            case SnapshotChunk(round=round_, mark=mark, offset=offset, data=piece):
                return cls(me, [], snapshot=_SnapshotPiece(round_, mark, offset, piece, spoken.cancelled))
            case JoinResponse(incarnation=incarnation, granted=granted, leader=leader, reason=reason):
                return cls(me, [], join=_JoinAnswered(incarnation, granted, leader, reason))

    @property
    def speaker(self) -> MemberId:
        return self.node

    def spoken(self, sender: Identity, me: MemberId, term: Term) -> SaidByLeader | None:
        name = sender.member
        if (append := self.append) is not None:
            return AppendEntries(
                name,
                me,
                term,
                append.round,
                append.previous_index,
                append.previous_term,
                append.commit,
                self._entries_after(append.previous_index),
                append.cancelled,
            )
        if (forwarded := self.forwarded) is not None:
            return Forwarded(name, me, forwarded.ticket, forwarded.outcome)
        if self.hand_over is not None:
            return TimeoutNow(name, me, term, self.hand_over.transfer)
        if (read := self.read_index) is not None:
            return ReadIndexResponse(name, me, term, read.ticket, read.granted, read.index)
        if (piece := self.snapshot) is not None:
            return SnapshotChunk(name, me, term, piece.round, piece.mark, piece.offset, piece.data, piece.cancelled)
        if (join := self.join) is not None:
            return JoinResponse(name, me, term, join.incarnation, join.granted, join.leader, join.reason)
        return None

    def _entries_after(self, previous: Index) -> tuple[Entry, ...]:
        return tuple(
            Entry(Index(index), term, kind, command)
            for index, (term, kind, command) in enumerate(self.data, previous + 1)
        )
