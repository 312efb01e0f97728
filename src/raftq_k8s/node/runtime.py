"""Runs the driver on asyncio: its clock, its timer, its volume, its transport. It has no opinions.

Everything that happens is put in a row and looked at once a turn of the loop: what arrived from peers, which writes
ended, what callers submitted, whether it is time. So a batch grows by itself while the loop or the disk is busy: one
proposal, one write and one frame a peer for all of it, and no task for any. Writes and loads end on the thread of the
storage; however many end together, the loop is woken once.

A failed write or load, an exception out of the driver, or one in the transport that nobody foresaw, is final: the node
takes no further part, `failure` ends with it, and the process is expected to exit.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import count
from typing import Any, Protocol, TypeAlias, TypeVar

from raftq_k8s.node import errors
from raftq_k8s.node.actions import Actions, Load, Loaded, SliceWanted, Written
from raftq_k8s.node.driver import Driver
from raftq_k8s.node.forwarding import Outcome, Refused, Unknown
from raftq_k8s.node.handovers import HandedOver
from raftq_k8s.node.leadership import Failover
from raftq_k8s.node.read_queue import ReadOutcome
from raftq_k8s.node.status import MemberStatus, NodeStatus
from raftq_k8s.node.submissions import Submission, Token
from raftq_k8s.node.timings import Timings
from raftq_k8s.node.transport import Transport, Wire
from raftq_k8s.raft.birth import Testimony
from raftq_k8s.raft.consensus import NotLeader, TransferRefused
from raftq_k8s.raft.membership import BirthRecord, Change, ChangeRefused, Hello, Identity, Refusal
from raftq_k8s.raft.output import Accepted, ChunkWanted, EntriesWanted, Standing
from raftq_k8s.raft.types import Index, Instant, MemberId, Milliseconds, Term
from raftq_k8s.state import commands
from raftq_k8s.state.commands import DocumentResult, Noted, SessionClosed, SessionOpened
from raftq_k8s.storage.volume import Volume

LONGEST_TURN: Milliseconds = 10.0
"""Then whatever else the loop has to do comes first, and what happened meanwhile is looked at: a long log that is
applied after a start makes nobody miss a heartbeat."""

Clock: TypeAlias = Callable[[], Instant]
Answer: TypeAlias = DocumentResult | Noted | SessionOpened | SessionClosed
_T = TypeVar("_T")

_log = logging.getLogger(__name__)


def boottime() -> Instant:
    """Milliseconds since the machine started, those that it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) * 1000.0


class Listener(Protocol):
    """Who is told what the node has to tell. Called within a turn: it only takes note."""

    def noted(self, sentence: str) -> None: ...

    def standing_changed(self, standing: Standing) -> None: ...


