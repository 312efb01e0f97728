"""What nodes say to each other, as the JSON-compatible dicts that the bus carries.

Four kinds of message exist, and an application wires four channels once: so whatever nodes have to say rides on one
of the four as a field of it.

| event          | payload of the contract | rides on it                                                            |
| -------------- | ----------------------- | ---------------------------------------------------------------------- |
| `voteRequest`  | candidate, term         | `vote`: a request for a vote; `hello`: who asks to be listened to      |
| `voteResponse` | voter, term, granted    | `vote`; `hello`: who answers a hello, with `judged` and `refusal`      |
| `syncData`     | node, term, data        | `append`, whose entries are `data`; `forwarded`: a command's outcome;  |
|                |                         | `handOver`: stand for election now; `readIndex`: the answer;           |
|                |                         | `snapshot`: a piece of one; `join`: whether a process is a member      |
| `dataResponse` | node, term, success     | `append`; `forward`: a command for the leader; `readIndex`: a question;|
|                |                         | `snapshot`: how much of it has arrived; `join`, `leave`: who wants to  |

Each also has `destination` and `timeout`, which is all that a transport needs, and `sender`: which process of which
member of which cluster speaks. Bytes are base64. What a stranger sent is checked here for its shape; what it says is
the core's business.
"""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from raftq_k8s.node.errors import BadMessage
from raftq_k8s.node.events import RaftEvent, RaftNode
from raftq_k8s.node.forwarding import Forward, Forwarded, Outcome
from raftq_k8s.node.transport import Wire
from raftq_k8s.raft.membership import BirthRecord, Hello, Identity, Refusal
from raftq_k8s.raft.messages import (
    AppendEntries,
    AppendResponse,
    Entry,
    EntryKind,
    JoinRequest,
    JoinResponse,
    LeaveRequest,
    ReadIndexRequest,
    ReadIndexResponse,
    SnapshotChunk,
    SnapshotMark,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftq_k8s.raft.types import (
    NO_TRANSFER,
    BootId,
    ClusterId,
    Generation,
    Incarnation,
    Index,
    MemberId,
    Milliseconds,
    Term,
    TransferId,
)

_HIGHEST = 1 << 62
_Count: TypeAlias = Annotated[int, Meta(ge=0, le=_HIGHEST)]
_Transfer: TypeAlias = Annotated[TransferId, Meta(ge=0, le=_HIGHEST)]


class Greeting(msgspec.Struct, frozen=True):
    """A hello that asks for an answer."""

    hello: Hello


class Verdict(msgspec.Struct, frozen=True):
    """The answer to a hello: one's own, and whether the other is listened to."""

    hello: Hello
    judged: Identity
    """The process that this is said of: under its name there may be another one by now."""
    refusal: Refusal | None


Spoken: TypeAlias = Wire | Greeting | Verdict


class _Part(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    pass


class _Sender(_Part, frozen=True):
    cluster: ClusterId | None
    incarnation: Incarnation
    generation: Annotated[Generation, Meta(ge=0, le=_HIGHEST)]
    boot: BootId


class _HelloPart(_Part, frozen=True):
    protocol_min: _Count
    protocol_max: _Count
    birth: BirthRecord | None
    http_address: str
    term: _Count = 0
    vote: MemberId | None = None
    last_index: _Count = 0
    full: bool = False


class _VoteAsked(_Part, frozen=True):
    incarnation: Incarnation
    last_index: _Count
    last_term: _Count
    pre_vote: bool
    transfer: _Transfer = NO_TRANSFER


class _VoteAnswered(_Part, frozen=True):
    pre_vote: bool
    window_left: Milliseconds


class _AppendAsked(_Part, frozen=True):
    round: _Count
    previous_index: _Count
    previous_term: _Count
    commit: _Count
    cancelled: _Transfer = NO_TRANSFER


class _AppendAnswered(_Part, frozen=True):
    round: _Count
    index: _Count
    hint_index: _Count
    hint_term: _Count
    window: Milliseconds


class _ForwardPart(_Part, frozen=True):
    ticket: _Count
    command: bytes


class _ForwardedPart(_Part, frozen=True):
    ticket: _Count
    outcome: Outcome


class _HandOver(_Part, frozen=True):
    transfer: _Transfer


class _MembershipAsked(_Part, frozen=True):
    incarnation: Incarnation


class _JoinAnswered(_Part, frozen=True):
    incarnation: Incarnation
    granted: bool
    leader: MemberId | None
    reason: str


class _ReadAsked(_Part, frozen=True):
    ticket: _Count


class _ReadAnswered(_Part, frozen=True):
    ticket: _Count
    granted: bool
    index: _Count


class _SnapshotPiece(_Part, frozen=True):
    round: _Count
    mark: SnapshotMark
    offset: _Count
    data: bytes
    cancelled: _Transfer = NO_TRANSFER


class _SnapshotAnswered(_Part, frozen=True):
    round: _Count
    index: _Count
    offset: _Count
    installed: bool
    window: Milliseconds


class _Envelope(_Part, frozen=True, kw_only=True):
    destination: RaftNode
    timeout: Milliseconds
    sender: _Sender
    term: _Count


class _VoteRequest(_Envelope, frozen=True, kw_only=True):
    candidate: MemberId
    vote: _VoteAsked | None = None
    hello: _HelloPart | None = None


class _VoteResponse(_Envelope, frozen=True, kw_only=True):
    voter: MemberId
    granted: bool
    vote: _VoteAnswered | None = None
    hello: _HelloPart | None = None
    judged: _Sender | None = None
    refusal: Refusal | None = None


class _SyncData(_Envelope, frozen=True, kw_only=True):
    node: MemberId
    data: list[tuple[Annotated[Term, Meta(ge=0, le=_HIGHEST)], EntryKind, bytes]]
    """The entries after the previous one: term, kind, command."""
    append: _AppendAsked | None = None
    forwarded: _ForwardedPart | None = None
    hand_over: _HandOver | None = None
    read_index: _ReadAnswered | None = None
    snapshot: _SnapshotPiece | None = None
    join: _JoinAnswered | None = None


class _DataResponse(_Envelope, frozen=True, kw_only=True):
    node: MemberId
    success: bool
    append: _AppendAnswered | None = None
    forward: _ForwardPart | None = None
    read_index: _ReadAsked | None = None
    snapshot: _SnapshotAnswered | None = None
    join: _MembershipAsked | None = None
    leave: _MembershipAsked | None = None


_PAYLOADS: dict[RaftEvent, type[_VoteRequest | _VoteResponse | _SyncData | _DataResponse]] = {
    RaftEvent.VOTE_REQUEST: _VoteRequest,
    RaftEvent.VOTE_RESPONSE: _VoteResponse,
    RaftEvent.SYNC_DATA: _SyncData,
    RaftEvent.DATA_RESPONSE: _DataResponse,
}


def encode(
    sender: Identity, spoken: Spoken, term: Term, destination: RaftNode, timeout_ms: Milliseconds
) -> tuple[RaftEvent, dict[str, object]]:
    """`term` is the sender's; a message of the core says its own instead."""
    event, payload = _payload(sender, spoken, term, destination, timeout_ms)
    message: dict[str, object] = msgspec.to_builtins(payload)
    return event, message


def _payload(
    sender: Identity, spoken: Spoken, term: Term, destination: RaftNode, timeout: Milliseconds
) -> tuple[RaftEvent, _Envelope]:
    me = sender.member
    who = _of_process(sender)
    match spoken:
        case VoteRequest(term=own, incarnation=incarnation, last_index=index, last_term=last, pre_vote=pre_vote):
            asked = _VoteAsked(incarnation, index, last, pre_vote, spoken.transfer)
            return RaftEvent.VOTE_REQUEST, _VoteRequest(
                destination=destination, timeout=timeout, sender=who, term=own, candidate=me, vote=asked
            )
        case Greeting(hello):
            return RaftEvent.VOTE_REQUEST, _VoteRequest(
                destination=destination, timeout=timeout, sender=who, term=term, candidate=me, hello=_of_hello(hello)
            )
        case VoteResponse(term=own, granted=granted, pre_vote=pre_vote, window_left=window_left):
            return RaftEvent.VOTE_RESPONSE, _VoteResponse(
                destination=destination,
                timeout=timeout,
                sender=who,
                term=own,
                voter=me,
                granted=granted,
                vote=_VoteAnswered(pre_vote, window_left),
            )
        case Verdict(hello, judged, refusal):
            return RaftEvent.VOTE_RESPONSE, _VoteResponse(
                destination=destination,
                timeout=timeout,
                sender=who,
                term=term,
                voter=me,
                granted=refusal is None,
                hello=_of_hello(hello),
                judged=_of_process(judged),
                refusal=refusal,
            )
        case AppendEntries(term=own, entries=entries):
            return RaftEvent.SYNC_DATA, _SyncData(
                destination=destination,
                timeout=timeout,
                sender=who,
                term=own,
                node=me,
                data=[(entry.term, entry.kind, entry.command) for entry in entries],
                append=_AppendAsked(
                    spoken.round, spoken.previous_index, spoken.previous_term, spoken.commit, spoken.cancelled
                ),
            )
        case Forwarded(ticket=ticket, outcome=outcome):
            return RaftEvent.SYNC_DATA, _SyncData(
                destination=destination,
                timeout=timeout,
                sender=who,
                term=term,
                node=me,
                data=[],
                forwarded=_ForwardedPart(ticket, outcome),
            )
        case TimeoutNow(term=own, transfer=transfer):
            return RaftEvent.SYNC_DATA, _SyncData(
                destination=destination,
                timeout=timeout,
                sender=who,
                term=own,
                node=me,
                data=[],
                hand_over=_HandOver(transfer),
            )
        case ReadIndexResponse(term=own, ticket=ticket, granted=granted, index=index):
            return RaftEvent.SYNC_DATA, _SyncData(
                destination=destination,
                timeout=timeout,
                sender=who,
                term=own,
                node=me,
                data=[],
                read_index=_ReadAnswered(ticket, granted, index),
            )
        case SnapshotChunk(term=own):
            return RaftEvent.SYNC_DATA, _SyncData(
                destination=destination,
                timeout=timeout,
                sender=who,
                term=own,
                node=me,
                data=[],
                snapshot=_SnapshotPiece(spoken.round, spoken.mark, spoken.offset, spoken.data, spoken.cancelled),
            )
        case JoinResponse(term=own):
            return RaftEvent.SYNC_DATA, _SyncData(
                destination=destination,
                timeout=timeout,
                sender=who,
                term=own,
                node=me,
                data=[],
                join=_JoinAnswered(spoken.incarnation, spoken.granted, spoken.leader, spoken.reason),
            )
        case JoinRequest(term=own, incarnation=incarnation):
            return RaftEvent.DATA_RESPONSE, _DataResponse(
                destination=destination,
                timeout=timeout,
                sender=who,
                term=own,
                node=me,
                success=True,
                join=_MembershipAsked(incarnation),
            )
        case LeaveRequest(term=own, incarnation=incarnation):
            return RaftEvent.DATA_RESPONSE, _DataResponse(
                destination=destination,
                timeout=timeout,
                sender=who,
                term=own,
                node=me,
                success=True,
                leave=_MembershipAsked(incarnation),
            )
        case AppendResponse(term=own, success=success):
            return RaftEvent.DATA_RESPONSE, _DataResponse(
                destination=destination,
                timeout=timeout,
                sender=who,
                term=own,
                node=me,
                success=success,
                append=_AppendAnswered(spoken.round, spoken.index, spoken.hint_index, spoken.hint_term, spoken.window),
            )
        case Forward(ticket=ticket, command=command):
            return RaftEvent.DATA_RESPONSE, _DataResponse(
                destination=destination,
                timeout=timeout,
                sender=who,
                term=term,
                node=me,
                success=True,
                forward=_ForwardPart(ticket, command),
            )
        case ReadIndexRequest(term=own, ticket=ticket):
            return RaftEvent.DATA_RESPONSE, _DataResponse(
                destination=destination,
                timeout=timeout,
                sender=who,
                term=own,
                node=me,
                success=True,
                read_index=_ReadAsked(ticket),
            )
        case SnapshotResponse(term=own, installed=installed):
            return RaftEvent.DATA_RESPONSE, _DataResponse(
                destination=destination,
                timeout=timeout,
                sender=who,
                term=own,
                node=me,
                success=installed,
                snapshot=_SnapshotAnswered(spoken.round, spoken.index, spoken.offset, installed, spoken.window),
            )


def _of_process(process: Identity) -> _Sender:
    return _Sender(process.cluster, process.incarnation, process.generation, process.boot)


def _of_hello(hello: Hello) -> _HelloPart:
    return _HelloPart(
        hello.protocol_min,
        hello.protocol_max,
        hello.birth,
        hello.http_address,
        hello.term,
        hello.vote,
        hello.last_index,
        hello.full,
    )


def decode(event: RaftEvent, message: object) -> tuple[Identity, MemberId, Spoken]:
    """Who speaks, to whom, and what. Raises `BadMessage`, also for what no frame and no volume could hold: JSON has
    integers of any length, and halves of characters."""
    try:
        payload = msgspec.convert(message, _PAYLOADS[event])
        msgspec.msgpack.encode(payload)
    except (msgspec.ValidationError, ValueError, OverflowError, RecursionError) as error:
        raise BadMessage(f"not a message of {event}: {error}") from None
    destination = payload.destination.id
    sender = _to_process(_speaker(payload), payload.sender)
    return sender, destination, _spoken(sender, destination, payload)


def _speaker(payload: _VoteRequest | _VoteResponse | _SyncData | _DataResponse) -> MemberId:
    match payload:
        case _VoteRequest():
            return payload.candidate
        case _VoteResponse():
            return payload.voter
        case _SyncData() | _DataResponse():
            return payload.node


def _spoken(
    sender: Identity, me: MemberId, payload: _VoteRequest | _VoteResponse | _SyncData | _DataResponse
) -> Spoken:
    name, term = sender.member, Term(payload.term)
    match payload:
        case _VoteRequest(vote=_VoteAsked() as asked):
            return VoteRequest(
                name,
                me,
                term,
                asked.incarnation,
                Index(asked.last_index),
                Term(asked.last_term),
                asked.pre_vote,
                asked.transfer,
            )
        case _VoteRequest(hello=_HelloPart() as hello):
            return Greeting(_to_hello(sender, hello))
        case _VoteResponse(vote=_VoteAnswered() as answered):
            return VoteResponse(name, me, term, payload.granted, answered.pre_vote, answered.window_left)
        case _VoteResponse(hello=_HelloPart() as hello, judged=_Sender() as judged):
            return Verdict(_to_hello(sender, hello), _to_process(me, judged), payload.refusal)
        case _SyncData(append=_AppendAsked() as append):
            first = append.previous_index + 1
            entries = tuple(
                Entry(Index(first + offset), entry_term, kind, command)
                for offset, (entry_term, kind, command) in enumerate(payload.data)
            )
            return AppendEntries(
                name,
                me,
                term,
                append.round,
                Index(append.previous_index),
                Term(append.previous_term),
                Index(append.commit),
                entries,
                append.cancelled,
            )
        case _SyncData(forwarded=_ForwardedPart() as forwarded):
            return Forwarded(name, me, forwarded.ticket, forwarded.outcome)
        case _SyncData(hand_over=_HandOver(transfer)):
            return TimeoutNow(name, me, term, transfer)
        case _SyncData(read_index=_ReadAnswered() as read):
            return ReadIndexResponse(name, me, term, read.ticket, read.granted, Index(read.index))
        case _SyncData(snapshot=_SnapshotPiece() as piece):
            return SnapshotChunk(name, me, term, piece.round, piece.mark, piece.offset, piece.data, piece.cancelled)
        case _DataResponse(append=_AppendAnswered() as appended):
            return AppendResponse(
                name,
                me,
                term,
                appended.round,
                payload.success,
                Index(appended.index),
                Index(appended.hint_index),
                Term(appended.hint_term),
                appended.window,
            )
        case _DataResponse(forward=_ForwardPart() as forward):
            return Forward(name, me, forward.ticket, forward.command)
        case _DataResponse(read_index=_ReadAsked(ticket)):
            return ReadIndexRequest(name, me, term, ticket)
        case _SyncData(join=_JoinAnswered() as join):
            return JoinResponse(name, me, term, join.incarnation, join.granted, join.leader, join.reason)
        case _DataResponse(join=_MembershipAsked(incarnation)):
            return JoinRequest(name, me, term, incarnation)
        case _DataResponse(leave=_MembershipAsked(incarnation)):
            return LeaveRequest(name, me, term, incarnation)
        case _DataResponse(snapshot=_SnapshotAnswered() as got):
            return SnapshotResponse(name, me, term, got.round, Index(got.index), got.offset, got.installed, got.window)
        case _:
            raise BadMessage(f"a message of {sender.member} that carries nothing known")


def _to_process(name: MemberId, part: _Sender) -> Identity:
    return Identity(part.cluster, name, part.incarnation, part.generation, part.boot)


def _to_hello(sender: Identity, part: _HelloPart) -> Hello:
    return Hello(
        part.protocol_min,
        part.protocol_max,
        sender,
        part.birth,
        part.http_address,
        Term(part.term),
        part.vote,
        Index(part.last_index),
        part.full,
    )
