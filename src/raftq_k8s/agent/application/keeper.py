"""The one task that has the application run where and when it may: looks at Raft and the log, asks `lease.py` what is
next, and carries it out by the hooks.

It is level-triggered: it wakes when what Raft says of this node changes, when a hook or the application reports, and
when it is time for anything. Hooks are told one thing at a time; a start that takes long is broken off by a stop. What
a hook has not done in time is cancelled, which kills it, and is counted.
"""

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Literal, Protocol

import msgspec

from raftq_k8s.agent.application.hooks import Hook, HookFailed, Notice, Role
from raftq_k8s.agent.application.lease import (
    Act,
    ApplicationLease,
    Claim,
    Condition,
    Doubtful,
    HandOver,
    Idle,
    Lease,
    Raft,
    Release,
    Rest,
    Running,
    Start,
    Stop,
)
from raftq_k8s.agent.application.reports import Reports
from raftq_k8s.api.views import ApplicationReport, ApplicationState, OperationRefused
from raftq_k8s.node.errors import NoLeader, NotLeader, NotStarted, OutcomeUnknown, Overloaded, TransferFailed
from raftq_k8s.node.runtime import boottime
from raftq_k8s.node.status import NodeStatus
from raftq_k8s.raft.consensus import TransferRefused
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.types import NO_TERM, Instant, MemberId, Milliseconds, Term
from raftq_k8s.state.agreements import Holding
from raftq_k8s.state.commands import Noted, Starting, Stopped

log = logging.getLogger(__name__)

_COMMIT_TIMEOUT_S: Final = 2.0
_TRANSFER_TIMEOUT_S: Final = 5.0
_PAUSE_S: Final = 0.1
"""After something that could not be done."""
_ABANDONING_S: Final = 2.0
_WAITING_TICK: Final[Milliseconds] = 50.0
"""So often a leader looks whether the former holder has said that it stopped."""
_LATE_S: Final = 1.0
"""What ends by itself at the end of the lease is seen to have ended a moment later."""


class Node(Protocol):
    """What this needs of a running node."""

    @property
    def application(self) -> Holding | None: ...

    @property
    def paused(self) -> str | None: ...

    def status(self) -> NodeStatus: ...

    def standing(self) -> Standing: ...

    async def next_standing(self, seen: Standing) -> Standing: ...

    async def submit(self, command: Starting | Stopped, timeout_s: float) -> Noted: ...

    async def transfer(self, target: MemberId | None, timeout_s: float) -> MemberId: ...


class Patience(msgspec.Struct, frozen=True):
    """In seconds, but `renew`."""

    start: float
    """An application that does not serve after so long is taken for failed."""
    stop: float
    tell: float = 10.0
    renew: Milliseconds = 500.0
    """So often a running application is told that it may go on."""


