"""The application lease: when the application beside this node may run, and why never two of them do at one moment.

The consensus lease (`raft/lease.py`) is too short for this. It says until when nobody else can have been elected; but
an application that is told to stop needs seconds for it, and a process that stands still is told nothing. So there is
a second, longer lease around the first one, and the log knows who holds it.

 1. *Say it first.* A leader of term t starts its application only once `Starting(t)` is committed. With it the holder
    promises that its application has ended `within` so many milliseconds after another leader was elected.
 2. *Wait for who said it.* A leader claims the lease for its own term only when it has applied all that was committed
    before its term, and then each `Starting` has its `Stopped`, or `within` has passed since its *own* election. Of
    several holders the log keeps the last: each of them waited for the one before.
 3. *Stop in time.* Let `quorum_until` be the moment at which the consensus lease of the holder ends. Nobody was elected
    earlier than one window before it: a round was acknowledged then, by a majority that had elected nobody else (a
    transfer passes the windows, but not the order of what one voter does). What the holder knows of `quorum_until`
    therefore says until when its application may run, whatever happens to this process from here on: `Lease.kill_at`.
    A tenth of `within` is given away, because two clocks may run a tenth apart.
 4. *Say it last.* `Stopped(t)` is committed by its holder alone, when nothing runs for certain. A holder is a member in
    one place (a pod, or a machine since it was started), for what a process of the same name somewhere else has
    stopped says nothing. After a `Stopped(t)` of unknown outcome nothing is started in term t again: it may still come.

Why no two run at one moment. Let applications of terms t < u run. u's leader had applied `Starting(t)` when it claimed
the lease (it was committed while t's leader led, so before u's first entry), and it had either seen `Stopped(t)`, after
which nothing was started in t, or waited `within` since its election. By 3, t's application had ended by then.

What this rests on: the hooks stop the application when they say so; clocks of two machines run at rates that are at
most a tenth apart; and somebody stops the application at `kill_at` when this process cannot: the watchdog of `raftq
run`, or an application that heeds `valid_until`. With any other hook an agent that stands still is not covered: for
that there is `fenced`, where nobody waits (`within` is 0) and the application checks the term with each access.
"""

import math
from typing import Final, TypeAlias

import msgspec

from raftq_k8s.raft.types import NO_TERM, Instant, MemberId, Milliseconds, Term
from raftq_k8s.state.agreements import Holding

DRIFT_ALLOWANCE: Final = 0.9
_FIRST_RETRY: Final[Milliseconds] = 1000.0
_LONGEST_RETRY: Final[Milliseconds] = 30_000.0


class Times(msgspec.Struct, frozen=True):
    window: Milliseconds
    """No voter elects anybody else for longer than this after it heard a leader."""
    stop_timeout: Milliseconds
    """So soon after the election of another leader the application must have ended."""
    fenced: bool = False
    """Nobody waits for this: the application has every access checked by its term."""
    unhealthy_after: Milliseconds = math.inf

    @property
    def within(self) -> int:
        """What a holder promises to others."""
        return 0 if self.fenced else math.ceil(self.stop_timeout)


class Raft(msgspec.Struct, frozen=True):
    """What Raft and the log say of this node."""

    now: Instant
    """Read before all the rest: it may be too early, and never too late."""
    term: Term
    leader: MemberId | None
    leads: bool
    """By the clock of this moment a quorum stands behind it, and an entry of its own term is committed."""
    quorum_until: Instant
    """When it leads no more, if it hears nothing. Means nothing when it does not lead."""
    applied: bool
    """All that is known to be committed has been applied, so that a leader knows each `Starting` before its term."""
    holding: Holding | None


class Lease(msgspec.Struct, frozen=True):
    """Until when the application may run without hearing anything new."""

    term: Term
    ask_at: Instant
    """Then whoever watches over it asks it to end, so that it can do so in good order."""
    kill_at: Instant
    """Then it must have ended."""


# ----------------------------------------------------------------------------------------- how the application stands


class Doubtful(msgspec.Struct, frozen=True):
    """It may run: a former life of this process started it, or it could not be stopped."""


class Idle(msgspec.Struct, frozen=True):
    """It does not run."""


class Running(msgspec.Struct, frozen=True):
    """It may run from the moment on at which its start was begun."""

    term: Term
    promoted: bool = False
    """It said that it serves as the leader now."""


Condition: TypeAlias = Doubtful | Idle | Running


# ------------------------------------------------------------------------------------------------------- what is next


class Rest(msgspec.Struct, frozen=True):
    """Nothing, before anything changes or it is that late."""

    until: Instant = math.inf


class Claim(msgspec.Struct, frozen=True):
    """Have `Starting` committed, and look again, whatever came of it."""

    term: Term


class Start(msgspec.Struct, frozen=True):
    """Report `starting` before anything is done, `promoted` or `failed` later."""

    term: Term


class Stop(msgspec.Struct, frozen=True):
    """Report `stopped` or `stop_failed`."""

    by: Instant


class Release(msgspec.Struct, frozen=True):
    """Have `Stopped` committed, and report `release_unknown` unless it certainly was, or certainly never will be."""

    term: Term


class HandOver(msgspec.Struct, frozen=True):
    """Let another member lead, and report `kept` if none does."""

    term: Term


Act: TypeAlias = Rest | Claim | Start | Stop | Release | HandOver


