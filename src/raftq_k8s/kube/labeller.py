"""The one task that keeps the label where Raft wants it: looks at the API, asks `label.decide`, carries out what it
says.

It is level-triggered. It wakes when what Raft says of this node changes, every few seconds to see what somebody else
did, and sooner after a failure; each time it goes from what is to what should be, and when that is reached it writes
nothing. It never raises because of the API, and nothing waits for it but the start (`clear_own_label`) and the end
(`release`) of the process, both for a bounded time.
"""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec

from raftq_k8s.kube.client import ApiClient, ApiError, ApiUnreachable, Conflict, Forbidden, NotFound, Refused
from raftq_k8s.kube.label import (
    LEADER,
    Decision,
    Follows,
    Gone,
    Leads,
    OwnPod,
    Pod,
    Workload,
    Write,
    decide,
    merge_patch,
)
from raftq_k8s.kube.objects import ObjectMeta, Uid
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.types import ClusterId, MemberId, Term

log = logging.getLogger(__name__)

_ROUNDS: Final = 10
"""How often it decides before it rests: three times for a plain election, once more when a pod changed meanwhile."""


class Node(Protocol):
    """What the label needs of a running node."""

    def standing(self) -> Standing: ...

    async def next_standing(self, seen: Standing) -> Standing: ...

    def leads(self) -> bool:
        """By the clock of this moment, a quorum still stands behind this node's leadership."""

    def voters(self) -> tuple[MemberId, ...]: ...

    def cluster(self) -> ClusterId | None: ...

    def observe_term(self, term: Term) -> None: ...


class Times(msgspec.Struct, frozen=True):
    """In seconds."""

    check: float = 10.0
    retry: float = 0.1
    """After an API that did not answer; doubled each time, up to `retry_cap`, so that its return is soon noticed."""
    retry_cap: float = 2.0
    refused: float = 1.0
    """After an API that said no; doubled each time, up to `refused_cap`."""
    refused_cap: float = 10.0
    clear: float = 2.0
    release: float = 1.0


