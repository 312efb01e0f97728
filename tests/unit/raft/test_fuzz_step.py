"""Whatever a peer says, the core neither falls nor forgets: messages near to what would be right now, and far from it.

A message is built field by field: a number is mostly one that the core under test holds, or a neighbour of it, or the
end of some range; entries mostly follow each other. It comes to a follower, a candidate, a leader and so on, whose
log, time and disk go on meanwhile. A kind of message that is added to `Message` is fuzzed without a word here.
"""

import copy
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raft_cluster import Cluster, Node

from raftq_k8s.raft.configuration import encode
from raftq_k8s.raft.consensus import Consensus, NotLeader, Overloaded, TransferRefused, Transferring
from raftq_k8s.raft.membership import Hello, Identity, Member, Membership
from raftq_k8s.raft.messages import (
    AppendEntries,
    AppendResponse,
    Entry,
    EntryKind,
    JoinRequest,
    JoinResponse,
    LeaveRequest,
    Message,
    ReadIndexRequest,
    ReadIndexResponse,
    SnapshotChunk,
    SnapshotMark,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftq_k8s.raft.output import ChunkWanted, EntriesWanted, Output, Wanted
from raftq_k8s.raft.pending_reads import ReadContext
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import BootId, ClusterId, Incarnation, Index, MemberId, Term, TransferId
from raftq_k8s.raft.validity import is_possible

ME, B, C = MemberId("a"), MemberId("b"), MemberId("c")
KINDS: tuple[type[msgspec.Struct], ...] = get_args(Message)
FAR_AWAY = (-1, -(1 << 63), 1 << 31, 1 << 32, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, (1 << 64) - 1)
"""As far as the decoders let anything pass."""
LONG = "x" * 100_000
PICTURE = b"0123456789"
CHECKSUM = zlib.crc32(PICTURE)
KEEPS_NOTHING = Settings(kept_entries=0)


# ----------------------------------------------------------------------------------------------- who is spoken to


def follower() -> Node:
    cluster = Cluster("a", "b", "c", settings=KEEPS_NOTHING)
    cluster.elect("b")
    cluster.propose("b", b"one", b"two")
    cluster.advance(100)
    cluster.isolate("c")
    cluster.propose("b", b"three")  # on its way to commit
    cluster.settle()
    return cluster.nodes["a"]


def follower_without_a_leader() -> Node:
    node = follower()
    node.cluster.isolate("a")
    node.cluster.advance(150)
    return node


def pre_candidate() -> Node:
    node = follower()
    node.cluster.isolate("a")
    while node.core.standing.role != "pre-candidate":
        node.cluster.advance(10)
    return node


def candidate() -> Node:
    node = follower()
    for peer in node.cluster.nodes.values():
        peer.core.set_eligible(peer.name == "a", node.cluster.now)
    node.cluster.cut |= {("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")}
    node.cluster.cut -= {("a", "c"), ("c", "a")}
    node.slow_disk = True  # its own vote is not counted yet
    while node.core.standing.role != "candidate":
        node.cluster.advance(10)
    return node


def leader() -> Node:
    cluster = Cluster("a", "b", "c", settings=KEEPS_NOTHING)
    cluster.elect("a")
    cluster.propose("a", b"one", b"two")
    cluster.advance(100)
    cluster.propose("a", b"three")
    return cluster.nodes["a"]


def leader_in_a_transfer() -> Node:
    node = leader()
    node.core.transfer(B, node.cluster.now)
    node.collect()
    return node


def lone_leader() -> Node:
    cluster = Cluster("a")
    cluster.elect("a")
    cluster.propose("a", b"one")
    return cluster.nodes["a"]


def newborn() -> Node:
    return Cluster("a", "b", "c").nodes["a"]


def with_a_compacted_log(prepare: Callable[[], Node]) -> Callable[[], Node]:
    """The log begins after a snapshot that goes as far as the commit index."""

    def compacted() -> Node:
        node = prepare()
        node.take_snapshot()
        while node.disk.under_way:
            node.sync()
        assert node.core._core.log.base == node.core.commit_index > 0
        return node

    compacted.__name__ = f"{prepare.__name__}_with_a_compacted_log"
    return compacted


SUBJECTS: tuple[Callable[[], Node], ...] = (
    newborn,
    follower,
    follower_without_a_leader,
    pre_candidate,
    candidate,
    leader,
    leader_in_a_transfer,
    lone_leader,
    with_a_compacted_log(follower),
    with_a_compacted_log(pre_candidate),
    with_a_compacted_log(leader),
)
subjects = pytest.mark.parametrize("prepared", SUBJECTS, ids=lambda subject: subject.__name__)


class Subject:
    """A core in a certain state, on a volume that keeps its contract, whom the test may tell anything; after each word
    it looks for damage."""

    def __init__(self, node: Node) -> None:
        self.core: Consensus = copy.deepcopy(node.core)
        self.now = node.cluster.now
        self.identity = node.identity
        self._disk = copy.deepcopy(node.disk)
        self._wanted: list[Wanted] = []
        self._handed_over = Index(len(node.applied))
        self._committed = {entry.index: entry.term for entry in node.applied}
        self._before = self._stand
        self.look()

    @property
    def _stand(self) -> tuple[int, int, Any]:
        inner = self.core._core
        return inner.term, inner.commit, inner.vote

    @property
    def ignored(self) -> int:
        return sum(self.core.ignored.values())

    def sync(self) -> None:
        """Raises `ValueError` for a write that no volume takes: that leaves a gap, or seals what is damaged."""
        while self._disk.under_way:
            receipt, write = self._disk.sync()
            assert not write.entries or write.entries[-1].term <= self.core._core.term
            if receipt is not None:
                self.core.persisted(receipt, self.now)
        terms = [entry.term for entry in self._disk.entries]
        assert terms == sorted(terms), "the terms of a log fall"
        self.look()

    def load(self) -> None:
        """The volume gives what was wanted of it, or has it no more."""
        wanted, self._wanted = self._wanted, []
        for each in wanted:
            match each:
                case ChunkWanted(_, index, offset, max_bytes):
                    data = self._disk.read_snapshot(index, offset, max_bytes)
                    self.core.snapshot_chunk(each, data, self.now)
                case EntriesWanted(first, last, max_bytes):
                    self.core.entries_loaded(each, self._disk.load(first, last, max_bytes), self.now)
        self.look()

    def look(self) -> Output:
        (term, commit, vote), now = self._before, self._stand
        assert now[0] >= term, "the term went back"
        assert now[1] >= commit, "the commit index went back"
        assert now[0] > term or vote in (None, now[2]), "a vote was changed"
        self._before = now
        output = self.core.take_output()
        if output.write is not None:
            assert all(-(1 << 63) <= number < 1 << 63 for number in _numbers(output.write)), "too large to be kept"
            self._disk.under_way.append((output.receipt, output.write))
        msgspec.msgpack.encode(output)
        self._wanted.extend(output.wanted)
        inner = self.core._core
        assert inner.commit <= inner.log.last_index
        if output.install is not None:
            assert output.install.index >= self._handed_over, "the state went back"
            self._handed_over = output.install.index
            self.core.applied(self._handed_over)
        for entry in output.committed:
            assert entry.index == self._handed_over + 1, "an entry is left out, or applied again"
            self._handed_over = entry.index
            self._committed[entry.index] = entry.term
            self.core.applied(entry.index)
        for index, its_term in self._committed.items():
            held = inner.log.term_at(Index(index))
            assert held == its_term or index <= inner.log.base, "a committed entry was changed"
        return output


def _numbers(value: object) -> Iterator[int]:
    if isinstance(value, Enum | bool):
        return
    if isinstance(value, int):
        yield value
    elif isinstance(value, msgspec.Struct):
        for part in msgspec.structs.astuple(value):
            yield from _numbers(part)
    elif isinstance(value, tuple):
        for part in value:
            yield from _numbers(part)


# ------------------------------------------------------------------------------------------------------ what is said


class Near(NamedTuple):
    """What would be right, or nearly, to say to a certain core."""

    messages: list[Any]
    """Right, or wrong in just one thing."""
    numbers: st.SearchStrategy[int]
    names: st.SearchStrategy[str]
    incarnations: st.SearchStrategy[str]


def near(core: Consensus, own: Identity) -> Near:
    inner = core._core
    known = {0, 1, inner.term, inner.commit, inner.log.last_index, inner.log.last_term, inner.reads.last_ticket}
    known |= {inner.log.base, inner.log.base_term}
    known |= {getattr(inner.role, "round", 0), getattr(inner.role, "last_transfer", 0)}
    close = sorted({number + step for number in known for step in (-1, 0, 1, 2)})
    return Near(
        right(core, own) + tempting(core),
        st.sampled_from(close) | st.sampled_from([*close, *FAR_AWAY]),
        st.sampled_from([B, C, B, C, B, C, ME, "stranger", "", LONG]),
        st.sampled_from([own.incarnation, own.incarnation, "i-b", "i-c", "another", ""]),
    )


def right(core: Consensus, own: Identity) -> list[Any]:
    """Of each kind of message one or two that a correct peer might send just now."""
    inner = core._core
    log, term = inner.log, Term(max(inner.term, 1))
    later, last, last_term = Term(term + 1), log.last_index, log.last_term
    round_ = getattr(inner.role, "round", 1)
    entry = Entry(Index(last + 1), term, EntryKind.COMMAND, b"next")
    members = core.membership_at(inner.commit)
    alone = Entry(Index(last + 1), later, EntryKind.CONFIGURATION, encode(Membership((Member(ME, own.incarnation),))))
    mark = SnapshotMark(Index(last + 3), term, members, len(PICTURE), CHECKSUM)
    return [
        VoteRequest(B, ME, later, own.incarnation, last, last_term, True),
        VoteRequest(B, ME, later, own.incarnation, last, last_term, False),
        VoteRequest(C, ME, later, own.incarnation, Index(last + 1), term, False, TransferId(1)),
        VoteResponse(B, ME, later, True, True, 0.0),
        VoteResponse(C, ME, term, True, False, 0.0),
        AppendEntries(B, ME, term, 7, last, last_term, last, (entry,)),
        AppendEntries(C, ME, later, 7, last, last_term, Index(last + 1), (alone,)),
        AppendEntries(B, ME, term, 7, inner.commit, log.term_at(inner.commit) or Term(0), last, ()),
        AppendResponse(B, ME, term, round_, True, last, Index(0), Term(0), 200.0),
        AppendResponse(C, ME, term, round_, False, last, inner.commit, term, 200.0),
        TimeoutNow(B, ME, term, TransferId(1)),
        ReadIndexRequest(B, ME, term, 1),
        ReadIndexResponse(B, ME, term, max(1, inner.reads.last_ticket), True, Index(last + 1)),
        SnapshotChunk(B, ME, term, 7, mark, 0, PICTURE[:4]),
        SnapshotChunk(B, ME, term, 7, mark, 4, PICTURE[4:]),
        SnapshotChunk(C, ME, later, 7, mark, 0, PICTURE),
        SnapshotResponse(C, ME, term, round_, inner.commit, 4, False, 200.0),
        SnapshotResponse(C, ME, term, round_, inner.commit, len(PICTURE), True, 200.0),
        JoinRequest(B, ME, Term(0), Incarnation("i-b")),
        JoinResponse(C, ME, term, own.incarnation, True, C, ""),
        LeaveRequest(C, ME, term, Incarnation("i-c")),
    ]


def tempting(core: Consensus) -> list[Any]:
    """Each is wrong in one thing, and would do damage."""
    inner = core._core
    log, later = inner.log, Term(max(inner.term, 1) + 1)
    commit, last, last_term = inner.commit, log.last_index, log.last_term
    before = Index(max(commit - 1, log.base))
    term_before = log.term_at(before) or Term(0)
    other = Entry(Index(before + 1), later, EntryKind.COMMAND, b"instead of what is committed")
    gap = Entry(Index(last + 2), later, EntryKind.COMMAND, b"after a gap")
    step_back = (
        Entry(Index(last + 1), later, EntryKind.COMMAND),
        Entry(Index(last + 2), Term(later - 1), EntryKind.COMMAND),
    )
    members = core.membership_at(commit)
    nobody = Entry(Index(last + 1), later, EntryKind.CONFIGURATION, b"nobody")
    return [
        AppendEntries(B, ME, later, 7, before, term_before, last, (other,)),
        *(
            AppendEntries(B, ME, later, 7, last, last_term, Index(last + 2), entries)
            for entries in ((gap,), step_back, (nobody,))
        ),
        AppendEntries(B, ME, later, 7, last, last_term, Index(1 << 61), ()),
        SnapshotChunk(B, ME, later, 7, SnapshotMark(before, later, members, len(PICTURE), CHECKSUM), 0, PICTURE),
        SnapshotChunk(B, ME, later, 7, SnapshotMark(Index(last + 9), later, members, 4, CHECKSUM), 0, PICTURE[:4]),
    ]


times = st.sampled_from([0.0, 1.0, 180.0, 200.0, 3.6e6, 3.7e6, -1.0, 1e308, math.inf, -math.inf, math.nan])
contents = st.sampled_from([b"", b"command", b"\xff\x00", b"x" * 70_000])


def of_type(kind: Any, close: Near) -> st.SearchStrategy[Any]:
    """Something of that type, as a decoder would let it pass."""
    if kind in (MemberId, str):
        return close.names
    if kind is Incarnation:
        return close.incarnations
    if kind in (ClusterId, BootId):
        return st.sampled_from(["test", "test", "other", "", LONG])
    if kind is bool:
        return st.booleans()
    if kind is float:
        return times
    if kind is bytes:
        return contents
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return st.lists(of_type(inner, close), max_size=4).map(tuple)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return struct(kind, close)
    if get_args(kind):  # a union
        return st.one_of(of_type(part, close) for part in get_args(kind))
    if kind is type(None):
        return st.none()
    return close.numbers


def struct(kind: type[msgspec.Struct], close: Near) -> st.SearchStrategy[Any]:
    fields = {name: of_type(hint, close) for name, hint in get_type_hints(kind).items() if name in _fields(kind)}
    if kind is AppendEntries:
        return st.builds(kind, **fields).flatmap(mostly_following)
    return st.builds(kind, **fields)


def _fields(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    return kind.__struct_fields__


def mostly_following(append: AppendEntries) -> st.SearchStrategy[AppendEntries]:
    """The same with entries that follow each other, as a leader of that term would have them."""
    last_term = max(append.previous_term, 1)
    entries = []
    for offset, entry in enumerate(append.entries, start=1):
        last_term = max(last_term, min(entry.term, append.term))
        entries.append(Entry(Index(append.previous_index + offset), Term(last_term), entry.kind, entry.command))
    following = msgspec.structs.replace(append, entries=tuple(entries))
    return st.sampled_from([following, following, append])


@st.composite
def messages(draw: Callable[[st.SearchStrategy[Any]], Any], close: Near) -> Any:
    """One that is right or tempting, as it is or but for a field or two; or one of any kind, with anything in it."""
    how = draw(st.sampled_from(["as it is", "nearly", "nearly", "anything"]))
    if how == "anything":
        said = draw(struct(draw(st.sampled_from(KINDS)), close))
        return msgspec.structs.replace(said, destination=ME) if draw(st.integers(0, 9)) else said
    said = draw(st.sampled_from(close.messages))
    if how == "nearly":
        hints = get_type_hints(type(said))
        for name in draw(st.lists(st.sampled_from(_fields(type(said))), min_size=1, max_size=2)):
            said = msgspec.structs.replace(said, **{name: draw(of_type(hints[name], close))})
    return said


def test_there_is_something_right_to_say_of_every_kind() -> None:
    node = follower()
    assert {type(said) for said in right(node.core, node.identity)} == set(KINDS)


# -------------------------------------------------------------------------------------------------------------- tests


@subjects
def test_whatever_is_said_the_core_neither_falls_nor_forgets(prepared: Callable[[], Node]) -> None:
    node = prepared()
    close = near(node.core, node.identity)
    turns = st.lists(
        st.tuples(messages(close), st.sampled_from([0.0, 0.0, 1.0, 60.0, 900.0]), st.integers(0, 7)),
        min_size=1,
        max_size=8,
    )

    @given(turns)
    def talk(turns: list[tuple[Any, float, int]]) -> None:
        subject = Subject(node)
        for said, passes, then in turns:
            subject.core.step(said, subject.now)
            subject.look()
            subject.now += passes
            meanwhile(subject, then)
            subject.look()
        subject.sync()

    talk()


@subjects
def test_each_thing_that_is_right_or_tempting_does_no_damage_alone(prepared: Callable[[], Node]) -> None:
    node = prepared()
    for said in near(node.core, node.identity).messages:
        subject = Subject(node)
        subject.core.step(said, subject.now)
        subject.look()
        subject.sync()
        subject.load()
        subject.sync()


def meanwhile(subject: Subject, what: int) -> None:
    core, now = subject.core, subject.now
    match what:
        case 0 | 1:
            subject.sync()
            subject.load()
        case 2:
            core.tick(now)
        case 3:
            with suppress(NotLeader, Transferring, Overloaded):
                core.propose([b"mine"], now)
        case 4:
            core.read(ReadContext(1), now)
        case 5:
            core.peer_lost(B, now)
        case 6:
            with suppress(NotLeader, TransferRefused):
                core.transfer(C, now)
        case _:
            pass


@subjects
def test_what_no_correct_peer_says_is_counted_once_and_changes_nothing(prepared: Callable[[], Node]) -> None:
    node = prepared()

    @given(messages(near(node.core, node.identity)))
    def talk(said: Any) -> None:
        subject = Subject(node)
        core = subject.core
        core.step(msgspec.structs.replace(said, destination=MemberId("nobody")), subject.now)  # the time is looked at
        before, ignored = (core.standing, core.last_index, core.commit_index), subject.ignored
        subject.look()
        core.step(said, subject.now)
        to_me = said.destination == ME and core._is_heard(said)
        if to_me and is_possible(said):
            return
        assert subject.ignored == ignored + 1
        assert (core.standing, core.last_index, core.commit_index) == before
        assert subject.look() == Output()

    talk()


@subjects
def test_whoever_greets_the_core_neither_falls_nor_believes_it_to_be_another(prepared: Callable[[], Node]) -> None:
    node = prepared()

    @given(st.lists(struct(Hello, near(node.core, node.identity)), min_size=1, max_size=4))
    def greet(hellos: list[Hello]) -> None:
        subject = Subject(node)
        for hello in hellos:
            subject.core.step(hello, subject.now)
            output = subject.look()
            assert [verdict.identity for verdict in output.greetings] in ([], [hello.identity])
        subject.sync()
        assert not subject.core.recognises(msgspec.structs.replace(node.identity, member=ME))

    greet()


# --------------------------------------------------------------------------------------------- one by one, and by kind

T, I1 = Term(1), Index(1)
ENTRY = Entry(Index(6), T, EntryKind.COMMAND)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (VoteRequest(MemberId("x"), ME, T, Incarnation("i-a"), I1, T, False), "no-member"),
        (VoteRequest(ME, ME, T, Incarnation("i-a"), I1, T, False), "no-member"),
        (VoteRequest(B, C, T, Incarnation("i-c"), I1, T, False), "no-member"),
        (VoteRequest(B, ME, T, Incarnation("i-z"), I1, T, False), "incarnation"),
        (VoteRequest(B, ME, T, Incarnation("i-a"), Index(-1), T, False), "impossible"),
        (VoteRequest(B, ME, T, Incarnation("i-a"), Index(1 << 64), T, False), "impossible"),
        (VoteRequest(B, ME, Term(-1), Incarnation("i-a"), I1, T, False), "impossible"),
        (VoteRequest(B, ME, Term(1 << 62), Incarnation("i-a"), I1, T, False), "impossible"),
        (VoteResponse(B, ME, T, False, True, math.nan), "impossible"),
        (VoteResponse(B, ME, T, False, True, math.inf), "impossible"),
        (AppendEntries(B, ME, Term(9), 1, Index(-1), T, I1, ()), "impossible"),
        (AppendEntries(B, ME, Term(9), -1, I1, T, I1, ()), "impossible"),
        (AppendEntries(B, ME, Term(9), 1 << 64, I1, T, I1, ()), "impossible"),
        (AppendEntries(B, ME, Term(9), 1, I1, T, I1, (ENTRY,)), "impossible"),
        (AppendEntries(B, ME, Term(9), 1, I1, Term(10), I1, ()), "impossible"),
        (AppendResponse(B, ME, T, 1, True, Index(99), Index(0), Term(0), 200.0), "late-append-response"),
        (AppendResponse(B, ME, T, 1, True, Index(1), Index(0), Term(0), math.nan), "impossible"),
        (AppendResponse(B, ME, T, 1, False, Index(1), Index(-1), Term(0), 200.0), "impossible"),
        (TimeoutNow(B, ME, T, 0), "impossible"),
        (SnapshotChunk(B, ME, T, 1, SnapshotMark(Index(9), T, Membership(()), 1, 0), 0, b"x"), "impossible"),
        (ReadIndexRequest(B, ME, T, -7), "impossible"),
        (ReadIndexRequest(B, ME, T, 1 << 64), "impossible"),
        (ReadIndexResponse(B, ME, T, 1, True, Index(0)), "impossible"),
        (ReadIndexResponse(B, ME, T, 1 << 50, True, Index(9)), "impossible"),
    ],
)
def test_bad_input_is_counted_by_kind(said: Any, kind: str) -> None:
    subject = Subject(follower())
    before = dict(subject.core.ignored)
    standing = subject.core.standing
    subject.core.step(said, subject.now)
    assert {name: times - before.get(name, 0) for name, times in subject.core.ignored.items()} == {kind: 1}
    assert subject.core.standing == standing


