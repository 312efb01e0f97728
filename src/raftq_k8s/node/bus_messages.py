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

A message is an envelope and a body in one dict. Which body, and so which of the four events, is decided here; what an
envelope holds is told by `bus_envelope`, what the bodies hold by `bus_votes`, `bus_sync_data` and `bus_data_response`.
What a stranger sent is checked here for its shape; what it says is the core's business.
"""

from typing import TypeAlias

import msgspec

from raftq_k8s.node.bus_data_response import DataResponseBody
from raftq_k8s.node.bus_envelope import Envelope, Process
from raftq_k8s.node.bus_greetings import Greeting, Verdict
from raftq_k8s.node.bus_sync_data import SyncDataBody
from raftq_k8s.node.bus_votes import VoteRequestBody, VoteResponseBody
from raftq_k8s.node.errors import BadMessage
from raftq_k8s.node.events import RaftEvent, RaftNode
from raftq_k8s.node.forwarding import Forward, Forwarded
from raftq_k8s.node.transport import Wire
from raftq_k8s.raft.membership import Identity
from raftq_k8s.raft.messages import (
    AppendEntries,
    AppendResponse,
    JoinRequest,
    JoinResponse,
    LeaveRequest,
    ReadIndexRequest,
    ReadIndexResponse,
    SnapshotChunk,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftq_k8s.raft.types import MemberId, Milliseconds, Term

Spoken: TypeAlias = Wire | Greeting | Verdict

_Body: TypeAlias = VoteRequestBody | VoteResponseBody | SyncDataBody | DataResponseBody

_BODIES: dict[RaftEvent, type[_Body]] = {
    RaftEvent.VOTE_REQUEST: VoteRequestBody,
    RaftEvent.VOTE_RESPONSE: VoteResponseBody,
    RaftEvent.SYNC_DATA: SyncDataBody,
    RaftEvent.DATA_RESPONSE: DataResponseBody,
}


def encode(
    sender: Identity, spoken: Spoken, term: Term, destination: RaftNode, timeout_ms: Milliseconds
) -> tuple[RaftEvent, dict[str, object]]:
    """`term` is the sender's; a message of the core says its own instead."""
    envelope = Envelope(destination, timeout_ms, Process.of(sender), _term_of(spoken, term))
    event, body = _body(sender.member, spoken)
    return event, {**msgspec.to_builtins(envelope), **msgspec.to_builtins(body)}


def _term_of(spoken: Spoken, senders: Term) -> Term:
    match spoken:
        case Greeting() | Verdict() | Forward() | Forwarded():
            return senders
        case _:
            return spoken.term


def _body(me: MemberId, spoken: Spoken) -> tuple[RaftEvent, _Body]:
    match spoken:
        case VoteRequest() | Greeting():
            return RaftEvent.VOTE_REQUEST, VoteRequestBody.of(me, spoken)
        case VoteResponse() | Verdict():
            return RaftEvent.VOTE_RESPONSE, VoteResponseBody.of(me, spoken)
        case AppendEntries() | Forwarded() | TimeoutNow() | ReadIndexResponse() | SnapshotChunk() | JoinResponse():
            return RaftEvent.SYNC_DATA, SyncDataBody.of(me, spoken)
        case AppendResponse() | Forward() | ReadIndexRequest() | SnapshotResponse() | JoinRequest() | LeaveRequest():
            return RaftEvent.DATA_RESPONSE, DataResponseBody.of(me, spoken)


def decode(event: RaftEvent, message: object) -> tuple[Identity, MemberId, Spoken]:
    """Who speaks, to whom, and what. Raises `BadMessage`, also for what no frame and no volume could hold: JSON has
    integers of any length, and halves of characters."""
    try:
        envelope, body = msgspec.convert(message, Envelope), msgspec.convert(message, _BODIES[event])
        msgspec.msgpack.encode((envelope, body))
    except (msgspec.ValidationError, ValueError, OverflowError, RecursionError) as error:
        raise BadMessage(f"not a message of {event}: {error}") from None
    sender, destination = envelope.sender.identity(body.speaker), envelope.destination.id
    spoken = body.spoken(sender, destination, envelope.term)
    if spoken is None:
        raise BadMessage(f"a message of {sender.member} that carries nothing known")
    return sender, destination, spoken
