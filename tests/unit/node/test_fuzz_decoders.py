"""Bytes from elsewhere: whatever they are, a decoder reads them or raises the error that its callers know."""

import json
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from driver_cluster import DriverCluster
from hypothesis import given
from hypothesis import strategies as st

from raftq_k8s.node import bus_messages, trace
from raftq_k8s.node.bus_greetings import Greeting, Verdict
from raftq_k8s.node.errors import BadMessage
from raftq_k8s.node.events import RaftEvent, RaftNode
from raftq_k8s.node.forwarding import Forward, Forwarded, Refused
from raftq_k8s.node.recording import RecordedDriver
from raftq_k8s.node.replay import Replay
from raftq_k8s.node.trace import Ended, Ending, Recording, TraceUnreadable
from raftq_k8s.raft import configuration
from raftq_k8s.raft.membership import BirthRecord, Hello, Identity, Member, Membership, Refusal
from raftq_k8s.raft.messages import (
    AppendEntries,
    AppendResponse,
    Entry,
    EntryKind,
    ReadIndexRequest,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftq_k8s.raft.types import BootId, ClusterId, Generation, Incarnation, Index, MemberId, Term, TransferId
from raftq_k8s.state import commands
from raftq_k8s.state.commands import Elapse, InSession, OpenSession, Put, Replace
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.state.snapshot import SnapshotDamaged
from raftq_k8s.transport import frames

A, B = MemberId("a"), MemberId("b")
IDENTITY = Identity(ClusterId("c"), A, Incarnation("i"), Generation(1), BootId("boot"))
RECORD = BirthRecord(ClusterId("c"), (Member(A, Incarnation("i")), Member(B, Incarnation("j"))), Term(1))
HELLO = Hello(1, 1, IDENTITY, RECORD, "a:1")
ENTRIES = (Entry(Index(1), Term(1), EntryKind.NOOP), Entry(Index(2), Term(1), EntryKind.COMMAND, b"\x00\xff"))
MESSAGES = (
    VoteRequest(A, B, Term(1), Incarnation("j"), Index(0), Term(0), True),
    VoteResponse(A, B, Term(1), True, False, 0.5),
    AppendEntries(A, B, Term(1), 3, Index(0), Term(0), Index(0), ENTRIES),
    AppendResponse(A, B, Term(1), 3, True, Index(1), Index(0), Term(0), 200.0),
    TimeoutNow(A, B, Term(1), TransferId(1)),
    ReadIndexRequest(A, B, Term(1), 1),
    Forward(A, B, 1, b"command"),
    Forwarded(A, B, 1, Refused("not-leader")),
)


def damaged(good: list[bytes]) -> st.SearchStrategy[bytes]:
    """Any bytes, or good ones of which some are others, missing, or doubled."""
    return st.binary(max_size=200) | st.sampled_from(good).flatmap(_damaged)


def _damaged(good: bytes) -> st.SearchStrategy[bytes]:
    place = st.integers(0, len(good))
    changed = st.tuples(place, place, st.binary(max_size=8)).map(lambda cut: good[: cut[0]] + cut[2] + good[cut[1] :])
    flipped = st.tuples(place, st.integers(1, 255)).map(lambda flip: _flipped(good, *flip))
    return changed | flipped


def _flipped(good: bytes, place: int, mask: int) -> bytes:
    data = bytearray(good)
    if data:
        data[place % len(data)] ^= mask
    return bytes(data)


def encoded(*values: object) -> list[bytes]:
    return [msgspec.msgpack.encode(value) for value in values]


@given(damaged(encoded([HELLO], list(MESSAGES), [])))
def test_a_frame_is_messages_or_a_bad_frame(data: bytes) -> None:
    try:
        decoded = frames.decode(data)
    except frames.BadFrame:
        return
    msgspec.msgpack.encode(decoded)


@given(damaged(encoded(Put("k", b"1"), Replace(b"{}"), OpenSession(), InSession(1, 1, b"\x91"), Elapse(3))))
def test_a_command_is_one_or_a_decode_error(data: bytes) -> None:
    try:
        decoded = commands.decode(data)
        if isinstance(decoded, InSession):
            commands.decode_nested(decoded)
    except msgspec.DecodeError:
        pass


@given(damaged([configuration.encode(Membership((Member(A, Incarnation("i")),)))]))
def test_a_membership_is_a_possible_one_or_none(data: bytes) -> None:
    decoded = configuration.decode(data)
    assert decoded is None or decoded.is_possible


# --------------------------------------------------------------------------------------------------------- snapshots


def a_snapshot() -> bytes:
    state = StateMachine()
    state.apply(Index(1), commands.encode(OpenSession()))
    state.apply(Index(2), commands.encode(Put("colour", b'"red"')))
    state.apply(Index(3), commands.encode(InSession(1, 1, commands.encode(Put("size", b"7")))))
    return b"".join(state.freeze().parts(1 << 16))


def with_the_right_checksum(frames_: list[bytes]) -> bytes:
    """Damage that no checksum tells, for whoever wrote it has made that, too."""
    body = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames_)
    end = msgspec.msgpack.encode(("end", zlib.crc32(body)))
    return body + len(end).to_bytes(4, "big") + end


