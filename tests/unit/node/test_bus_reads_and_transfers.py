"""What reads and transfers say to each other rides on the four channels, too."""

import json

import pytest

from raftq_k8s import RaftEvent, RaftNode
from raftq_k8s.node.bus_messages import Spoken, decode, encode
from raftq_k8s.node.errors import BadMessage
from raftq_k8s.raft.membership import Identity
from raftq_k8s.raft.messages import AppendEntries, ReadIndexRequest, ReadIndexResponse, TimeoutNow, VoteRequest
from raftq_k8s.raft.types import BootId, ClusterId, Generation, Incarnation, Index, MemberId, Term, TransferId

A, B = MemberId("a"), MemberId("b")
SENDER = Identity(ClusterId("cluster"), A, Incarnation("volume"), Generation(3), BootId("boot"))

SPOKEN: list[tuple[Spoken, RaftEvent]] = [
    (
        VoteRequest(A, B, Term(3), Incarnation("theirs"), Index(7), Term(2), False, TransferId(4)),
        RaftEvent.VOTE_REQUEST,
    ),
    (AppendEntries(A, B, Term(3), 4, Index(7), Term(2), Index(6), (), TransferId(2)), RaftEvent.SYNC_DATA),
    (TimeoutNow(A, B, Term(3), TransferId(2)), RaftEvent.SYNC_DATA),
    (ReadIndexResponse(A, B, Term(3), (9 << 32) + 1, True, Index(7)), RaftEvent.SYNC_DATA),
    (ReadIndexResponse(A, B, Term(3), 1, False, Index(0)), RaftEvent.SYNC_DATA),
    (ReadIndexRequest(A, B, Term(3), (9 << 32) + 1), RaftEvent.DATA_RESPONSE),
]


@pytest.mark.parametrize(("spoken", "event"), SPOKEN)
def test_it_comes_out_as_it_went_in(spoken: Spoken, event: RaftEvent) -> None:
    sent_as, encoded = encode(SENDER, spoken, Term(5), RaftNode(B, 1234), 200.0)
    message = json.loads(json.dumps(encoded))
    assert sent_as == event
    assert message["term"] == 3, "a message of the core says its own term"
    assert decode(sent_as, message) == (SENDER, B, spoken)


def test_a_peer_that_knows_no_transfers_is_understood() -> None:
    append = AppendEntries(A, B, Term(3), 4, Index(7), Term(2), Index(6), ())
    event, message = encode(SENDER, append, Term(3), RaftNode(B), 200.0)
    assert "cancelled" not in message["append"]  # type: ignore[operator]
    assert decode(event, message)[2] == append


@pytest.mark.parametrize(
    "part", [{"handOver": {"transfer": -1}}, {"handOver": {}}, {"readIndex": {"ticket": 1}}, {"readIndex": 7}]
)
def test_what_is_no_message_is_a_typed_error(part: dict[str, object]) -> None:
    event, message = encode(SENDER, TimeoutNow(A, B, Term(3), TransferId(2)), Term(3), RaftNode(B), 200.0)
    message["handOver"] = None
    with pytest.raises(BadMessage):
        decode(event, {**message, **part})
