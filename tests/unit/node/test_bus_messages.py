"""The dicts of the four channels: the contract's fields are there, and what was said comes out as it went in."""

import json
from typing import Any

import pytest

from raftq_k8s import RaftEvent, RaftNode
from raftq_k8s.node.bus_greetings import Greeting, Verdict
from raftq_k8s.node.bus_messages import Spoken, decode, encode
from raftq_k8s.node.errors import BadMessage
from raftq_k8s.node.forwarding import Forward, Forwarded, Refused, Unknown
from raftq_k8s.raft.membership import BirthRecord, Hello, Identity, Member, Membership, Refusal
from raftq_k8s.raft.messages import (
    AppendEntries,
    AppendResponse,
    Entry,
    EntryKind,
    JoinRequest,
    JoinResponse,
    LeaveRequest,
    SnapshotChunk,
    SnapshotMark,
    SnapshotResponse,
    VoteRequest,
    VoteResponse,
)
from raftq_k8s.raft.types import BootId, ClusterId, Generation, Incarnation, Index, MemberId, Term
from raftq_k8s.state.commands import Applied, NotAnObject, TooBig

A, B = MemberId("a"), MemberId("b")
SENDER = Identity(ClusterId("cluster"), A, Incarnation("volume"), Generation(3), BootId("boot"))
JUDGED = Identity(None, B, Incarnation("theirs"), Generation(2), BootId("their boot"))
BLANK = Identity(None, A, Incarnation("volume"), Generation(1), BootId("boot"))
RECORD = BirthRecord(ClusterId("cluster"), (Member(A, Incarnation("volume")),), Term(1))
MARK = SnapshotMark(Index(7), Term(2), Membership((Member(A, Incarnation("volume")),)), 9, 0xFFFFFFFF)
ENTRIES = (Entry(Index(8), Term(2), EntryKind.NOOP), Entry(Index(9), Term(3), EntryKind.COMMAND, b"\x00\xff"))

SPOKEN: list[tuple[Spoken, str, dict[str, Any]]] = [
    (
        VoteRequest(A, B, Term(3), Incarnation("theirs"), Index(7), Term(2), pre_vote=True),
        "voteRequest",
        {"candidate": "a", "term": 3},
    ),
    (VoteResponse(A, B, Term(3), True, False, 1.5), "voteResponse", {"voter": "a", "term": 3, "granted": True}),
    (
        AppendEntries(A, B, Term(3), 4, Index(7), Term(2), Index(6), ENTRIES),
        "syncData",
        {"node": "a", "term": 3, "data": [[2, 0, ""], [3, 1, "AP8="]]},
    ),
    (
        AppendResponse(A, B, Term(3), 4, False, Index(7), Index(5), Term(1), 200.0),
        "dataResponse",
        {"node": "a", "term": 3, "success": False},
    ),
    (SnapshotChunk(A, B, Term(3), 4, MARK, 5, b"\x00\xff"), "syncData", {"node": "a", "term": 3, "data": []}),
    (
        SnapshotResponse(A, B, Term(3), 4, Index(7), 9, True, 200.0),
        "dataResponse",
        {"node": "a", "term": 3, "success": True},
    ),
    (JoinRequest(A, B, Term(0), Incarnation("volume")), "dataResponse", {"node": "a", "term": 0, "success": True}),
    (LeaveRequest(A, B, Term(3), Incarnation("volume")), "dataResponse", {"node": "a", "term": 3, "success": True}),
    (JoinResponse(A, B, Term(3), Incarnation("theirs"), True, A, ""), "syncData", {"node": "a", "term": 3, "data": []}),
    (JoinResponse(A, B, Term(3), Incarnation("theirs"), False, None, "why"), "syncData", {}),
    (Forward(A, B, 9, b"\x00\xff"), "dataResponse", {"node": "a", "term": 5, "success": True}),
    (Forwarded(A, B, 9, Applied(4, existed=True)), "syncData", {"node": "a", "term": 5, "data": []}),
    (Forwarded(A, B, 9, NotAnObject(4)), "syncData", {}),
    (Forwarded(A, B, 9, TooBig(4, 100)), "syncData", {}),
    (Forwarded(A, B, 9, Refused("not-leader")), "syncData", {}),
    (Forwarded(A, B, 9, Unknown()), "syncData", {}),
    (Greeting(Hello(1, 1, SENDER, RECORD, "host:1")), "voteRequest", {"candidate": "a", "term": 5}),
    (Greeting(Hello(1, 2, SENDER, RECORD, "host:1", Term(7), B, Index(9))), "voteRequest", {}),
    (
        Verdict(Hello(1, 1, SENDER, RECORD, ""), JUDGED, None),
        "voteResponse",
        {"voter": "a", "term": 5, "granted": True},
    ),
    (Verdict(Hello(1, 1, SENDER, None, ""), JUDGED, Refusal("kind", "why")), "voteResponse", {"granted": False}),
]


@pytest.mark.parametrize(("spoken", "event", "fields"), SPOKEN)
def test_it_rides_on_one_of_the_four_and_survives_json(spoken: Spoken, event: str, fields: dict[str, Any]) -> None:
    sent_as, encoded = encode(SENDER, spoken, Term(5), RaftNode(B, 1234), 200.0)
    assert decode(sent_as, encoded) == (SENDER, B, spoken)
    message = json.loads(json.dumps(encoded))
    assert sent_as == event
    assert message["destination"] == {"id": "b", "time": 1234}
    assert message["timeout"] == 200.0
    assert message["sender"] == {"cluster": "cluster", "incarnation": "volume", "generation": 3, "boot": "boot"}
    assert {name: message[name] for name in fields} == fields
    assert decode(sent_as, message) == (SENDER, B, spoken)


def test_a_blank_node_says_that_it_belongs_to_no_cluster() -> None:
    event, message = encode(BLANK, Greeting(Hello(1, 1, BLANK, None, "")), Term(0), RaftNode(B), 200.0)
    assert decode(event, message)[0].cluster is None


def _append(**changes: object) -> dict[str, object]:
    _, message = encode(
        SENDER, AppendEntries(A, B, Term(3), 4, Index(7), Term(2), Index(6), ENTRIES), Term(3), RaftNode(B), 200.0
    )
    return {**message, **changes}


@pytest.mark.parametrize(
    "message",
    [
        None,
        7,
        [],
        {},
        "text",
        _append(term=-1),
        _append(term=1 << 70),
        _append(term=True),
        _append(node=None),
        _append(data="x"),
        _append(data=[[2, 9, ""]]),
        _append(data=[[2, 1, "no base64!"]]),
        _append(data=[[-1, 1, ""]]),
        _append(sender={}),
        _append(append=None),
        _append(append={"round": 1}),
        _append(destination={"time": 1}),
        {1: 2},
    ],
)
def test_what_is_no_message_is_a_typed_error(message: object) -> None:
    with pytest.raises(BadMessage):
        decode(RaftEvent.SYNC_DATA, message)