def snapshot_frames(snapshot: bytes) -> list[bytes]:
    found = []
    while snapshot:
        end = 4 + int.from_bytes(snapshot[:4], "big")
        found.append(snapshot[4:end])
        snapshot = snapshot[end:]
    return found


FRAMES = snapshot_frames(a_snapshot())[:-1]


@given(
    damaged([a_snapshot()])
    | st.lists(damaged(FRAMES) | st.sampled_from(FRAMES), max_size=5).map(with_the_right_checksum),
    st.integers(1, 64),
)
def test_a_snapshot_is_a_state_or_damaged(data: bytes, piece: int) -> None:
    state = StateMachine()
    restoring = state.restoring()
    try:
        for begin in range(0, len(data), piece):
            restoring.feed(data[begin : begin + piece])
        state.install(restoring)
    except SnapshotDamaged:
        assert state.document.whole() == (b"{}", 0)
        return
    b"".join(state.freeze().parts(1 << 16))
    state.document.whole()


# ------------------------------------------------------------------------------------------------------------ the bus


def on_the_bus() -> list[tuple[RaftEvent, dict[str, object]]]:
    judged = msgspec.structs.replace(IDENTITY, member=B)
    verdicts = (Verdict(HELLO, judged, None), Verdict(HELLO, judged, Refusal("kind", "reason")))
    spoken = (*MESSAGES, Greeting(HELLO), *verdicts)
    return [bus_messages.encode(IDENTITY, each, Term(1), RaftNode(B, 1), 100.0) for each in spoken]  # type: ignore[arg-type]


STRANGE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 1 << 63, 1 << 64, 10**30])
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", "x" * 1000, "{}"])
)
JSON = st.recursive(
    STRANGE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def bus_payloads(draw: Callable[[Any], Any]) -> tuple[RaftEvent, Any]:
    """A message as it should be, with some part of it changed, or missing, or one too many; or anything at all."""
    event, payload = draw(st.sampled_from(on_the_bus()))
    if draw(st.integers(0, 5)) == 0:
        return event, draw(JSON)
    payload = json.loads(json.dumps(payload))
    for _ in range(draw(st.integers(1, 2))):
        part = payload
        while (inner := [key for key in part if isinstance(part[key], dict)]) and draw(st.booleans()):
            part = part[draw(st.sampled_from(inner))]
        key = draw(st.sampled_from([*part, "more"]))
        if draw(st.booleans()) or key == "more":
            part[key] = draw(JSON)
        else:
            del part[key]
        if not part:
            break
    return event, payload


@given(bus_payloads())
def test_a_message_of_the_bus_is_one_that_can_be_written_down_or_bad(event_and_payload: tuple[RaftEvent, Any]) -> None:
    try:
        decoded = bus_messages.decode(*event_and_payload)
    except BadMessage:
        return
    msgspec.msgpack.encode(decoded)


@pytest.mark.parametrize(
    ("field", "value"), [("term", 10**30), ("term", -(1 << 64)), ("candidate", "\ud800"), ("candidate", ["a"])]
)
def test_what_no_volume_could_hold_is_a_bad_message(field: str, value: object) -> None:
    event, payload = bus_messages.encode(IDENTITY, Greeting(HELLO), Term(1), RaftNode(B, 1), 100.0)
    with pytest.raises(BadMessage):
        bus_messages.decode(event, {**payload, field: value})


# ------------------------------------------------------------------------------------------------------------- traces


def a_trace(folder: Path) -> bytes:
    node = DriverCluster("a")["a"].driver._node
    driver = RecordedDriver(node, StateMachine(), lambda _: False, 0.0, folder / "trace")
    now = 0.0
    while not driver.standing.established:
        now = driver.wake_at
        driver.tick(now)
        while (actions := driver.next_actions(now)) is not None:
            for written, _ in actions.writes:
                driver.persisted(written, now)
    driver.end(now)
    return (folder / "trace").read_bytes()


def test_a_trace_is_lived_through_or_unreadable(tmp_path: Path) -> None:
    whole = a_trace(tmp_path)
    recording = Recording(BytesIO(whole))
    payloads = encoded(recording.started, *recording.calls(), Ended(Ending.STOPPED))

    @given(damaged([whole]) | st.lists(damaged(payloads) | st.sampled_from(payloads), max_size=5).map(_as_trace))
    def read(data: bytes) -> None:
        try:
            for _ in Replay(Recording(BytesIO(data))).run():
                pass
        except TraceUnreadable:
            pass

    read()


def _as_trace(payloads: list[bytes]) -> bytes:
    return trace.MAGIC + b"".join(
        trace._HEADER.pack(len(payload), zlib.crc32(payload)) + payload for payload in payloads
    )


def test_a_trace_from_which_no_node_starts_is_unreadable(tmp_path: Path) -> None:
    started = Recording(BytesIO(a_trace(tmp_path))).started
    assert started.node.restored.birth is not None
    nobodys = msgspec.structs.replace(started.node.restored.birth, members=())
    restored = msgspec.structs.replace(started.node.restored, birth=nobodys)
    changed = msgspec.structs.replace(started, node=msgspec.structs.replace(started.node, restored=restored))
    with pytest.raises(TraceUnreadable, match="no node starts"):
        Replay(Recording(BytesIO(_as_trace(encoded(changed)))))
