"""What a leader knows of one peer, against a peer that only has to be described, and a network that loses, doubles and
reorders.

The leader's log never changes but at its end, and begins later now and then; the peer holds a prefix of it, and after
that perhaps something else. Whatever arrives when, the leader never believes that the peer holds what it does not, and
never has more on its way than it may; in the end, when nothing is lost any more, the peer holds all of it.
"""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec import Struct

from raftq_k8s.raft.membership import Member, Membership
from raftq_k8s.raft.messages import SnapshotMark
from raftq_k8s.raft.progress import Pace, Progress
from raftq_k8s.raft.types import Incarnation, Index, MemberId, Term

MEMBERSHIP = Membership((Member(MemberId("a"), Incarnation("i")),))
MOST, MOST_BYTES = 3, 40


class Append(Struct):
    previous: int
    count: int


class Snapshot(Struct):
    index: int


class Answer(Struct):
    agrees: bool
    index: int
    hint: int = 0


class LeaderAndPeer(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.last = 10
        self.base = 0
        self.progress = Progress(Index(self.last + 1), MOST, MOST_BYTES)
        self.peer_agrees = 4
        """Up to here the peer's log is the leader's."""
        self.peer_last = 6
        """And here it ends."""
        self.to_peer: list[Append | Snapshot] = []
        self.to_leader: list[Answer] = []

    # ------------------------------------------------------------------------------------------------------ the leader

    @rule(count=st.integers(1, 3))
    def propose(self, count: int) -> None:
        self.last += count

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        self.base = data.draw(st.integers(self.base, self.last))

    @rule(count=st.integers(1, 3), size=st.integers(1, 50))
    def replicate(self, count: int, size: int) -> None:
        progress = self.progress
        if progress.next <= self.base:
            self.send_snapshot()
        elif progress.may_send and progress.next <= self.last:
            assert progress.room > 0
            count = min(count, self.last - progress.next + 1)
            self.to_peer.append(Append(progress.next - 1, count))
            progress.sent(Index(progress.next - 1 + count), size)

    def send_snapshot(self) -> None:
        self.progress.send_snapshot(SnapshotMark(Index(self.last), Term(1), MEMBERSHIP, 9, 9))
        self.to_peer.append(Snapshot(self.last))

    @rule()
    def begin_round(self) -> None:
        """An empty append, and what was lost of a snapshot once more."""
        if self.progress.next <= self.base:
            self.send_snapshot()
        elif self.progress.sending is not None:
            self.to_peer.append(Snapshot(self.progress.sending.mark.index))
        self.to_peer.append(Append(self.progress.next - 1, 0))

    @precondition(lambda self: self.to_leader)
    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        self.take_answer(self.to_leader.pop(data.draw(st.integers(0, len(self.to_leader) - 1))))

    def take_answer(self, answer: Answer) -> None:
        progress = self.progress
        before, sending = (progress.match, progress.next, progress.pace), progress.sending
        if answer.agrees:
            progress.acknowledged(Index(answer.index))
            assert progress.match == max(before[0], answer.index)
            covers = sending.mark.index if sending is not None else 0
            assert progress.pace is (Pace.REPLICATE if progress.match >= covers else Pace.SNAPSHOT)
        elif progress.pace is not Pace.SNAPSHOT:
            news = progress.refused(Index(answer.index), Index(min(answer.hint, answer.index - 1)))
            assert news or (progress.match, progress.next, progress.pace) == before
            assert not news or (progress.pace is Pace.PROBE and progress.may_send)

    # -------------------------------------------------------------------------------------------- the peer, the network

    @precondition(lambda self: self.to_peer)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        self.arrive(self.to_peer.pop(data.draw(st.integers(0, len(self.to_peer) - 1))))

    def arrive(self, message: Append | Snapshot) -> None:
        match message:
            case Snapshot(index):
                if index > self.peer_agrees:
                    self.peer_agrees = self.peer_last = index
                self.to_leader.append(Answer(True, index))
            case Append(previous, count) if previous <= self.peer_agrees:
                end = previous + count
                if end > self.peer_agrees:
                    self.peer_agrees = self.peer_last = end
                self.to_leader.append(Answer(True, end))
            case Append(previous):
                self.to_leader.append(Answer(False, previous, min(previous - 1, self.peer_last)))

    @precondition(lambda self: self.to_peer or self.to_leader)
    @rule(data=st.data(), twice=st.booleans())
    def lose_or_double(self, data: st.DataObject, twice: bool) -> None:
        queue: list[Append | Snapshot] | list[Answer] = self.to_peer or self.to_leader
        position = data.draw(st.integers(0, len(queue) - 1))
        if twice:
            queue.append(queue[position])  # type: ignore[arg-type]
        else:
            del queue[position]

    # ------------------------------------------------------------------------------------------------------- what holds

    @invariant()
    def nothing_is_believed_that_is_not_so(self) -> None:
        assert self.progress.match <= self.peer_agrees <= self.last
        assert self.progress.next > self.progress.match
        assert self.progress.next <= self.last + 1

    @invariant()
    def no_more_is_in_flight_than_may_be(self) -> None:
        in_flight = self.progress._in_flight
        assert len(in_flight) <= MOST
        assert self.progress._in_flight_bytes == sum(size for _, size in in_flight)
        assert sum(size for _, size in list(in_flight)[:-1]) < MOST_BYTES
        assert (self.progress.sending is not None) == (self.progress.pace is Pace.SNAPSHOT)
        assert not (self.progress.pace is Pace.SNAPSHOT and self.progress.may_send)

    def teardown(self) -> None:
        """From here on nothing is lost."""
        for _ in range(60):
            if self.progress.match == self.last:
                return
            self.begin_round()
            self.replicate(3, 1)
            while self.to_peer:
                self.arrive(self.to_peer.pop(0))
            while self.to_leader:
                self.take_answer(self.to_leader.pop(0))
        raise AssertionError(f"the peer does not catch up: {self.progress.pace}, {self.progress.match} of {self.last}")


LeaderAndPeer.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestLeaderAndPeer = LeaderAndPeer.TestCase
