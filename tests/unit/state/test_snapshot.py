"""The state as bytes and back; and bytes that are no state."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_document import commands as document_commands

from raftq_k8s.raft.types import Index
from raftq_k8s.state.commands import (
    MANY,
    DocumentCommand,
    DocumentResult,
    Elapse,
    InSession,
    NotAsExpected,
    OpenSession,
    Put,
    Replace,
    Transacted,
    encode,
)
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.state.sessions import REPLY_BYTES, SESSION_BYTES, WINDOW
from raftq_k8s.state.snapshot import SnapshotDamaged

LARGEST = (1 << 63) - 1


def made_by(commands: list[DocumentCommand]) -> StateMachine:
    """Half of it in sessions."""
    state = StateMachine(1 << 20)
    state.apply(Index(1), encode(OpenSession()))
    state.apply(Index(2), encode(OpenSession()))
    state.apply(Index(3), encode(Elapse(5)))
    for index, command in enumerate(commands, start=4):
        encoded = encode(command)
        state.apply(Index(index), encode(InSession(1 + index % 4 // 2, index, encoded)) if index % 2 else encoded)
    return state


def written(state: StateMachine, max_bytes: int = 1 << 16) -> bytes:
    return b"".join(state.freeze().parts(max_bytes))


def read(snapshot: bytes, piece: int = 1 << 16) -> StateMachine:
    state = StateMachine(1 << 20)
    install(state, snapshot, piece)
    return state


def install(state: StateMachine, snapshot: bytes, piece: int) -> None:
    restoring = state.restoring()
    for first in range(0, len(snapshot), piece):
        restoring.feed(snapshot[first : first + piece])
    state.install(restoring)


def small() -> StateMachine:
    return made_by([Put("colour", b'"red"'), Put("é", b"[1,2]"), Put("colour", b'"blue"'), Put("b", b"0")])


@given(document_commands, st.integers(1, 200), st.integers(1, 200))
def test_what_is_read_back_is_what_was_written_and_goes_on_alike(
    sequence: list[DocumentCommand], max_bytes: int, piece: int
) -> None:
    first = made_by(sequence)
    parts = list(first.freeze().parts(max_bytes))
    assert all(len(part) == max_bytes for part in parts[:-1])
    assert 0 < len(parts[-1]) <= max_bytes
    second = read(b"".join(parts), piece)
    assert second.document.whole() == first.document.whole()
    assert second.document.size_bytes == first.document.size_bytes
    assert second.document.applied_index == first.document.applied_index
    assert second.sessions.log_time == first.sessions.log_time
    again = [encode(InSession(1 + index % 4 // 2, index, encode(each))) for index, each in enumerate(sequence, start=4)]
    for index, command in enumerate([*again, encode(Elapse(1 << 30)), *again], start=1000):
        assert first.apply(Index(index), command) == second.apply(Index(index), command)
    assert written(first) == written(second)


@given(document_commands, st.integers(1, 200))
def test_two_replicas_at_one_index_write_the_same_bytes(sequence: list[DocumentCommand], max_bytes: int) -> None:
    assert written(made_by(sequence)) == written(made_by(sequence), max_bytes)
    assert written(read(written(made_by(sequence)))) == written(made_by(sequence))


@given(document_commands, document_commands)
def test_what_is_frozen_stays_as_it_was_while_the_state_goes_on(
    before: list[DocumentCommand], after: list[DocumentCommand]
) -> None:
    state = made_by(before)
    wanted = written(state)
    parts = state.freeze().parts(64)
    got = next(parts)
    for index, command in enumerate([*map(encode, after), encode(Elapse(1 << 30))], start=1000):
        state.apply(Index(index), command)
    assert got + b"".join(parts) == wanted


def test_a_document_that_is_no_object_is_read_back() -> None:
    state = StateMachine()
    state.apply(Index(7), encode(Replace(b"[1, 2]")))
    assert read(written(state)).document.whole() == (b"[1, 2]", 7)
    assert read(written(state)).document.size_bytes == len(b"[1, 2]")


def test_many_keys_and_a_large_value_pass_in_small_pieces() -> None:
    state = StateMachine()
    for index in range(1, 5000):
        state.apply(Index(index), encode(Put(f"key-{index}", b"1" * (index % 50 + 1))))
    state.apply(Index(5000), encode(Put("large", b"1" * 500_000)))
    assert written(read(written(state, 1000), 777)) == written(state)


@pytest.mark.parametrize("answer", [NotAsExpected(LARGEST, LARGEST, MANY - 1), Transacted(LARGEST, MANY * (True,))])
def test_a_session_in_a_snapshot_keeps_its_bound(answer: DocumentResult) -> None:
    state = StateMachine()
    for index in range(1, 11):
        state.apply(Index(LARGEST - index), encode(OpenSession()))
    empty = len(written(state))
    state.sessions.log_time = LARGEST
    for sequence in range(LARGEST - 2 * WINDOW, LARGEST):
        command = InSession(LARGEST - 1, sequence, encode(Put("a", b"1")))
        state.sessions.once(command, lambda: answer)
    assert empty <= 10 * SESSION_BYTES - 10 * WINDOW * REPLY_BYTES
    assert len(written(state)) <= empty + WINDOW * REPLY_BYTES


# -------------------------------------------------------------------------------------------------------- damaged bytes


def refused(snapshot: bytes, piece: int = 1 << 16) -> None:
    state = small()
    before = written(state)
    with pytest.raises(SnapshotDamaged):
        install(state, snapshot, piece)
    assert written(state) == before


def test_a_flipped_bit_anywhere_is_found() -> None:
    snapshot = written(small())
    for place in range(len(snapshot)):
        for bit in range(8):
            damaged = bytearray(snapshot)
            damaged[place] ^= 1 << bit
            refused(bytes(damaged))


def test_a_snapshot_that_is_cut_anywhere_is_found() -> None:
    snapshot = written(small())
    for length in range(len(snapshot)):
        refused(snapshot[:length])


@given(st.binary(max_size=100), st.integers(0, 400), st.integers(0, 400))
def test_bytes_that_come_in_between_are_found(noise: bytes, first: int, rest: int) -> None:
    snapshot = written(small())
    damaged = snapshot[:first] + noise + snapshot[rest:]
    if damaged != snapshot:
        refused(damaged, piece=50)


@given(st.lists(st.binary(max_size=60)))
def test_random_bytes_in_frames_of_the_right_length_are_found(frames: list[bytes]) -> None:
    refused(b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames))


def test_whole_frames_that_are_lost_doubled_or_exchanged_are_found() -> None:
    frames = framed(written(small()))
    dice = random.Random(1)
    for _ in range(200):
        shuffled = dice.choices(frames, k=dice.randint(0, len(frames) + 2))
        if shuffled != frames:
            refused(b"".join(shuffled))


def test_each_frame_is_there_once() -> None:
    frames = framed(written(small()))
    assert len(frames) == 4
    for doubled in range(4):
        refused(b"".join([*frames[: doubled + 1], *frames[doubled:]]))
    others = framed(written(made_by([Put("another", b"1")])))
    refused(b"".join([*frames, others[1]]))


def test_a_format_of_another_release_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("raftq_k8s.state.snapshot.FORMAT", 2)
        of_the_future = written(small())
    with pytest.raises(SnapshotDamaged, match="format 2"):
        read(of_the_future)


def test_a_number_that_promises_more_members_than_there_are_asks_for_no_memory() -> None:
    for kind in (b"\xa7members", b"\xa8sessions"):
        promised = b"\x92" + kind + b"\xdd\xff\xff\xff\xff"
        refused(framed(written(small()))[0] + len(promised).to_bytes(4, "big") + promised)


def framed(snapshot: bytes) -> list[bytes]:
    frames = []
    while snapshot:
        end = 4 + int.from_bytes(snapshot[:4], "big")
        frames.append(snapshot[:end])
        snapshot = snapshot[end:]
    return frames
