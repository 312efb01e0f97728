"""`Raftq`: one node of a cluster, as the contract has it, and a little beyond.

An application wires it up by events: it dispatches what happened, and listens to what it has to know or to carry to
other nodes. With a `transport` of its own a node carries its messages itself, and the bus is left with the
application's events.
"""

import asyncio
import logging
import secrets
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec

from raftq_k8s.node import options as sizing
from raftq_k8s.node.bus import Bus, Listener, Unsubscribe
from raftq_k8s.node.bus_transport import BusTransport
from raftq_k8s.node.driver import Driver
from raftq_k8s.node.errors import BadMessage, NoLeader, NotLeader, NotStarted, TooLarge, UnknownEvent
from raftq_k8s.node.events import SENT_AS, RaftEvent, RaftNode
from raftq_k8s.node.given import Node
from raftq_k8s.node.leadership import Failover
from raftq_k8s.node.options import RaftqOptions
from raftq_k8s.node.recording import RecordedDriver
from raftq_k8s.node.runtime import Clock, Runtime, boottime
from raftq_k8s.node.snapshots import SnapshotBounds
from raftq_k8s.node.status import NOBODY, UNSTARTED, MemberStatus, NodeStatus, RaftRole, role_of
from raftq_k8s.node.timings import Timings
from raftq_k8s.node.transport import Transport
from raftq_k8s.raft.birth import BirthRule, Testimony
from raftq_k8s.raft.membership import BirthRecord, Change
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.persistence import Restored
from raftq_k8s.raft.types import BootId, ClusterId, Index, MemberId, Term
from raftq_k8s.state import commands
from raftq_k8s.state.agreements import Holding
from raftq_k8s.state.commands import (
    Agreement,
    Applied,
    CloseSession,
    DocumentCommand,
    DocumentRefusal,
    DocumentResult,
    InSession,
    Noted,
    OpenSession,
    Operation,
    PutIf,
    Replace,
    SessionClosed,
    SessionOpened,
    TooBig,
    Transacted,
    Transaction,
)
from raftq_k8s.state.document import Document
from raftq_k8s.state.journal import Journal
from raftq_k8s.state.json_text import NotJson, document_text
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.state.snapshot import Frozen
from raftq_k8s.storage.persist_agent import PersistedVolume
from raftq_k8s.storage.volume import Volume

_REPLICATION_PATIENCE = 10
"""So many of the longest election times `replicateData` waits to be committed."""

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class _Started(msgspec.Struct):
    node: RaftNode


class _Crashed(msgspec.Struct):
    reason: str = ""


class _Acknowledged(msgspec.Struct):
    id: MemberId
    time: int | float = 0
    leave: bool = False