class Runtime:
    """One node from its start to its end; also the transport's `Receiver`."""

    def __init__(
        self,
        driver: Driver,
        volume: Volume,
        transport: Transport,
        listener: Listener,
        failure: "asyncio.Future[None]",
        clock: Clock,
    ) -> None:
        self._driver = driver
        self._volume = volume
        self._transport = transport
        self._listener = listener
        self._failure = failure
        self._clock = clock
        self._loop = asyncio.get_running_loop()

        self._stopped = False
        self._turn_due = False
        self._happened: list[Callable[[Instant], None]] = []
        self._tokens = count(1)
        self._submitted: list[Submission] = []
        self._callers: dict[Token, asyncio.Future[Outcome]] = {}
        self._readers: dict[Token, asyncio.Future[ReadOutcome]] = {}
        self._greeting: dict[Identity, list[asyncio.Future[Refusal | None]]] = {}
        self._transfers: dict[Token, asyncio.Future[HandedOver]] = {}
        self._standing_waiters: set[asyncio.Future[None]] = set()
        self._applied_waiters: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: Instant = math.inf

        self._from_storage: deque[Callable[[Instant], None] | BaseException] = deque()
        """What ended there, in its order: which door to call, or why there is none."""
        self._storage_called = False

    async def start(self) -> None:
        await self._transport.start(self)
        self._volume.watch_room(self._room_changed)
        self._schedule_turn()

    async def stop(self) -> None:
        """Take no further part, tell who waits, and let go of connections and volume. What was given to the volume is
        still written."""
        self._take_no_part()
        await self._transport.close()
        await asyncio.to_thread(self._volume.close)

    def _take_no_part(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        for token, outcome in self._driver.end(self._clock()):
            self._resolve(token, outcome)
        for submission in self._submitted:
            self._resolve(submission.token, Refused("no-leader"))
        for token in list(self._callers):  # an outcome that was under way to its caller when this node failed
            self._resolve(token, Unknown())
        for token in list(self._readers):
            _end(self._readers.pop(token), Refused("no-leader"))
        for token in list(self._transfers):
            _end(self._transfers.pop(token), None)
        _release(self._applied_waiters)
        for waiting in self._greeting.values():
            for future in waiting:
                _end(future, Refusal("stopped", "this node is stopping"))
        self._tell_standing()

    # ------------------------------------------------------------------------------------------- what callers ask for

    async def submit(self, command: bytes, timeout_s: float) -> Answer:
        token, deadline = self._new_token(timeout_s)
        future = self._callers[token] = self._loop.create_future()
        self._submitted.append(Submission(token, command, deadline))
        self._schedule_turn()
        outcome = await future
        if not isinstance(outcome, Refused | Unknown):
            self.timings.commit.observe(self._clock() / 1000.0 + timeout_s - deadline / 1000.0)
        return _answer(outcome)

    async def read(self, timeout_s: float) -> None:
        """Ends when this node's state reflects everything that was acknowledged anywhere before this call: read it
        then, before anything else is awaited, or later."""
        token, deadline = self._new_token(timeout_s)
        future = self._readers[token] = self._loop.create_future()
        self._happen(lambda _: self._driver.read(token, deadline))
        match await future:
            case Refused("overloaded"):
                raise errors.Overloaded("too many reads are waiting already; try again later")
            case Refused():
                raise errors.NoLeader("nobody leads, or whoever leads cannot be reached; try again")
            case _:
                pass

    async def leased_read(self, timeout_s: float) -> None:
        """As `read`, and at once where this node's lease and what it has applied already will do."""
        if self._stopped or not self._driver.may_read_by_lease(self._clock()):
            await self.read(timeout_s)

    async def change(self, change: Change, timeout_s: float) -> None:
        token, deadline = self._new_token(timeout_s)
        future = self._callers[token] = self._loop.create_future()
        self._happen(partial(self._begin, future, partial(self._driver.change, token, change, deadline)))
        try:
            _answer(await future)
        finally:
            self._callers.pop(token, None)

    async def transfer(self, target: MemberId | None, timeout_s: float) -> MemberId:
        token, deadline = self._new_token(timeout_s)
        future: asyncio.Future[HandedOver] = self._loop.create_future()
        self._transfers[token] = future
        self._happen(partial(self._begin, future, partial(self._driver.transfer, token, target, deadline)))
        try:
            leader = await future
        finally:
            self._transfers.pop(token, None)
        if leader is None:
            whom = target if target is not None else "another voter"
            raise errors.TransferFailed(f"the leadership was to be handed to {whom}, which did not take it in time")
        return leader

    def _new_token(self, timeout_s: float) -> tuple[Token, Instant]:
        if self._stopped:
            raise errors.NotStarted("this node was stopped")
        return Token(next(self._tokens)), self._clock() + timeout_s * 1000.0

    def _begin(self, asked: "asyncio.Future[Any]", begin: Callable[[Instant], None], now: Instant) -> None:
        try:
            begin(now)
        except NotLeader as error:
            _fail(asked, errors.NotLeader(error.leader))
        except (ChangeRefused, TransferRefused) as error:
            _fail(asked, error)

    async def next_standing(self, seen: Standing) -> Standing:
        while self._driver.standing == seen:
            await self._wait_among(self._standing_waiters)
        return self._driver.standing

    async def next_applied(self, index: Index) -> Index:
        while self._driver.applied_index <= index:
            await self._wait_among(self._applied_waiters)
        return self._driver.applied_index

    async def _wait_among(self, waiters: set["asyncio.Future[None]"]) -> None:
        if self._stopped:
            raise errors.NotStarted("this node was stopped")
        waiter: asyncio.Future[None] = self._loop.create_future()
        waiters.add(waiter)
        try:
            await waiter
        finally:
            waiters.discard(waiter)  # who gives up leaves nothing behind: it may be days before the others are told

    def hand_over(self) -> None:
        self._happen(self._driver.hand_over)

    def depart(self, member: MemberId) -> None:
        self._happen(partial(self._driver.depart, member))

    def observe_term(self, term: Term) -> None:
        self._happen(partial(self._driver.observe_term, term))

    def witnessed(self, testimony: Testimony) -> None:
        self._happen(lambda _: self._driver.witnessed(testimony))

    def set_eligible(self, eligible: bool) -> None:
        self._happen(partial(self._driver.set_eligible, eligible))

    def ignore(self, kind: str) -> None:
        self._driver.ignore(kind)

    @property
    def timings(self) -> Timings:
        return self._driver.timings

    @property
    def standing(self) -> Standing:
        return self._driver.standing

    def status(self) -> NodeStatus:
        return self._driver.status(self._clock())

    def members(self) -> tuple[MemberStatus, ...]:
        return self._driver.members(self._clock())

    @property
    def birth(self) -> BirthRecord | None:
        return self._driver.birth

    @property
    def birth_wish(self) -> BirthRecord | None:
        return self._driver.wish

    def history(self) -> tuple[Failover, ...]:
        return self._driver.history(self._clock(), time.time())

    @property
    def applied_index(self) -> Index:
        return self._driver.applied_index

    # ------------------------------------------------------------------------------------------------------- Receiver

    def hello(self) -> Hello:
        return self._driver.hello()

    def greet(self, hello: Hello) -> "asyncio.Future[Refusal | None]":
        verdict: asyncio.Future[Refusal | None] = self._loop.create_future()
        if self._stopped:
            verdict.set_result(Refusal("stopped", "this node is stopping"))
        else:
            self._greeting.setdefault(hello.identity, []).append(verdict)
            self._happen(partial(self._driver.greet, hello))
        return verdict

    def receive(self, sender: Identity, messages: Sequence[Wire]) -> None:
        self._happen(partial(self._driver.receive, sender, messages))

    def lost(self, peer: MemberId) -> None:
        self._happen(partial(self._driver.lost, peer))

    def refused(self, by: Identity, refusal: Refusal) -> None:
        self._happen(partial(self._driver.refused, by, refusal))

    def failed(self, error: BaseException) -> None:
        self._take_no_part()
        if not self._failure.done():
            _log.error("the node cannot go on", exc_info=error)
            self._failure.set_exception(error)
            self._listener.noted(f"this node takes no further part: {error}")

    # --------------------------------------------------------------------------------------------------------- a turn

    def _happen(self, event: Callable[[Instant], None]) -> None:
        if not self._stopped:
            self._happened.append(event)
            self._schedule_turn()

    def _schedule_turn(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        if self._stopped:
            return
        applied = self._driver.applied_index
        self._attempt(self._work)
        if self._driver.applied_index != applied:
            _release(self._applied_waiters)
        if not self._stopped:
            self._arm()

    def _work(self) -> None:
        self._look()
        until = self._clock() + LONGEST_TURN
        while not self._stopped and (actions := self._driver.next_actions(self._clock())) is not None:
            self._carry_out(actions)
            if not actions.more:
                break
            if self._clock() >= until:
                self._schedule_turn()  # and go on there: much was committed at once
                break

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # nothing is known of the state any more: the process has to end
            self.failed(error)

    def _look(self) -> None:
        """Whatever happened since the last turn. What peers said comes before what the time says: after a stall of this
        process both are there, and a leader that was heard is no silent one."""
        clock = self._clock
        self._look_at_storage()
        happened, self._happened = self._happened, []
        for event in happened:
            event(clock())
        if self._submitted:
            submitted, self._submitted = self._submitted, []
            self._driver.submit(submitted)
        now = clock()
        # The timer is never later than the driver wishes, so while it runs there is no need to ask.
        if (now >= self._timer_at or self._timer is None) and now >= self._driver.wake_at:
            self._driver.tick(now)

    def _carry_out(self, actions: Actions) -> None:
        """What the volume is to do comes last, when all that leaves now has left, for that does not rest on it. And the
        volume's thread needs the interpreter, which this one has until then: to wake it earlier is to wake it twice."""
        if actions.announce:
            self._transport.announce()
        for destination, messages in actions.messages.items():
            self._transport.send(destination, messages)
        for verdict in actions.greetings:
            refusal = None if isinstance(verdict, Accepted) else verdict.refusal
            asked = self._greeting.pop(verdict.identity, ())
            for future in asked:
                _end(future, refusal)
            if refusal is not None and not asked:
                self._transport.dismiss(verdict.identity, refusal)
        for token, outcome in actions.resolved:
            self._resolve(token, outcome)
        for token, read in actions.reads:
            _end(self._readers.pop(token), read)
        for token, leader in actions.handed_over:
            if token in self._transfers:  # else whoever asked has given up
                _end(self._transfers[token], leader)
        for sentence in actions.notes:
            self._listener.noted(sentence)
        if actions.standing is not None:
            self._tell_standing()
        if actions.writes or actions.loads:
            self._loop.call_soon(self._attempt, partial(self._hand_over, actions))

    def _tell_standing(self) -> None:
        self._listener.standing_changed(self._driver.standing)
        _release(self._standing_waiters)

    def _resolve(self, token: Token, outcome: Outcome) -> None:
        if (caller := self._callers.pop(token, None)) is not None:  # else whoever asked has given up
            _end(caller, outcome)

    def _arm(self) -> None:
        """The timer is only ever moved to an earlier time; one that comes too early arms itself again."""
        wake_at = self._driver.wake_at
        if wake_at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = wake_at
            delay_ms = max(1, math.ceil(wake_at - self._clock()))
            self._timer = self._loop.call_later(delay_ms / 1000.0, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        self._schedule_turn()

    # -------------------------------------------------------------------------------------------------------- storage

    def _hand_over(self, actions: Actions) -> None:
        if self._stopped:
            return  # nothing was said that rests on it
        for written, write in actions.writes:
            self._volume.write(write).add_done_callback(partial(self._write_ended, written, self._clock()))
        for load in actions.loads:
            self._load(load)

    def _load(self, load: Load) -> None:
        future: Future[Any]
        match load:
            case EntriesWanted(first, last, max_bytes):
                future = self._volume.load(first, last, max_bytes)
            case ChunkWanted() | SliceWanted():
                future = self._volume.read_snapshot(load.index, load.offset, load.max_bytes)
        future.add_done_callback(partial(self._load_ended, load))

    def _write_ended(self, written: Written, began: Instant, future: "Future[None]") -> None:
        """On any thread."""
        self._ended(future.exception() or partial(self._persisted, written, began))

    def _persisted(self, written: Written, began: Instant, now: Instant) -> None:
        self.timings.persist.observe((now - began) / 1000.0)
        self._driver.persisted(written, now)

    def _load_ended(self, load: Load, future: "Future[Loaded]") -> None:
        """On any thread."""
        self._ended(future.exception() or partial(self._driver.loaded, load, future.result()))

    def _room_changed(self, full: bool) -> None:
        """On any thread."""
        self._ended(partial(self._driver.room_changed, full))

    def _ended(self, door: Callable[[Instant], None] | BaseException) -> None:
        self._from_storage.append(door)
        if not self._storage_called:
            self._storage_called = True
            self._loop.call_soon_threadsafe(self._turn)

    def _look_at_storage(self) -> None:
        self._storage_called = False  # first: what ends from here on calls again
        while self._from_storage:
            door = self._from_storage.popleft()
            if isinstance(door, BaseException):
                raise door
            door(self._clock())


def _end(future: "asyncio.Future[_T]", value: _T) -> None:
    """Whoever waited may have given up."""
    if not future.done():
        future.set_result(value)


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _release(waiters: set["asyncio.Future[None]"]) -> None:
    for waiter in waiters:
        _end(waiter, None)
    waiters.clear()


def _answer(outcome: Outcome) -> Answer:
    match outcome:
        case Refused("overloaded"):
            raise errors.Overloaded("too many commands are waiting already; try again later")
        case Refused("too-large"):
            raise errors.TooLarge("the command does not fit a message; send less at a time")
        case Refused("full"):
            raise errors.VolumeFull("the leader's volume is full, and no other voter has room: make some")
        case Refused("malformed"):
            raise errors.BadMessage("the leader cannot read the command: no JSON, or made by another release")
        case Refused():
            raise errors.NoLeader("nobody leads, or whoever leads cannot be reached; nothing was done, try again")
        case Unknown():
            raise errors.OutcomeUnknown("the command left, but no answer came: read before you repeat it")
        case commands.TooManySessions(limit):
            raise errors.TooManySessions(f"{limit} sessions are open, and none was closed or expired yet")
        case commands.NoSuchSession(session):
            raise errors.SessionExpired(f"there is no session {session}: it expired, was closed, or never was opened")
        case commands.ReplyForgotten(oldest):
            raise errors.ReplyForgotten(f"replies are kept from sequence {oldest} on; read before you go on")
        case commands.SequenceReused(sequence):
            raise errors.SequenceReused(f"another command had the sequence {sequence} before")
        case commands.Elapsed():
            raise errors.BadMessage("the time of the log is told by leaders alone")
        case _:
            return outcome