def test_an_acknowledgement_past_the_leaders_log_or_of_a_later_round_is_impossible() -> None:
    subject = Subject(leader())
    for index, round_ in ((99, 1), (1, 1 << 30)):
        subject.core.step(AppendResponse(B, ME, T, round_, True, Index(index), Index(0), Term(0), 200.0), subject.now)
    assert subject.core.ignored["impossible"] == 2


def test_a_commit_index_past_the_log_commits_no_more_than_what_is_there() -> None:
    subject = Subject(follower())
    term, last = subject.core._core.term, subject.core.last_index
    subject.core.step(AppendEntries(B, ME, term, 99, last, term, Index(last + 1000), ()), subject.now)
    assert subject.core.commit_index == last


@pytest.mark.parametrize("generation", [-1, (1 << 32) + 1, (1 << 64) - 1])
def test_a_process_with_an_impossible_generation_is_refused_and_counted(generation: int) -> None:
    node = follower()
    subject = Subject(node)
    other = msgspec.structs.replace(node.cluster.nodes["b"].identity, generation=generation)
    subject.core.step(msgspec.structs.replace(node.cluster.nodes["b"].hello, identity=other), subject.now)
    (verdict,) = subject.look().greetings
    assert verdict.refusal.kind == "malformed"  # type: ignore[union-attr]
    assert subject.core.ignored == {"hello-malformed": 1}


def test_a_process_of_another_cluster_is_refused_and_counted() -> None:
    node = follower()
    subject = Subject(node)
    other = msgspec.structs.replace(node.cluster.nodes["b"].identity, cluster=ClusterId("other"))
    subject.core.step(msgspec.structs.replace(node.cluster.nodes["b"].hello, identity=other), subject.now)
    (verdict,) = subject.look().greetings
    assert verdict.refusal.kind == "other-cluster"  # type: ignore[union-attr]
    assert subject.core.ignored == {"hello-other-cluster": 1}
