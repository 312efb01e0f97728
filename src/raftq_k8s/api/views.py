"""What the HTTP face needs of the rest of the process: the node, what the agent can do, and what the parts count."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol, overload

import msgspec

from raftq_k8s.node.leadership import Failover
from raftq_k8s.node.status import MemberStatus, NodeStatus
from raftq_k8s.node.timings import Timings
from raftq_k8s.raft.membership import Change
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.types import ClusterId, Index, MemberId, Milliseconds, Term
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
    SessionClosed,
    SessionOpened,
    Transacted,
    Transaction,
)
from raftq_k8s.state.document import Document
from raftq_k8s.state.journal import Journal
from raftq_k8s.state.snapshot import Frozen


class Node(Protocol):
    """`Raftq`, as this face uses it."""

    @property
    def document(self) -> Document: ...

    @property
    def failure(self) -> "asyncio.Future[None]": ...

    def status(self) -> NodeStatus: ...

    def standing(self) -> Standing: ...

    @property
    def journal(self) -> Journal: ...

    @property
    def paused(self) -> str | None: ...

    @property
    def timings(self) -> Timings: ...

    def members(self) -> tuple[MemberStatus, ...]: ...

    def history(self) -> tuple[Failover, ...]: ...

    def freeze(self) -> tuple[Frozen, Index]: ...

    async def next_standing(self, seen: Standing) -> Standing: ...

    async def next_applied(self, index: Index) -> Index: ...

    async def change(self, change: Change, timeout_s: float) -> None: ...

    async def transfer(self, target: MemberId | None, timeout_s: float) -> MemberId: ...

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

    async def read(self, timeout_s: float) -> None: ...

    async def leased_read(self, timeout_s: float) -> None: ...


class OperationRefused(Exception):
    """The agent will not do this, or not now. The message says why, in a sentence, and what to do; nothing was done."""


class Operations(Protocol):
    """What a person may ask of the agent itself. Each raises `OperationRefused`."""

    async def drain(self) -> None:
        """Hand over what others look for here, as after SIGTERM, and go on answering until the process is ended.
        Returns as soon as that has begun; it cannot be taken back."""

    async def recover(self, old: ClusterId) -> ClusterId:
        """Give up the quorum of the cluster `old`, to which this node belongs, and go on alone as a new cluster, whose
        id is returned."""

    async def join(self, new: ClusterId) -> None:
        """Archive this volume, and join that cluster with an empty one."""


ApplicationCondition = Literal["stopped", "starting", "promoted", "stopping"]


class ApplicationState(msgspec.Struct, frozen=True, kw_only=True):
    """How the application beside this node stands."""

    wanted: Literal["running", "stopped"]
    """What it is to do in this pod."""
    state: ApplicationCondition
    term: Term | None
    """The fencing token, while it is to run."""
    lease_left_ms: Milliseconds
    """It must have ended after so long if nothing more is heard; 0 while it is not to run."""
    ask_left_ms: Milliseconds
    """After so long without hearing more it should begin to end; 0 while it is not to run."""
    healthy: bool
    holder: MemberId | None
    """Whose application has started and not stopped, as the log says."""
    holder_term: Term | None


class ApplicationReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the application says of itself; what it leaves out stays as it is."""

    state: Literal["promoted", "stopped"] | None = None
    term: Term | None = None
    """The term that a `state` is about."""
    healthy: bool | None = None
    reason: str = ""


class ApplicationView(Protocol):
    def state(self) -> ApplicationState: ...

    async def report(self, report: ApplicationReport) -> ApplicationState:
        """Raises `OperationRefused` for a report about another term than the one that is now."""

    def set_aside(self) -> AbstractAsyncContextManager[None]:
        """Within it the application does not run, and the log says so: leadership can change hands. Entering it takes
        as long as the application needs to stop, within bounds."""

    @property
    def hooks_told(self) -> Mapping[tuple[str, str], int]:
        """What hooks were told, by hook and outcome."""


class LabelView(Protocol):
    """What the keeper of the label knows of it."""

    @property
    def writes(self) -> Mapping[str, int]:
        """Writes to the API by outcome."""

    @property
    def pending(self) -> bool:
        """What the API shows is not known to be what Raft wants."""

    @property
    def labelled_leaders(self) -> int | None:
        """How many pods wear the label; `None` before the API first answered."""

    @property
    def api_last_success(self) -> float | None:
        """Seconds since the epoch; `None` before the API first answered."""


class DistributionView(Protocol):
    """How often something took how long."""

    @property
    def total(self) -> float:
        """All of it together, in seconds."""

    def cumulated(self) -> Iterator[tuple[float, int]]:
        """Each bound in seconds with how many took so long at most; infinity comes last."""


class LoopView(Protocol):
    """What is known of the event loop."""

    @property
    def lag(self) -> DistributionView:
        """By how much timers fire late."""

    @property
    def stalls(self) -> int:
        """How often it stood still for over a quarter of the minimum election time."""


class FrameView(Protocol):
    """What the transport counts and knows."""

    @property
    def certificate_expires_at(self) -> float | None:
        """When the certificate that peers see ends, in seconds since the epoch; `None` without one."""

    @property
    def bad_frames(self) -> Mapping[str, int]:
        """Frames that no peer of ours sends, by kind."""
