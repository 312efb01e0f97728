"""Exactly once, against a model that forgets nothing it should know."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raftq_k8s.raft.types import Index
from raftq_k8s.state.commands import (
    MANY,
    Applied,
    CloseSession,
    Command,
    Condition,
    Delete,
    DocumentCommand,
    Elapse,
    Elapsed,
    InSession,
    NoSuchSession,
    NotAsExpected,
    OpenSession,
    Patch,
    Put,
    PutIf,
    Replace,
    ReplyForgotten,
    Result,
    SequenceReused,
    SessionClosed,
    SessionOpened,
    Starting,
    TooManySessions,
    Transaction,
    encode,
)
from raftq_k8s.state.document import UnreadableCommand
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.state.sessions import WINDOW

IDLE = 1000


class Log:
    """A state machine that is told one command after the other."""

    def __init__(self, sessions_limit: int = 4) -> None:
        self.state = StateMachine(1 << 20, sessions_limit, IDLE)
        self.index = 0

    def tell(self, command: Command) -> Result:
        self.index += 1
        return self.state.apply(Index(self.index), encode(command))

    def open(self) -> int:
        opened = self.tell(OpenSession())
        assert isinstance(opened, SessionOpened)
        return opened.session

    def once(self, session: int, sequence: int, command: DocumentCommand) -> Result:
        return self.tell(InSession(session, sequence, encode(command)))


def test_44_exactly_once_the_same_command_again_hears_the_first_answer_and_does_nothing() -> None:
    log = Log()
    session = log.open()
    first = log.once(session, 1, Put("a", b"1"))
    assert first == Applied(2, existed=False)
    log.tell(Put("a", b"2"))
    assert log.once(session, 1, Put("a", b"1")) == first
    assert log.state.document.get("a") == (b"2", 3)


def test_44_exactly_once_a_refusal_is_an_answer_too() -> None:
    log = Log()
    session = log.open()
    first = log.once(session, 1, PutIf("a", b"1", 7))
    assert first == NotAsExpected(2, 0)
    for _ in range(4):
        log.tell(Put("a", b"0"))
    assert log.once(session, 1, PutIf("a", b"1", 6)) == SequenceReused(1)
    assert log.once(session, 1, PutIf("a", b"1", 7)) == first


def test_44_exactly_once_another_command_under_the_same_sequence_does_nothing() -> None:
    log = Log()
    session = log.open()
    log.once(session, 1, Put("a", b"1"))
    assert log.once(session, 1, Put("a", b"2")) == SequenceReused(1)
    assert log.once(session, 1, Put("a", b"1")) == Applied(2, existed=False)
    assert log.state.document.get("a") == (b"1", 2)


def test_44_an_expired_session_is_an_error_and_not_a_second_application() -> None:
    log = Log()
    session = log.open()
    log.once(session, 1, Put("a", b"1"))
    assert log.tell(Elapse(IDLE)) == Elapsed(IDLE, expired=1)
    log.tell(Delete("a"))
    assert log.once(session, 1, Put("a", b"1")) == NoSuchSession(session)
    assert log.once(session, 2, Put("a", b"1")) == NoSuchSession(session)
    assert log.state.document.get("a") is None


def test_a_session_that_is_used_lives_on() -> None:
    log = Log()
    used, left = log.open(), log.open()
    log.tell(Elapse(IDLE - 1))
    log.once(used, 1, Put("a", b"1"))
    assert log.tell(Elapse(1)) == Elapsed(IDLE, expired=1)
    assert log.once(left, 1, Put("a", b"1")) == NoSuchSession(left)
    assert log.once(used, 1, Put("a", b"1")) == Applied(4, existed=False)
    log.tell(Elapse(IDLE - 1))  # a repeated command is a use
    assert log.once(used, 2, Put("a", b"1")) == Applied(9, existed=True)


def test_commands_may_arrive_out_of_order_within_the_window() -> None:
    log = Log()
    session = log.open()
    assert log.once(session, WINDOW, Put("a", b"1")) == Applied(2, existed=False)
    assert log.once(session, 1, Put("b", b"1")) == Applied(3, existed=False)
    assert log.once(session, WINDOW + 1, Put("c", b"1")) == Applied(4, existed=False)
    assert log.once(session, 1, Put("b", b"1")) == ReplyForgotten(oldest=2)
    assert log.once(session, 2, Put("d", b"1")) == Applied(6, existed=False)
    assert log.once(session, WINDOW, Put("a", b"1")) == Applied(2, existed=False)


def test_at_its_bound_a_session_is_refused_until_another_is_closed_or_expires() -> None:
    log = Log(sessions_limit=2)
    first, second = log.open(), log.open()
    assert log.tell(OpenSession()) == TooManySessions(2)
    assert log.once(first, 1, Put("a", b"1")) == Applied(4, existed=False)  # none was taken from anybody
    assert log.tell(CloseSession(second)) == SessionClosed(second)
    assert log.tell(CloseSession(second)) == SessionClosed(second)
    assert log.once(second, 1, Put("a", b"1")) == NoSuchSession(second)
    assert log.open() == 8
    log.tell(Elapse(IDLE))
    assert len(log.state.sessions) == 0
    assert log.open() == 10


@pytest.mark.parametrize(
    "command",
    [
        b"",
        b"\xc1",
        b"not msgpack",
        encode(Delete("a"))[:-1],
        b"\x93\xa3put\xa1\xff\xc4\x011",
        encode(InSession(1, 1, b"\x93\xa3put\xa1\xff\xc4\x011")),
        b"\x92\xa5merge\xc4\x02{}",
        encode(Replace(b'{"a":')),
        encode(Patch(b'{"a":')),
        encode(Transaction((), (Put("b", b"1"), Replace(b'{"a":')))),
        encode(Transaction((), (MANY + 1) * (Delete("a"),))),
        encode(Transaction((MANY + 1) * (Condition("a", None),), ())),
        encode(Transaction((Condition("a", (MANY + 1) * (1,)),), ())),
        encode(Transaction((Condition("a", (-1,)),), ())),
        encode(Starting(-1, "a", 10_000)),
        encode(Elapse(-1)),
        encode(Elapse(1 << 40)),
        encode(CloseSession(-1)),
        encode(InSession(1, 1, b"not msgpack")),
        encode(InSession(1, 1, encode(Replace(b'{"a":')))),
        encode(InSession(1, 1, encode(Elapse(1)))),
        encode(InSession(1, 1, encode(InSession(1, 2, encode(Delete("a")))))),
        encode(InSession(9, 1, b"not msgpack")),
    ],
)
def test_a_command_that_cannot_be_read_stops_and_changes_nothing(command: bytes) -> None:
    log = Log()
    session = log.open()
    assert session == 1
    log.tell(Put("a", b"1"))
    before = b"".join(log.state.freeze().parts(1 << 20))
    with pytest.raises(UnreadableCommand, match="index 3"):
        log.state.apply(Index(3), command)
    assert b"".join(log.state.freeze().parts(1 << 20)) == before
    assert log.state.document.applied_index == 2


class ExactlyOnce(RuleBasedStateMachine):
    """The model remembers every command of every session for ever; it only looks up what ours may have forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.now = 0
        self.last_use: dict[int, int] = {}
        self.answers: dict[tuple[int, int], tuple[DocumentCommand, Result]] = {}
        self.keys: dict[str, int] = {}

    @rule()
    def open(self) -> None:
        result = self.log.tell(OpenSession())
        if len(self.last_use) == 4:
            assert result == TooManySessions(4)
        else:
            assert result == SessionOpened(self.log.index)
            self.last_use[self.log.index] = self.now

    @rule(milliseconds=st.sampled_from([1, 400, 999, 1000]))
    def elapse(self, milliseconds: int) -> None:
        self.now += milliseconds
        left = {session: used for session, used in self.last_use.items() if self.now - used < IDLE}
        expired = len(self.last_use) - len(left)
        assert self.log.tell(Elapse(milliseconds)) == Elapsed(self.now, expired)
        self.last_use = left

    @rule(session=st.integers(1, 12))
    def close(self, session: int) -> None:
        assert self.log.tell(CloseSession(session)) == SessionClosed(session)
        self.last_use.pop(session, None)

    @precondition(lambda self: self.last_use)
    @rule(data=st.data(), sequence=st.integers(0, 2 * WINDOW + 3), key=st.sampled_from("ab"))
    def once(self, data: st.DataObject, sequence: int, key: str) -> None:
        session = data.draw(st.sampled_from(sorted(self.last_use)))
        command = Put(key, b"%d" % sequence)
        highest = max((each for owner, each in self.answers if owner == session), default=0)
        result = self.log.once(session, sequence, command)
        self.last_use[session] = self.now
        if sequence <= highest - WINDOW:
            assert result == ReplyForgotten(highest - WINDOW + 1)
        elif (session, sequence) in self.answers:
            before, answer = self.answers[session, sequence]
            assert result == (answer if before == command else SequenceReused(sequence))
        else:
            assert result == Applied(self.log.index, existed=key in self.keys)
            self.answers[session, sequence] = (command, result)
            self.keys[key] = self.log.index

    @rule(session=st.integers(1, 30), key=st.sampled_from("ab"))
    def once_nowhere(self, session: int, key: str) -> None:
        if session not in self.last_use:
            assert self.log.once(session, 1, Put(key, b"1")) == NoSuchSession(session)

    @rule(key=st.sampled_from("ab"))
    def delete(self, key: str) -> None:
        assert self.log.tell(Delete(key)) == Applied(self.log.index, existed=key in self.keys)
        self.keys.pop(key, None)

    @rule(max_bytes=st.sampled_from([1, 100, 1 << 16]))
    def go_on_from_a_snapshot(self, max_bytes: int) -> None:
        restoring = self.log.state.restoring()
        for part in self.log.state.freeze().parts(max_bytes):
            restoring.feed(part)
        self.log.state.install(restoring)

    @invariant()
    def the_keys_are_those_of_the_model(self) -> None:
        for key in "ab":
            held = self.log.state.document.get(key)
            assert (held[1] if held else None) == self.keys.get(key)
        assert len(self.log.state.sessions) == len(self.last_use)


TestExactlyOnce = ExactlyOnce.TestCase