class ApplicationLease:
    """Keeps what the hooks did, and says what comes next. One act at a time, but that a start may take its time."""

    def __init__(self, holder: str, times: Times) -> None:
        self._holder = holder
        self._times = times
        self._condition: Condition = Doubtful()
        self._lease: Lease | None = None
        self._led: Term = NO_TERM
        """The last term in which this node was seen to lead, since `_elected_at` or before."""
        self._elected_at: Instant = -math.inf
        self._spent: Term = NO_TERM
        """A `Stopped` of this term may still come."""
        self._withdrawn = False
        self._unhealthy_since: Instant = math.inf
        self._ailing = False
        """It should run elsewhere: here it does not start, stop or keep well."""
        self._not_before: Instant = -math.inf
        self._failures = 0

    @property
    def condition(self) -> Condition:
        return self._condition

    @property
    def lease(self) -> Lease | None:
        """Of the application that may run."""
        return self._lease

    @property
    def healthy(self) -> bool:
        return self._unhealthy_since == math.inf

    @property
    def withdrawn(self) -> bool:
        return self._withdrawn

    def promoted_in(self) -> Term | None:
        """The term in which the application serves as the leader."""
        match self._condition:
            case Running(term, True):
                return term
            case _:
                return None

    # ---------------------------------------------------------------------------------------------------------- rules

    def next(self, raft: Raft) -> Act:
        self._note(raft)
        match self._condition:
            case Running(term) if self._may_go_on(raft, term):
                return Rest(self._unwell_at())
            case Running(term):
                self._condition = Running(term)
                return Stop(self._stop_by(raft.now))
            case Doubtful() if self._ailing and raft.leads and not self._withdrawn:
                return HandOver(raft.term)
            case Doubtful():
                return Stop(self._stop_by(raft.now)) if raft.now >= self._not_before else Rest(self._not_before)
            case Idle():
                return self._next_when_idle(raft)

    def settled(self, raft: Raft) -> bool:
        """Nothing runs here, and the log does not say that anything may."""
        return isinstance(self._condition, Idle) and not self._holds(raft.holding)

    def _next_when_idle(self, raft: Raft) -> Act:
        holding = raft.holding
        may_start = raft.leads and not self._withdrawn and not self._ailing and raft.term != self._spent
        if holding is not None and self._holds(holding) and not (may_start and holding.term == raft.term):
            return Release(Term(holding.term))
        if not raft.leads or self._withdrawn:
            return Rest()
        if raft.now < self._not_before:
            return Rest(self._not_before)
        if not may_start:
            return HandOver(raft.term)
        if self._holds(holding):
            return Start(raft.term)
        if not raft.applied:
            return Rest(raft.now)
        if holding is not None and raft.now < self._elected_at + holding.within_ms:
            return Rest(self._elected_at + holding.within_ms)
        return Claim(raft.term)

    def _may_go_on(self, raft: Raft, term: Term) -> bool:
        return raft.leads and raft.term == term and not self._ailing and not self._withdrawn

    def _holds(self, holding: Holding | None) -> bool:
        return holding is not None and holding.holder == self._holder

    def _unwell_at(self) -> Instant:
        return self._unhealthy_since + self._times.unhealthy_after

    def _stop_by(self, now: Instant) -> Instant:
        """A stop that comes too late is still one."""
        if self._lease is not None and now < self._lease.kill_at:
            return self._lease.kill_at
        return now + self._times.stop_timeout

    def _note(self, raft: Raft) -> None:
        if not raft.leads:
            if raft.term > self._led:
                self._ailing = False
            return
        if raft.term != self._led:
            self._led, self._elected_at = raft.term, raft.now
            self._ailing = False
        if isinstance(self._condition, Running) and self._condition.term == raft.term:
            self._ailing = self._ailing or raft.now >= self._unwell_at()
            self._renew(raft)

    def _renew(self, raft: Raft) -> None:
        nobody_before = min(raft.now, raft.quorum_until - self._times.window)
        relied_on = DRIFT_ALLOWANCE * self._times.stop_timeout
        kill_at = nobody_before + relied_on
        if self._lease is None or kill_at > self._lease.kill_at:
            self._lease = Lease(raft.term, nobody_before + relied_on / 2, kill_at)

    # ------------------------------------------------------------------------------------------- what the hooks report

    def starting(self, raft: Raft) -> None:
        self._condition = Running(raft.term)
        self._lease = None
        self._unhealthy_since = math.inf
        self._renew(raft)

    def promoted(self, term: Term) -> None:
        if isinstance(self._condition, Running) and self._condition.term == term:
            self._condition = Running(term, promoted=True)

    def failed(self, term: Term) -> None:
        """It could not be started, or ended by itself. It is to be stopped all the same: some of it may run."""
        if isinstance(self._condition, Running) and self._condition.term == term:
            self._ailing = True

    def stopped(self) -> None:
        self._condition = Idle()
        self._lease = None
        self._unhealthy_since = math.inf

    def doubted(self) -> None:
        """Whoever told the hooks is gone in the middle of it."""
        if not isinstance(self._condition, Idle):
            self._condition = Doubtful()

    def stop_failed(self, now: Instant) -> None:
        self._condition = Doubtful()
        self._ailing = True
        self._back_off(now)

    def release_unknown(self, term: Term) -> None:
        self._spent = max(self._spent, term)

    def kept(self, now: Instant) -> None:
        """Nobody else took it: so it is tried here once more."""
        self._ailing = False
        self._back_off(now)

    def report_health(self, healthy: bool, now: Instant) -> None:
        if healthy:
            self._unhealthy_since = math.inf
        else:
            self._unhealthy_since = min(self._unhealthy_since, now)

    def withdraw(self) -> None:
        """Stop it, and start nothing."""
        self._withdrawn = True

    def resume(self) -> None:
        self._withdrawn = False

    def _back_off(self, now: Instant) -> None:
        if now > self._not_before + _LONGEST_RETRY:
            self._failures = 0  # it went well for a while
        self._not_before = now + min(_LONGEST_RETRY, _FIRST_RETRY * 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