class Raftq:
    def __init__(
        self,
        options: RaftqOptions,
        *,
        volume: Volume | None = None,
        transport: Transport | None = None,
        birth: BirthRule | None = None,
        http_address: str = "",
        trace: Path | None = None,
        snapshots: SnapshotBounds | None = None,
        clock: Clock = boottime,
    ) -> None:
        """`birth` overrides what `options.bootstrap` says of founding a cluster. Without a `transport` the messages of
        this node are events, for the application to carry. In the file `trace` everything is noted that goes into the
        node, commands included, so that `raftq simulate --replay` can live its life again. `snapshots` says how long
        the log may grow."""
        if volume is None and options.persist_agent is None:
            raise ValueError(
                "a node needs stable storage: pass volume=SqliteVolume(directory, member) of raftq_k8s.storage.sqlite, "
                "or MemoryVolume(member) of raftq_k8s.storage.memory for a trial that may forget everything, "
                "or RaftqOptions(persist_agent=…) for a store of your own"
            )
        if volume is not None and options.persist_agent is not None:
            raise ValueError("a node has one stable storage: pass a volume, or a persist agent")
        self._state = StateMachine()
        self._options = options
        self._volume = volume
        self._birth = birth
        self._http_address = http_address
        self._trace = trace
        self._snapshots = snapshots or sizing.snapshot_bounds(options)
        self._clock = clock
        self._bus = Bus()
        self._bus_transport: BusTransport | None = None
        if transport is None:
            self._bus_transport = BusTransport(
                options, emit=self._bus.emit, term=lambda: self.standing().term, note=self.noted, clock=clock
            )
            self._transport: Transport = self._bus_transport
            self._sizing = sizing.for_bus(options)
        else:
            self._transport = transport
            self._sizing = sizing.for_stream(options)
        self._nodes: dict[MemberId, RaftNode] = {}
        self._node: RaftNode | None = None
        self._runtime: Runtime | None = None
        self._stopped = False
        self._role = RaftRole.FOLLOWER
        self._failure: asyncio.Future[None] | None = None

    # ------------------------------------------------------------------------------------------------------- contract

    def get_leader(self) -> MemberId | None:
        return self.standing().leader

    def get_role(self) -> RaftRole:
        return role_of(self.standing())

    def get_node(self) -> RaftNode:
        if self._node is None:
            raise NotStarted("this node has no name before serviceStarted is dispatched")
        return self._node

    def get_followers(self) -> list[RaftNode]:
        """The other nodes that are known to be there."""
        return [node for node in self._nodes.values() if node.time]

    def get_data(self) -> Any:
        """The committed document, decoded."""
        return msgspec.json.decode(self.document.whole()[0])

    def subscribe(self, event: RaftEvent | str, listener: Listener) -> Unsubscribe:
        """Call `listener` with the message of every such event, until the returned function is called. An ordinary
        function must not block; a coroutine function may take its time, and hears less then."""
        return self._bus.subscribe(_known(event), listener)

    async def dispatch(self, event: RaftEvent | str, message: Any = None) -> None:
        """Tell the node what happened, and await every listener of that event.

        Raises `BadMessage` or `UnknownEvent` for what the application got wrong. What another node got wrong is counted
        and ignored.
        """
        known = _known(event)
        match known:
            case RaftEvent.SERVICE_STARTED:
                await self._start(_shaped(message, _Started, known).node)
            case RaftEvent.SERVICE_CRASHED:
                self.noted(f"the service ends: {_shaped(message, _Crashed, known).reason}")
                await self._stop()
            case RaftEvent.REPLICATE_DATA:
                await self._replicate(message)
            case RaftEvent.ACK_NODE:
                self._acknowledge(_shaped(message, _Acknowledged, known))
            case (
                RaftEvent.VOTE_REQUEST_RECEIVED
                | RaftEvent.VOTE_RESPONSE_RECEIVED
                | RaftEvent.DATA_RECEIVED
                | RaftEvent.DATA_RESPONSE_RECEIVED
            ):
                self._receive(SENT_AS[known], message)
            case _:
                pass  # one that goes out: the application's own business
        await self._bus.dispatch(known, message)

    async def destroy(self) -> None:
        """Stop for good: no more events, connections or timers, and the volume is let go."""
        await self._stop()
        self._bus.close()

    # ------------------------------------------------------------------------------------------------------ beyond it

    def status(self) -> NodeStatus:
        return UNSTARTED if self._runtime is None else self._runtime.status()

    def standing(self) -> Standing:
        return NOBODY if self._runtime is None else self._runtime.standing

    async def next_standing(self, seen: Standing) -> Standing:
        """The latest that differs from `seen`: now, or as soon as one does."""
        return await self._running().next_standing(seen)

    @property
    def document(self) -> Document:
        """As far as this node has applied the log, to read."""
        return self._state.document

    @overload
    async def submit(self, command: Operation | PutIf, timeout_s: float) -> Applied | DocumentRefusal: ...

    @overload
    async def submit(self, command: Transaction, timeout_s: float) -> Transacted | DocumentRefusal: ...

    @overload
    async def submit(self, command: DocumentCommand | InSession, timeout_s: float) -> DocumentResult: ...

    @overload
    async def submit(self, command: Agreement, timeout_s: float) -> Noted: ...

    @overload
    async def submit(self, command: OpenSession, timeout_s: float) -> SessionOpened: ...

    @overload
    async def submit(self, command: CloseSession, timeout_s: float) -> SessionClosed: ...

    async def submit(
        self, command: DocumentCommand | InSession | Agreement | OpenSession | CloseSession, timeout_s: float
    ) -> DocumentResult | Noted | SessionOpened | SessionClosed:
        """Have a command committed, by whoever leads, and return what it did. Values have passed `state/json_text.py`.

        Raises `NoLeader`, `Overloaded`, `TooLarge` or `OutcomeUnknown`; after all but the last, nothing was done. After
        `OutcomeUnknown` an `InSession` may be submitted again as it is, on any node: it takes effect once.

        Raises `TooManySessions`, `SessionExpired`, `ReplyForgotten` or `SequenceReused` for what the state says of a
        session; what each means for an earlier try, its own words say.
        """
        return await self._running().submit(commands.encode(command), timeout_s)

    async def read(self, timeout_s: float) -> None:
        """Wait until the state here reflects everything that was acknowledged anywhere before this call: read
        `document` then, before anything else is awaited, or later. Raises `NoLeader` or `Overloaded`."""
        await self._running().read(timeout_s)

    async def leased_read(self, timeout_s: float) -> None:
        """As `read`; but where this node leads, its lease alone may vouch for that. It rests on clocks that do not
        differ much in rate."""
        await self._running().leased_read(timeout_s)

    @property
    def journal(self) -> Journal:
        """The latest changes of the document, as far as this node has applied the log."""
        return self._state.journal

    async def next_applied(self, index: Index) -> Index:
        """Up to where this node has applied the log: now, or as soon as that is beyond `index`."""
        return await self._running().next_applied(index)

    def freeze(self) -> tuple[Frozen, Index]:
        """The state as it is now, to be written down while this node goes on, and up to where it has applied the
        log."""
        return self._state.freeze(), self._running().applied_index

    # -------------------------------------------------------------------------------------------------------- members

    def members(self) -> tuple[MemberStatus, ...]:
        """Everybody whom the latest configuration names, committed or not, in the order of their names."""
        return () if self._runtime is None else self._runtime.members()

    def history(self) -> tuple[Failover, ...]:
        """The last 50 changes of leader, as this process saw them, the latest last."""
        return () if self._runtime is None else self._runtime.history()

    @property
    def timings(self) -> Timings:
        """How long writes and elections took, since the start."""
        return Timings() if self._runtime is None else self._runtime.timings

    async def change(self, change: Change, timeout_s: float) -> None:
        """Change the members, because a person says so: it is committed when this ends. Voters that are replaced by
        `ReplaceVoters` still count then, for a moment: `members` tells how long.

        Raises `NotLeader`, or `ChangeRefused` for what makes no sense, or not now; then nothing was done. Raises
        `OutcomeUnknown` where it was not committed in time.
        """
        await self._running().change(change, timeout_s)

    async def transfer(self, target: MemberId | None, timeout_s: float) -> MemberId:
        """Hand the leadership to that voter, or to the best of those that are connected. Returns who leads then.

        Raises `NotLeader` or `TransferRefused`, and nothing was done; or `TransferFailed`: after a maximum election
        time this node leads on.
        """
        return await self._running().transfer(target, timeout_s)

    def set_eligible(self, eligible: bool) -> None:
        """Whether this node may stand for election; at first it may. A leader goes on leading."""
        self._running().set_eligible(eligible)

    def depart(self) -> None:
        """This member goes away for good: whoever leads removes it, as soon as the others can do without it."""
        self._running().depart(self.get_node().id)

    def observe_term(self, term: Term) -> None:
        """A higher term was seen outside of the protocol: lead only above it."""
        self._running().observe_term(term)

    @property
    def birth(self) -> BirthRecord | None:
        """Of the cluster that this node belongs to."""
        return None if self._runtime is None else self._runtime.birth

    @property
    def birth_wish(self) -> BirthRecord | None:
        """Of the cluster that this node would found now, where its rule asks a witness first."""
        return None if self._runtime is None else self._runtime.birth_wish

    def witnessed(self, testimony: Testimony) -> None:
        """What that witness showed, just now."""
        self._running().witnessed(testimony)

    @property
    def paused(self) -> str | None:
        """The reason of the last `Pause`, while no `Resume` followed on it: nobody is promoted, removed or handed the
        leadership but by a person."""
        return self._state.paused

    @property
    def application(self) -> Holding | None:
        """Who said last that it is `Starting` the application, if not that it has `Stopped`."""
        return self._state.application

    @property
    def failure(self) -> "asyncio.Future[None]":
        """Ends with an exception when this node cannot go on: the process must exit."""
        if self._failure is None:
            self._failure = asyncio.get_running_loop().create_future()
            self._failure.add_done_callback(_retrieve)
        return self._failure

    # ------------------------------------------------------------------------------------------------ what it is told

    async def _start(self, node: RaftNode) -> None:
        if self._stopped:
            raise NotStarted("this node was stopped: make a new Raftq to start again")
        if self._node is not None:
            raise BadMessage("serviceStarted was dispatched already")
        self._node = node
        self._nodes.pop(node.id, None)
        volume = self._volume or self._persisted(node)
        try:
            restored = await asyncio.to_thread(volume.open)
        except BaseException:
            self._node = None  # it may be told to start again, once the volume can be opened
            raise
        try:
            runtime = self._make_runtime(node, volume, restored)
            await runtime.start()
        except BaseException:
            await self._transport.close()
            await asyncio.to_thread(volume.close)
            raise
        self._runtime = runtime
        if self._stopped:  # meanwhile
            await runtime.stop()

    def _persisted(self, node: RaftNode) -> PersistedVolume:
        agent = self._options.persist_agent
        assert agent is not None  # there is no volume
        return PersistedVolume(
            node.id,
            persist=partial(agent.persist, node),
            restore=partial(agent.restore, node),
            shown=lambda: (self.document.applied_index, self.get_data()),
            loop=asyncio.get_running_loop(),
        )

    def _make_runtime(self, node: RaftNode, volume: Volume, restored: Restored) -> Runtime:
        if restored.member != node.id:
            raise BadMessage(f"serviceStarted names {node.id}, but the volume belongs to {restored.member}")
        rule = self._birth
        if rule is None and self._options.bootstrap:
            rule = BirthRule((*(peer.id for peer in self.get_followers()), node.id), founder=node.id)
        given = Node(
            restored=restored,
            boot=BootId(secrets.token_hex(8)),
            rule=rule if rule is not None else BirthRule((), founder=None),
            cluster=ClusterId(secrets.token_hex(8)),
            settings=self._sizing.settings,
            seed=secrets.randbits(63),
            http_address=self._http_address,
            largest_command=self._sizing.largest_command,
            snapshots=self._snapshots,
        )
        connected, now = self._transport.connected, self._clock()
        if self._trace is None:
            driver = Driver(given, self._state, connected, now)
        else:
            driver = RecordedDriver(given, self._state, connected, now, self._trace)
        return Runtime(driver, volume, self._transport, self, self.failure, self._clock)

    async def _stop(self) -> None:
        first, self._stopped = not self._stopped, True
        if first and self._runtime is not None:
            await self._runtime.stop()

    async def _replicate(self, data: object) -> None:
        try:
            text = document_text(msgspec.json.encode(data))
        except (TypeError, ValueError, RecursionError, NotJson) as error:
            raise BadMessage(f"replicateData takes what JSON can say: {error}") from None
        standing = self.standing()
        if standing.role != "leader":
            raise NotLeader(standing.leader)
        patience_s = _REPLICATION_PATIENCE * self._options.maximum_election_time / 1000.0
        try:
            result = await self.submit(Replace(text), patience_s)
        except NoLeader:
            raise NotLeader(self.get_leader()) from None
        if isinstance(result, TooBig):
            raise TooLarge(f"the document would pass its bound of {result.limit_bytes} bytes")

    def _acknowledge(self, node: _Acknowledged) -> None:
        if node.leave and self._runtime is not None:
            self._runtime.depart(node.id)
        if self._node is not None and node.id == self._node.id:
            if not node.time and self._runtime is not None:
                self._runtime.hand_over()
            return
        seen = self._nodes[node.id] = RaftNode(node.id, node.time)
        if self._bus_transport is None:
            return
        if node.time:
            self._bus_transport.sighted(seen)
        else:
            self._bus_transport.away(node.id)

    def _receive(self, event: RaftEvent, message: object) -> None:
        if self._bus_transport is None:
            raise BadMessage("this node has a transport of its own: its messages do not travel by events")
        if self._runtime is None:
            return  # others are up already; they will ask again
        try:
            self._bus_transport.receive(event, message)
        except BadMessage as error:
            self._runtime.ignore("malformed")
            _log.debug("ignored: %s", error)

    def _running(self) -> Runtime:
        if self._runtime is None:
            raise NotStarted("serviceStarted was not dispatched yet")
        return self._runtime

    # -------------------------------------------------------------------------------------------------- what it tells

    def noted(self, sentence: str) -> None:
        self._bus.emit(RaftEvent.LOG, {"message": sentence})

    def standing_changed(self, standing: Standing) -> None:
        role = role_of(standing)
        if role != self._role:
            self._role = role
            self._bus.emit(RaftEvent.ROLE_CHANGED, role)


def _known(event: str) -> RaftEvent:
    try:
        return RaftEvent(event)
    except ValueError:
        raise UnknownEvent(event) from None


def _shaped(message: object, shape: type[_T], event: RaftEvent) -> _T:
    try:
        return msgspec.convert(message, shape, from_attributes=True)
    except msgspec.ValidationError as error:
        raise BadMessage(f"{event}: {error}") from None


def _retrieve(failure: "asyncio.Future[None]") -> None:
    """The failure was logged already; nobody has to have looked at it."""
    if not failure.cancelled():
        failure.exception()
