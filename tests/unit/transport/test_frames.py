import msgspec
import pytest

from raftq_k8s.node.forwarding import Forward, Forwarded, Refused
from raftq_k8s.node.transport import Wire
from raftq_k8s.raft.membership import Hello, Identity
from raftq_k8s.raft.messages import AppendEntries, AppendResponse, Entry, EntryKind, VoteRequest, VoteResponse
from raftq_k8s.raft.types import BootId, ClusterId, Generation, Incarnation, Index, MemberId, Term
from raftq_k8s.transport import frames
from raftq_k8s.transport.frames import BadFrame, Outgoing

A, B = MemberId("a"), MemberId("b")
IDENTITY = Identity(ClusterId("c"), A, Incarnation("i"), Generation(1), BootId("boot"))


def hello(minimum: int, maximum: int) -> Hello:
    return Hello(minimum, maximum, IDENTITY, None, "")


def forward(size: int, ticket: int = 1) -> Forward:
    return Forward(A, B, ticket, b"x" * size)


def taken(outgoing: Outgoing) -> list[frames.Frame]:
    return [frames.decode(bytes(frame)) for frame in iter(outgoing.take, None)]


def test_a_frame_brings_every_kind_of_message_in_order() -> None:
    entry = Entry(Index(1), Term(1), EntryKind.COMMAND, b"\x00\xff")
    messages: list[Wire] = [
        VoteRequest(A, B, Term(1), Incarnation("i"), Index(0), Term(0), True),
        VoteResponse(A, B, Term(1), True, False, 0.5),
        AppendEntries(A, B, Term(1), 3, Index(0), Term(0), Index(0), (entry,)),
        AppendResponse(A, B, Term(1), 3, True, Index(1), Index(0), Term(0), 200.0),
        forward(3),
        Forwarded(A, B, 1, Refused("not-leader")),
    ]
    outgoing = Outgoing()
    assert outgoing.put(messages) == 0
    assert taken(outgoing) == [messages]


def test_a_hello_stands_alone_between_messages() -> None:
    outgoing = Outgoing()
    outgoing.put([forward(1, ticket=1)])
    outgoing.put_alone([hello(1, 1)])
    outgoing.put([forward(1, ticket=2)])
    outgoing.put_alone([])
    assert taken(outgoing) == [[forward(1, ticket=1)], [hello(1, 1)], [forward(1, ticket=2)], []]


def test_a_full_frame_is_followed_by_another() -> None:
    outgoing = Outgoing()
    outgoing.put([forward(frames.FULL_FRAME_BYTES // 2, ticket) for ticket in range(5)])
    assert [len(frame) for frame in taken(outgoing)] == [2, 2, 1]


def test_what_does_not_fit_is_dropped_and_room_comes_back() -> None:
    outgoing = Outgoing(max_bytes=1000)
    assert outgoing.put([forward(400, ticket) for ticket in range(5)]) == 3
    assert taken(outgoing) == [[forward(400, 0), forward(400, 1)]]
    assert outgoing.put([forward(400)]) == 0


def test_the_number_of_messages_is_bounded_too() -> None:
    outgoing = Outgoing(max_messages=10)
    assert outgoing.put([forward(0) for _ in range(12)]) == 2
    assert sum(len(frame) for frame in taken(outgoing)) == 10
    assert outgoing.put([forward(0)]) == 0


def test_a_message_that_no_peer_would_take_is_dropped_alone() -> None:
    outgoing = Outgoing()
    assert outgoing.put([forward(1), forward(frames.MAX_MESSAGE_BYTES + 1), forward(2)]) == 1
    assert taken(outgoing) == [[forward(1), forward(2)]]


def test_the_longest_frame_is_one_that_a_peer_takes() -> None:
    outgoing = Outgoing()
    outgoing.put([forward(frames.FULL_FRAME_BYTES - 100), forward(frames.MAX_MESSAGE_BYTES - 100)])
    frame = outgoing.take()
    assert frame is not None
    assert frames.MAX_MESSAGE_BYTES < len(frame) < frames.MAX_FRAME_BYTES


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"GET / HTTP/1.1",
        msgspec.msgpack.encode({"term": 1}),
        msgspec.msgpack.encode([["vote?", "a"]]),
        msgspec.msgpack.encode([["no-such-message", "a", "b"]]),
        msgspec.msgpack.encode([["forward?", "a", "b", "one", b""]]),
    ],
)
def test_a_frame_that_is_not_ours_is_undecodable(frame: bytes) -> None:
    with pytest.raises(BadFrame) as caught:
        frames.decode(frame)
    assert caught.value.kind == "undecodable"


def test_versions_that_overlap_are_compatible() -> None:
    assert frames.incompatible(hello(1, 1), hello(1, 1)) is None
    assert frames.incompatible(hello(0, 99), hello(1, 1)) is None
    assert frames.incompatible(hello(1, 2), hello(2, 3)) is None


def test_versions_without_overlap_are_refused_with_a_sentence() -> None:
    refusal = frames.incompatible(hello(2, 3), hello(1, 1))
    assert refusal is not None
    assert refusal.kind == "version"
    assert "you speak protocol 2 to 3, I speak 1 to 1" in refusal.reason
    assert frames.incompatible(hello(0, 0), hello(1, 1)) is not None
