"""`dataResponse`: what is said to a leader, be it an answer or a request of one's own.

The contract's `success` is the answer in short: whether an append matched, whether a snapshot is installed; a request
has it true. What a leader says is `syncData` (`bus_sync_data`). What any of it means is the core's business, and for a
forwarded command that of `forwarding`.
"""

from typing import TypeAlias

from raftq_k8s.node.bus_envelope import AnyIndex, AnyTerm, Count, Part
from raftq_k8s.node.forwarding import Forward
from raftq_k8s.raft.membership import Identity
from raftq_k8s.raft.messages import AppendResponse, JoinRequest, LeaveRequest, ReadIndexRequest, SnapshotResponse
from raftq_k8s.raft.types import Incarnation, MemberId, Milliseconds, Term

SaidToLeader: TypeAlias = AppendResponse | Forward | ReadIndexRequest | SnapshotResponse | JoinRequest | LeaveRequest


class _AppendAnswered(Part, frozen=True):
    round: Count
    index: AnyIndex
    hint_index: AnyIndex
    hint_term: AnyTerm
    window: Milliseconds


class _ForwardAsked(Part, frozen=True):
    ticket: Count
    command: bytes


class _ReadAsked(Part, frozen=True):
    ticket: Count


class _SnapshotAnswered(Part, frozen=True):
    round: Count
    index: AnyIndex
    offset: Count
    installed: bool
    window: Milliseconds


class _MembershipAsked(Part, frozen=True):
    incarnation: Incarnation


class DataResponseBody(Part, frozen=True):
    node: MemberId
    success: bool
    append: _AppendAnswered | None = None
    forward: _ForwardAsked | None = None
    read_index: _ReadAsked | None = None
    snapshot: _SnapshotAnswered | None = None
    join: _MembershipAsked | None = None
    leave: _MembershipAsked | None = None

    @classmethod
    def of(cls, me: MemberId, spoken: SaidToLeader) -> "DataResponseBody":
        match spoken:
            case AppendResponse(round=round_, success=success, index=index, hint_index=hint, hint_term=hint_term):
                return cls(me, success, append=_AppendAnswered(round_, index, hint, hint_term, spoken.window))
            case Forward(ticket=ticket, command=command):
                return cls(me, True, forward=_ForwardAsked(ticket, command))
            case ReadIndexRequest(ticket=ticket):
                return cls(me, True, read_index=_ReadAsked(ticket))
            case SnapshotResponse(round=round_, index=index, offset=offset, installed=installed, window=window):
                return cls(me, installed, snapshot=_SnapshotAnswered(round_, index, offset, installed, window))
            case JoinRequest(incarnation=incarnation):
                return cls(me, True, join=_MembershipAsked(incarnation))
            case LeaveRequest(incarnation=incarnation):
                return cls(me, True, leave=_MembershipAsked(incarnation))

    @property
    def speaker(self) -> MemberId:
        return self.node

    def spoken(self, sender: Identity, me: MemberId, term: Term) -> SaidToLeader | None:
        name = sender.member
        if (append := self.append) is not None:
            return AppendResponse(
                name,
                me,
                term,
                append.round,
                self.success,
                append.index,
                append.hint_index,
                append.hint_term,
                append.window,
            )
        if (forward := self.forward) is not None:
            return Forward(name, me, forward.ticket, forward.command)
        if self.read_index is not None:
            return ReadIndexRequest(name, me, term, self.read_index.ticket)
        if self.join is not None:
            return JoinRequest(name, me, term, self.join.incarnation)
        if self.leave is not None:
            return LeaveRequest(name, me, term, self.leave.incarnation)
        if (got := self.snapshot) is not None:
            return SnapshotResponse(name, me, term, got.round, got.index, got.offset, got.installed, got.window)
        return None