class Keeper:
    """Also what the HTTP face sees of the application (`api.views.ApplicationView`), and the keeper of the label."""

    def __init__(
        self,
        node: Node,
        member: MemberId,
        holder: str,
        lease: ApplicationLease,
        hooks: Sequence[Hook],
        patience: Patience,
        *,
        within_ms: int,
        clock: Callable[[], Instant] = boottime,
    ) -> None:
        self._node = node
        self._member = member
        self._holder = holder
        self._lease = lease
        self._hooks = hooks
        self._patience = patience
        self._within_ms = within_ms
        self._clock = clock

        self._at_work = False
        self._ending = False
        self._transfers = 0
        """Which have it set aside."""
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        """The application does not run here."""
        self._settled = asyncio.Event()
        """And the log does not say that it may."""
        self._promoted_changed: set[asyncio.Event] = set()
        self._promoted_in: Term | None = None
        self._stopping = True
        self._told_to_stop = False
        self._told: tuple[MemberId | None, Term] = (None, NO_TERM)
        self._start: asyncio.Task[None] | None = None
        self._aside: asyncio.Task[None] | None = None
        """What is done beside: telling of another leader, or renewing. Nothing depends on it."""
        self._complaints: dict[str, str] = {}
        self.hooks_told: Counter[tuple[str, str]] = Counter()
        """By hook and outcome: `done`, `failed`, `killed` (it took too long, or something else came first)."""

    # ------------------------------------------------------------------------------------------------ for who looks on

    def promoted_in(self) -> Term | None:
        """The term in which the application serves as the leader."""
        return self._promoted_in

    async def next_promoted(self, seen: Term | None) -> None:
        """Waits until `promoted_in` differs from that."""
        changed = asyncio.Event()
        self._promoted_changed.add(changed)
        try:
            while self._promoted_in == seen:
                await changed.wait()
                changed.clear()
        finally:
            self._promoted_changed.discard(changed)

    def state(self) -> ApplicationState:
        condition, lease, now = self._lease.condition, self._lease.lease, self._clock()
        holding = self._node.application
        wanted = isinstance(condition, Running) and not self._stopping and lease is not None
        return ApplicationState(
            wanted="running" if wanted else "stopped",
            state=_shown(condition, self._stopping),
            term=condition.term if isinstance(condition, Running) else None,
            lease_left_ms=max(0.0, lease.kill_at - now) if lease and wanted else 0.0,
            ask_left_ms=max(0.0, lease.ask_at - now) if lease and wanted else 0.0,
            healthy=self._lease.healthy,
            holder=None if holding is None else MemberId(holding.holder.partition("@")[0]),
            holder_term=None if holding is None else Term(holding.term),
        )

    async def report(self, report: ApplicationReport) -> ApplicationState:
        """Raises `OperationRefused` for a report about another term than the one that is now."""
        reports = next((hook for hook in self._hooks if isinstance(hook, Reports)), None)
        now = self.state()
        if report.state is not None:
            if reports is None:
                raise OperationRefused(
                    "this agent takes the end of its hook for the application's word: set application_signal to put"
                )
            if report.term != now.term:
                raise OperationRefused(f"the term is {now.term} by now, and the report is about {report.term}")
        match report.state, now.wanted:
            case "promoted", "running":
                assert reports is not None
                reports.promoted(Term(now.term or NO_TERM))
            case "promoted", _:
                raise OperationRefused("the application is not to run here: stop it")
            case "stopped", wanted:
                assert reports is not None
                reports.stopped()
                if wanted == "running":
                    self.ended(Term(now.term or NO_TERM))
            case _:
                pass
        if report.healthy is not None:
            if self._lease.healthy and not report.healthy:
                log.warning("the application says that it is not well: %s", report.reason or "no reason given")
            self._lease.report_health(report.healthy, self._clock())
        self._wake()
        await asyncio.sleep(0)
        return self.state()

    # ------------------------------------------------------------------------------------------------ from start to end

    async def stop_former_life(self) -> None:
        """Tell the application to stop, whoever started it: awaited before Raft starts, for a bounded time."""
        with contextlib.suppress(HookFailed, TimeoutError):
            async with asyncio.timeout(self._patience.stop):
                await self._tell_to_stop(self._notice("follower", NO_TERM))

    async def run(self) -> None:
        """Until it is cancelled. What hooks are doing then is broken off. Where it fails, whatever was started is told
        to stop: nobody knows whether the next try fares better."""
        self._at_work = True
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._heed_raft())
                tasks.create_task(self._keep())
        except Exception:
            await self._let_go()
            await self.abandon()
            raise
        finally:
            await self._let_go()

    async def _let_go(self) -> None:
        self._at_work = False
        await self._break_off()
        self._lease.doubted()
        self._note_promotion()

    async def end(self) -> None:
        """Stop the application, and have the log say so; start it no more. Gives up when that takes too long."""
        self._ending = True
        await self._withdraw()

    async def abandon(self) -> None:
        """Nobody tells hooks anything any more, for `run` was cancelled or has failed: tell the application to stop if
        it was not told yet. The node may be what has failed, and is asked for nothing."""
        if self._told_to_stop:
            return
        self._stopping = True
        term = self._lease.lease.term if self._lease.lease is not None else NO_TERM
        with contextlib.suppress(HookFailed, TimeoutError):
            async with asyncio.timeout(_ABANDONING_S):
                await self._tell_to_stop(Notice("follower", term, self._member, None, None))

    async def _withdraw(self) -> None:
        self._idle.clear()
        self._settled.clear()
        self._lease.withdraw()
        if not self._at_work:
            return
        self._wake()
        try:
            async with asyncio.timeout(self._patience.stop):
                await self._idle.wait()
        except TimeoutError:
            log.warning("the application has not stopped in time")
            return
        try:
            async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                await self._settled.wait()
        except TimeoutError:
            log.warning("the log could not be told that the application has stopped: the next leader waits")

    @contextlib.asynccontextmanager
    async def set_aside(self) -> AsyncIterator[None]:
        """Within it the application is stopped, so that leadership can be given to somebody else."""
        self._transfers += 1
        try:
            await self._withdraw()
            yield
        finally:
            self._transfers -= 1
            if not self._ending and not self._transfers:
                self._lease.resume()
                self._wake()

    def ended(self, term: Term) -> None:
        """The application ended by itself."""
        log.warning("the application of term %d ended by itself", term)
        self._lease.failed(term)
        self._wake()

    # ----------------------------------------------------------------------------------------------------- what is next

    async def _heed_raft(self) -> None:
        standing = self._node.standing()
        with contextlib.suppress(NotStarted):  # the node takes no part any more: what runs is stopped all the same
            while True:
                standing = await self._node.next_standing(standing)
                self._wake()

    async def _keep(self) -> None:
        while True:
            self._woken.clear()
            raft = self._look()
            act = self._lease.next(raft)
            self._note_promotion()
            if isinstance(self._lease.condition, Idle):
                self._idle.set()
            if self._lease.settled(raft):
                self._settled.set()
            await self._carry_out(act, raft)

    async def _carry_out(self, act: Act, raft: Raft) -> None:
        match act:
            case Rest(until):
                await self._rest(until, raft)
            case Claim(term):
                await self._commit(Starting(term, self._holder, self._within_ms))
            case Start():
                await self._begin()
            case Stop(by):
                await self._end_by(by)
            case Release(term):
                if not await self._commit(Stopped(term)):
                    self._lease.release_unknown(term)
            case HandOver():
                await self._hand_over()

    def _look(self) -> Raft:
        now = self._clock()
        status = self._node.status()
        return Raft(
            now,
            status.term,
            status.leader,
            leads=status.established and status.quorum_left_ms > 0,
            quorum_until=now + status.quorum_left_ms,
            applied=status.applied_index >= status.commit_index,
            holding=self._node.application,
        )

    async def _rest(self, until: Instant, raft: Raft) -> None:
        match self._lease.condition:
            case Running() if self._lease.lease is not None:
                self._renew(self._lease.lease)
                until = min(until, raft.now + self._patience.renew)
            case Idle() if raft.leads and not self._lease.withdrawn:
                until = min(until, raft.now + _WAITING_TICK)
            case Idle():
                self._tell_of_leader(raft)
            case _:
                pass
        with contextlib.suppress(TimeoutError):
            left_s = max(0.0, until - self._clock()) / 1000
            async with asyncio.timeout(None if math.isinf(until) else left_s):
                await self._woken.wait()

    async def _commit(self, command: Starting | Stopped) -> bool:
        """Whether it is known what came of it."""
        try:
            await self._node.submit(command, _COMMIT_TIMEOUT_S)
        except OutcomeUnknown:
            await asyncio.sleep(_PAUSE_S)
            return False
        except (NoLeader, NotLeader, NotStarted, Overloaded):
            await asyncio.sleep(_PAUSE_S)
        return True

    async def _hand_over(self) -> None:
        paused = self._node.paused
        try:
            if paused is not None:
                raise TransferFailed(f"the cluster is paused: {paused}")
            successor = await self._node.transfer(None, _TRANSFER_TIMEOUT_S)
            log.info("handed the leadership to %s: the application does not do well here", successor)
        except (NotLeader, NotStarted, TransferFailed, TransferRefused) as error:
            log.warning("the application does not do well here, and leadership stays: %s", error)
            self._lease.kept(self._clock())

    # ----------------------------------------------------------------------------------------------------------- hooks

    async def _begin(self) -> None:
        await self._break_off()
        raft = self._look()
        if not raft.leads:
            return
        self._lease.starting(raft)
        lease = self._lease.lease
        assert lease is not None
        self._stopping = self._told_to_stop = False
        self._start = asyncio.create_task(self._start_hooks(self._notice("leader", raft.term), lease))

    async def _start_hooks(self, notice: Notice, lease: Lease) -> None:
        log.info("starting the application of term %d", notice.term)
        try:
            async with asyncio.timeout(self._patience.start):
                await self._all((hook.name, hook.start(notice, lease)) for hook in self._hooks)
        except (HookFailed, TimeoutError):
            self._lease.failed(notice.term)
        else:
            self._lease.promoted(notice.term)
            log.info("the application of term %d serves as the leader", notice.term)
        self._wake()

    async def _end_by(self, by: Instant) -> None:
        self._stopping = True
        await self._break_off()
        left_s = max(0.0, by - self._clock()) / 1000
        try:
            async with asyncio.timeout(left_s):
                if not self._told_to_stop:
                    await self._tell_to_stop(self._notice("follower", self._look().term))
            async with asyncio.timeout(max(0.0, by - self._clock()) / 1000 + _LATE_S):
                await self._all((hook.name, hook.ended()) for hook in self._hooks)
        except (HookFailed, TimeoutError):
            self._told_to_stop = False
            self._lease.stop_failed(self._clock())
        else:
            self._lease.stopped()
            log.info("the application does not run here")

    async def _tell_to_stop(self, notice: Notice) -> None:
        await self._all((hook.name, hook.stop(notice)) for hook in self._hooks)
        self._told_to_stop = True

    def _renew(self, lease: Lease) -> None:
        if self._start is not None and (self._aside is None or self._aside.done()):
            notice = self._notice("leader", lease.term)
            self._set_aside_task(hook.renew(notice, lease) for hook in self._hooks)

    def _tell_of_leader(self, raft: Raft) -> None:
        if raft.leader in (None, self._member) or (raft.leader, raft.term) == self._told:
            return
        self._told = (raft.leader, raft.term)
        if self._aside is not None:
            self._aside.cancel()
        notice = self._notice("follower", raft.term)
        self._set_aside_task(hook.tell(notice) for hook in self._hooks)

    def _set_aside_task(self, work: Iterable[Coroutine[Any, Any, None]]) -> None:
        self._aside = asyncio.create_task(self._beside(zip((hook.name for hook in self._hooks), work, strict=True)))

    async def _beside(self, work: Iterable[tuple[str, Coroutine[Any, Any, None]]]) -> None:
        with contextlib.suppress(HookFailed, TimeoutError):
            async with asyncio.timeout(self._patience.tell):
                await self._all(work)

    async def _break_off(self) -> None:
        tasks = [task for task in (self._start, self._aside) if task is not None]
        self._start = self._aside = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _all(self, work: Iterable[tuple[str, Coroutine[Any, Any, None]]]) -> None:
        """Side by side, each to its end. Raises the first `HookFailed`."""
        results = await asyncio.gather(*(self._counted(name, each) for name, each in work), return_exceptions=True)
        for result in results:
            if result is not None:
                raise result

    async def _counted(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        outcome = "failed"
        try:
            await work
            outcome = "done"
            self._complaints.pop(name, None)
        except HookFailed as error:
            self._complain(name, str(error))
            raise
        except asyncio.CancelledError:
            outcome = "killed"
            raise
        finally:
            self.hooks_told[name, outcome] += 1

    def _complain(self, name: str, complaint: str) -> None:
        """Once for each trouble, not for each try."""
        if self._complaints.get(name) != complaint:
            self._complaints[name] = complaint
            log.warning("hook %s failed: %s", name, complaint)

    def _notice(self, role: Role, term: Term) -> Notice:
        status = self._node.status()
        return Notice(role, term, self._member, status.leader, status.leader_http or None)

    def _note_promotion(self) -> None:
        promoted = self._lease.promoted_in()
        if promoted != self._promoted_in:
            self._promoted_in = promoted
            for changed in self._promoted_changed:
                changed.set()

    def _wake(self) -> None:
        self._woken.set()


def _shown(condition: Condition, stopping: bool) -> Literal["stopped", "starting", "promoted", "stopping"]:
    match condition:
        case Idle():
            return "stopped"
        case Running(_, promoted) if not stopping:
            return "promoted" if promoted else "starting"
        case Running() | Doubtful():
            return "stopping"
