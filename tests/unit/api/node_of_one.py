"""A node for the HTTP face alone: it commits at once, or refuses as it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from raftq_k8s.api.views import ApplicationReport, ApplicationState, OperationRefused
from raftq_k8s.node.distribution import Distribution
from raftq_k8s.node.leadership import Failover
from raftq_k8s.node.status import MemberStatus, NodeStatus, RaftRole
from raftq_k8s.node.timings import Timings
from raftq_k8s.raft.membership import Change
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.types import ClusterId, Incarnation, Index, MemberId, Term
from raftq_k8s.state import commands
from raftq_k8s.state.commands import Command
from raftq_k8s.state.document import Document
from raftq_k8s.state.journal import Journal
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.state.snapshot import Frozen

ME = MemberId("raftq-0")
OTHER = MemberId("raftq-1")


class NodeOfOne:
    def __init__(self, limit_bytes: int = 64 << 20) -> None:
        self._state = StateMachine(limit_bytes)
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.refusal: Exception | None = None
        self.submitted: list[Command] = []
        self.reads: list[str] = []
        self.changes: list[Change] = []
        self.entries_without_command = 0
        """That stand behind the last command, as after an election."""
        self.asked_for_news = 0
        self._waiting: list[asyncio.Future[None]] = []
        self.now = NodeStatus(
            member=ME,
            cluster=ClusterId("raftq-7f3c"),
            waiting_for=None,
            role=RaftRole.LEADER,
            term=Term(7),
            leader=ME,
            established=True,
            leader_http="10.0.0.1:7480",
            caught_up=True,
            leaderless_ms=0.0,
            quorum_left_ms=150.0,
            lease_left_ms=120.0,
            commit_index=Index(12),
            applied_index=Index(11),
            last_index=Index(13),
            voters=(ME, OTHER, MemberId("raftq-2")),
            learners=(),
            connected=(OTHER,),
            elections={"won": 2, "pre-vote-lost": 1},
            leader_changes=3,
            ignored_messages={"other-cluster": 4},
            proposals={"applied": 5, "refused": 1},
            base_index=Index(3),
            snapshot_index=Index(9),
        )

    def is_now(self, **changes: object) -> None:
        self.now = msgspec.structs.replace(self.now, **changes)
        self.wake()

    def status(self) -> NodeStatus:
        return self.now

    def standing(self) -> Standing:
        role = "leader" if self.now.role == RaftRole.LEADER else "follower"
        return Standing(role, self.now.term, self.now.leader, self.now.established)

    @property
    def document(self) -> Document:
        return self._state.document

    @property
    def journal(self) -> Journal:
        return self._state.journal

    @property
    def paused(self) -> str | None:
        return self._state.paused

    def freeze(self) -> tuple[Frozen, Index]:
        return self._state.freeze(), self.document.applied_index

    @property
    def timings(self) -> Timings:
        timings = Timings()
        timings.persist.observe(0.002)
        timings.commit.observe(0.004)
        timings.election.observe(0.25)
        return timings

    def members(self) -> tuple[MemberStatus, ...]:
        return (
            _member(ME, "voter", connected=True),
            _member(OTHER, "voter", connected=True, match_index=Index(11), lag=2, rtt_ms=0.4, heard_ms=21.0),
            _member(MemberId("raftq-2"), "learner", connected=False, match_index=Index(0), lag=13, heard_ms=9000.0),
        )

    def history(self) -> tuple[Failover, ...]:
        return (Failover(1_700_000_000.5, OTHER, ME, Term(7), "connection-lost", 290.0),)

    async def change(self, change: Change, timeout_s: float) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.changes.append(change)

    async def transfer(self, target: MemberId | None, timeout_s: float) -> MemberId:
        if self.refusal is not None:
            raise self.refusal
        self.is_now(role=RaftRole.FOLLOWER, leader=target or OTHER, term=Term(8), established=False)
        return target or OTHER

    async def next_standing(self, seen: Standing) -> Standing:
        while self.standing() == seen:
            await self._something()
        return self.standing()

    async def next_applied(self, index: Index) -> Index:
        self.asked_for_news += 1
        while self._applied_index <= index:
            await self._something()
        return self._applied_index

    @property
    def _applied_index(self) -> Index:
        return Index(self.document.applied_index + self.entries_without_command)

    async def _something(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def apply(self, command: Command) -> Any:
        result = self._state.apply(Index(self.document.applied_index + 1), commands.encode(command))
        self.wake()
        return result

    async def submit(self, command: Command, timeout_s: float) -> Any:
        self.submitted.append(command)
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise self.refusal
        return self.apply(command)

    async def read(self, timeout_s: float) -> None:
        await self._read("linearizable")

    async def leased_read(self, timeout_s: float) -> None:
        await self._read("lease")

    async def _read(self, consistency: str) -> None:
        await asyncio.sleep(0)
        self.reads.append(consistency)
        if self.refusal is not None:
            raise self.refusal


def _member(name: MemberId, kind: str, **known: Any) -> MemberStatus:
    told = dict.fromkeys(("match_index", "lag", "rtt_ms", "heard_ms"), None) | known
    return MemberStatus(name=name, incarnation=Incarnation(f"of-{name}"), kind=kind, http_address=None, **told)


class LabelOfOne:
    def __init__(self) -> None:
        self.writes = {"written": 2, "conflict": 1}
        self.pending = True
        self.labelled_leaders: int | None = 1
        self.api_last_success: float | None = 1_700_000_000.5


class FramesOfOne:
    def __init__(self) -> None:
        self.bad_frames = {"undecodable": 6}
        self.certificate_expires_at = 1.5e9


class AgentOfOne:
    """What a person asked of the agent, and what its application reported; or the refusal that it was told to give."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.refusal: OperationRefused | None = None
        self.hooks_told = {("exec", "done"): 3}
        self.now = ApplicationState(
            wanted="running",
            state="starting",
            term=Term(7),
            lease_left_ms=4000.0,
            ask_left_ms=2000.0,
            healthy=True,
            holder=ME,
            holder_term=Term(7),
        )

    async def drain(self) -> None:
        self._take("drain")

    async def recover(self, old: ClusterId) -> ClusterId:
        self._take(("recover", old))
        return ClusterId("raftq-91ab")

    async def join(self, new: ClusterId) -> None:
        self._take(("join", new))

    def state(self) -> ApplicationState:
        return self.now

    async def report(self, report: ApplicationReport) -> ApplicationState:
        self._take(report)
        self.now = msgspec.structs.replace(self.now, state=report.state or self.now.state)
        return self.now

    @asynccontextmanager
    async def set_aside(self) -> AsyncIterator[None]:
        self.asked.append("set aside")
        yield
        self.asked.append("resumed")

    def _take(self, asked: object) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(asked)


class LoopOfOne:
    def __init__(self) -> None:
        self.stalls = 1
        self.lag = Distribution((0.01, 0.5))
        self.lag.observe(0.0)
        self.lag.observe(2.5)
