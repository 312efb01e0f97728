"""The consensus core alone: members in memory, all in one thread, commands of 256 bytes.

Disks and network are lists: a write is synced as soon as it is handed over, a message arrives when its turn comes, and
the clock goes on by a tenth of a millisecond with every batch. So what is measured is what the core itself takes, the
followers' share included. The aims, with three members on one core: at least 10,000 commands a second when each is
proposed on its own, and at least 100,000 in batches of 64.
"""

import time
from collections import deque

import msgspec

from raftq_k8s.raft.configuration import encode
from raftq_k8s.raft.consensus import Consensus
from raftq_k8s.raft.membership import BirthRecord, Hello, Identity, Member, Membership
from raftq_k8s.raft.messages import Entry, EntryKind, Message
from raftq_k8s.raft.persistence import HardState, Restored
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import (
    BootId,
    ClusterId,
    Generation,
    Incarnation,
    Index,
    Instant,
    MemberId,
    Milliseconds,
    Term,
)

SIZES = ((3, 0), (5, 0), (9, 0), (3, 50))
"""Voters, and learners beside them."""
BATCHES = (1, 64)
_COMMAND = b"c" * 256
_TURN: Milliseconds = 0.1
_PART_S = 0.5
"""Of a load: several parts are measured, and the fastest counts, for the machine may have been busy in the others."""
_PARTS = 4
_HEARTBEATS = 2000
_CLUSTER = ClusterId("bench")


class CoreCost(msgspec.Struct):
    voters: int
    learners: int
    commands_per_second_batch_1: int
    commands_per_second_batch_64: int
    heartbeat_us_leader_per_peer: float
    heartbeat_us_follower: float


def measure() -> list[CoreCost]:
    found = []
    for voters, learners in SIZES:
        singly, batched = (
            max(_commands_per_second(voters, learners, batch) for _ in range(_PARTS)) for batch in BATCHES
        )
        leader_us, follower_us = _heartbeat_us(voters, learners)
        found.append(CoreCost(voters, learners, singly, batched, leader_us, follower_us))
    return found


def _commands_per_second(voters: int, learners: int, batch: int) -> int:
    cluster = _Cluster(voters, learners)
    commands = [_COMMAND] * batch
    committed = 0
    began = time.process_time()
    while (passed := time.process_time() - began) < _PART_S:
        cluster.propose(commands)
        committed += batch
    return round(committed / passed)


def _heartbeat_us(voters: int, learners: int) -> tuple[float, float]:
    """What one heartbeat and its answer take of the leader for each peer, and of one follower."""
    cluster = _Cluster(voters, learners)
    leading = following = 0.0
    for _ in range(_HEARTBEATS):
        cluster.now = cluster.leader.wake_at
        began = time.process_time()
        cluster.leader.tick(cluster.now)
        heartbeats = cluster.take(cluster.leader)
        sent = time.process_time()
        answers = cluster.deliver(heartbeats)
        answered = time.process_time()
        rest = cluster.deliver(answers)
        following += answered - sent
        leading += time.process_time() - answered + sent - began
        assert len(heartbeats) == len(answers) == voters + learners - 1
        assert not rest
    share = 1e6 / _HEARTBEATS / (voters + learners - 1)
    return round(leading * share, 2), round(following * share, 2)


class _Cluster:
    """One member of it leads."""

    def __init__(self, voters: int, learners: int) -> None:
        names = [MemberId(f"n{number:02}") for number in range(voters + learners)]
        members = tuple(Member(name, _identity(name).incarnation) for name in names)
        membership = Membership(voters=members[:voters], learners=members[voters:])
        record = BirthRecord(_CLUSTER, membership.voters, Term(1))
        self.now: Instant = 0.0
        self._members = {name: _member(name, record, membership, seed) for seed, name in enumerate(names)}
        for name, member in self._members.items():
            for other in names:
                if other != name:
                    member.step(_hello(other, record), self.now)
            self.take(member)
        while not (leading := [each for each in self._members.values() if each.standing.established]):
            self.now = min(each.wake_at for each in self._members.values())
            for member in self._members.values():
                member.tick(self.now)
                self.settle(self.take(member))
        self.leader = leading[0]
        self.now = self.leader.wake_at  # the followers hear of the first commit
        self.leader.tick(self.now)
        self.settle(self.take(self.leader))

    def propose(self, commands: list[bytes]) -> None:
        self.now += _TURN
        leader = self.leader
        if self.now >= leader.wake_at:
            leader.tick(self.now)
        leader.propose(commands, self.now)
        self.settle(self.take(leader))
        assert leader.commit_index == leader.last_index

    def settle(self, messages: list[Message]) -> None:
        """Bring those where they belong, and whatever comes of them."""
        under_way = deque(messages)
        while under_way:
            message = under_way.popleft()
            member = self._members[message.destination]
            member.step(message, self.now)
            under_way.extend(self.take(member))

    def deliver(self, messages: list[Message]) -> list[Message]:
        """Bring those where they belong; returns what is said next."""
        answers: list[Message] = []
        for message in messages:
            member = self._members[message.destination]
            member.step(message, self.now)
            answers.extend(self.take(member))
        return answers

    def take(self, member: Consensus) -> list[Message]:
        """Carry out what that member wants done; returns what it says."""
        messages: list[Message] = []
        while True:
            output = member.take_output()
            messages.extend(output.messages)
            if output.committed:
                member.applied(output.committed[-1].index)
            if output.receipt is None:
                return messages
            member.persisted(output.receipt, self.now)


def _identity(name: MemberId) -> Identity:
    return Identity(_CLUSTER, name, Incarnation(f"volume-{name}"), Generation(1), BootId(f"boot-{name}"))


def _hello(name: MemberId, record: BirthRecord) -> Hello:
    return Hello(1, 1, _identity(name), record, "")


def _member(name: MemberId, record: BirthRecord, membership: Membership, seed: int) -> Consensus:
    identity = _identity(name)
    first = Entry(Index(1), Term(1), EntryKind.CONFIGURATION, encode(membership))
    restored = Restored(name, identity.incarnation, Generation(1), record, HardState(Term(1)), [first])
    return Consensus(identity, restored, Settings(max_voters=len(membership.voters)), seed, 0.0)