class Labeller:
    """`uid` is that of this process's pod (downward API); without it, the first object of that name is taken for it."""

    def __init__(
        self,
        client: ApiClient,
        node: Node,
        workload: Workload,
        member: MemberId,
        uid: Uid | None = None,
        *,
        times: Times = Times(),  # noqa: B008 (it is frozen)
        on_label_lag: Callable[[float], None] = lambda seconds: None,
        on_deletion: Callable[[], object] = lambda: None,
    ) -> None:
        """`on_deletion` is told whenever the API shows that this process's own pod was deleted."""
        self._client = client
        self._node = node
        self._workload = workload
        self._member = member
        self._own = OwnPod(member, uid) if uid else None
        self._times = times
        self._on_label_lag = on_label_lag
        self._on_deletion = on_deletion

        self._seen: dict[MemberId, Pod | Gone] = {}
        self._releasing = False
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._elected_at: float | None = None
        self._complaint: str | None = None
        self._intruders: tuple[str, ...] = ()

        self.writes: Counter[str] = Counter()
        """By outcome: `written`, `conflict`, `gone`, `refused`, `unreachable`; `withheld`: Raft changed its mind."""
        self.pending = False
        """Raft wants what the API did not show when it last answered."""
        self.labelled_leaders: int | None = None
        """How many pods wore the label when the API was last asked; `None` before it first answered."""
        self.label_lag: float | None = None
        """Seconds from the last election of this node to its label."""

    @property
    def pods(self) -> Mapping[MemberId, Pod | Gone]:
        """As the API showed them last."""
        return self._seen

    @property
    def api_last_success(self) -> float | None:
        """In seconds since the epoch."""
        return self._client.last_success

    async def clear_own_label(self) -> None:
        """Take off what a former life left: awaited before Raft starts. It gives up when the API takes too long."""
        try:
            async with asyncio.timeout(self._times.clear):
                await self._step_back()
        except TimeoutError:
            log.warning("the API did not answer in time: this pod's label is looked at later")

    async def release(self) -> None:
        """Take our label off for good: the process is about to end. `run` writes nothing but this from here on."""
        self._releasing = True
        self._changed.set()
        try:
            async with asyncio.timeout(self._times.release):
                await self._step_back()
        except TimeoutError:
            log.warning("the API did not answer in time: the label is left to the next leader")

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._heed_raft())
            tasks.create_task(self._keep_label())

    async def _heed_raft(self) -> None:
        """Notices elections while `_keep_label` may be waiting for the API."""
        told: Leads | Follows | None = None
        while True:
            standing = self._node.standing()
            raft = self._raft()
            if raft != told:
                told = raft
                self._elected_at = asyncio.get_running_loop().time() if isinstance(raft, Leads) else None
                self.pending = True
                self._changed.set()
            await self._node.next_standing(standing)

    async def _keep_label(self) -> None:
        failures = 0
        look = True
        while True:
            self._changed.clear()
            try:
                async with self._turn:
                    settled = await self._settle(look)
            except ApiError as error:
                failures += 1
                self._complain(_trouble(error), error)
                pause = self._back_off(error, failures)
            else:
                self.pending = not settled
                failures = 0 if settled else failures + 1
                pause = self._times.check if settled else self._back_off(None, failures)
            look = await self._rest(pause)

    async def _rest(self, pause: float) -> bool:
        """Whether it was a full rest. One that Raft ended calls for haste: what was last seen will do to step back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._changed.wait()
                return False
        return True

    def _back_off(self, error: ApiError | None, failures: int) -> float:
        times = self._times
        first, cap = (
            (times.refused, times.refused_cap) if isinstance(error, Refused) else (times.retry, times.retry_cap)
        )
        return min(cap, first * 2.0 ** min(failures - 1, 16)) * random.uniform(0.75, 1.0)

    def _raft(self) -> Leads | Follows:
        standing, cluster = self._node.standing(), self._node.cluster()
        if standing.established and cluster is not None and self._node.leads() and not self._releasing:
            return Leads(standing.term, cluster, self._node.voters())
        return Follows()

    async def _settle(self, look: bool) -> bool:
        """Go on until the API shows what Raft wants: then true. False when that has to wait for somebody else."""
        raft = self._raft()
        if look or isinstance(raft, Leads) or self._member not in self._seen:
            await self._look(raft)
        for _ in range(_ROUNDS):
            raft = self._raft()
            decision = decide(self._seen, self._own, raft)
            self._report(decision)
            if decision.above is not None:
                self._node.observe_term(decision.above)
                return False
            if decision.hindrance is not None:
                return False
            if not decision.writes:
                self._arrived(raft)
                return True
            await self._carry_out(decision.writes, raft)
        return False

    async def _step_back(self) -> None:
        """Look at our own pod and take its label off, again and again until it worked or was refused."""
        failures = 0
        async with self._turn:
            while True:
                try:
                    await self._read(self._member)
                    writes = decide(self._seen, self._own, Follows()).writes
                    if not writes:
                        return
                    await self._carry_out(writes, Follows())
                    if not decide(self._seen, self._own, Follows()).writes:
                        return
                except Refused as error:
                    self._complain(_trouble(error), error)
                    return
                except ApiError as error:
                    self._complain(_trouble(error), error)
                failures += 1
                await asyncio.sleep(self._back_off(None, failures))

    async def _look(self, raft: Leads | Follows) -> None:
        listed = {
            pod.name: pod for pod in map(self._workload.pod, await self._client.list_pods(self._workload.selector))
        }
        gone = {name: gone for name, gone in self._seen.items() if isinstance(gone, Gone)}
        self._seen = {**gone, **listed}
        self._note_own()
        unlisted = {self._member, *(raft.voters if isinstance(raft, Leads) else ())} - self._seen.keys()
        await _all(self._read(name) for name in unlisted)  # somebody took the labels off that the selector asks for
        self._count()

    async def _read(self, name: MemberId) -> None:
        try:
            self._saw(await self._client.get_pod(name))
        except NotFound:
            self._forget(name)

    async def _carry_out(self, writes: tuple[Write, ...], raft: Leads | Follows) -> None:
        await _all(self._write(write, raft) for write in writes)
        self._count()

    async def _write(self, write: Write, raft: Leads | Follows) -> None:
        if self._raft() != raft:
            self.writes["withheld"] += 1
            return
        try:
            written = await self._client.patch_pod(write.name, merge_patch(write, self._workload.label_key))
        except NotFound:
            self.writes["gone"] += 1
            self._forget(write.name)
            if write.mark is not None:
                self._seen[write.name] = Gone(write.mark)
        except Conflict:
            self.writes["conflict"] += 1
            await self._read(write.name)
        except ApiUnreachable:
            self.writes["unreachable"] += 1
            self._forget(write.name)  # it may have been written
            raise
        except Refused:
            self.writes["refused"] += 1
            raise
        else:
            self.writes["written"] += 1
            self._saw(written)
            log.info("%s: %s now has %s=%s", write.purpose, write.name, self._workload.label_key, write.role)

    def _forget(self, name: MemberId) -> None:
        self._seen.pop(name, None)

    def _saw(self, meta: ObjectMeta) -> None:
        pod = self._workload.pod(meta)
        self._seen[pod.name] = pod
        self._note_own()

    def _note_own(self) -> None:
        me = self._seen.get(self._member)
        if self._own is None and isinstance(me, Pod):
            self._own = OwnPod(me.name, me.uid)
        if self._own is not None and isinstance(me, Pod) and me.terminating and me.uid == self._own.uid:
            self._on_deletion()

    def _count(self) -> None:
        self.labelled_leaders = sum(isinstance(pod, Pod) and pod.role == LEADER for pod in self._seen.values())

    def _arrived(self, raft: Leads | Follows) -> None:
        if self._complaint is not None:
            self._complaint = None
            log.info("the label is as it should be")
        if isinstance(raft, Leads) and self._elected_at is not None:
            self.label_lag = asyncio.get_running_loop().time() - self._elected_at
            self._elected_at = None
            self._on_label_lag(self.label_lag)

    def _report(self, decision: Decision) -> None:
        if decision.intruders != self._intruders:
            self._intruders = decision.intruders
            if decision.intruders:
                log.error("pods of another owner wear the leader's label: %s", ", ".join(decision.intruders))
        if decision.above is not None:
            self._complain("the mark on a pod outranks this leader; Raft goes on to term", decision.above)
        if decision.hindrance is not None:
            self._complain("this pod cannot be labelled", decision.hindrance)

    def _complain(self, complaint: str, detail: object) -> None:
        """Once for each trouble, not for each try."""
        if complaint != self._complaint:
            self._complaint = complaint
            log.warning("%s: %s", complaint, detail)


def _trouble(error: ApiError) -> str:
    match error:
        case Forbidden():
            return "the API refuses the label (403): is the Role of the chart bound to this service account?"
        case Refused():
            return "the API refuses the label"
        case _:
            return "the API does not answer, and the label waits"


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Side by side, each to its end: a request that is cut off has an unknown outcome, however the others fared."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if result is not None:
            raise result
