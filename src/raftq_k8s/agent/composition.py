"""One agent, put together: which parts there are, in which order they begin, and in which they end.

Beginning: take off the label that a former life left, then Raft (volume, transport), then the HTTP face, which says by
answering that all that is behind it is open; then whoever looks for peers and whoever keeps the label. Ending is the
way back, and begins earlier, with what others look for here (`departure.py`); then the HTTP face, then Raft.
"""

import asyncio
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from raftq_k8s.agent import before_the_start, fencing
from raftq_k8s.agent.anew import Anew, nothing
from raftq_k8s.agent.departure import (
    ENDPOINT_SETTLE_S,
    QUORUM_WAIT_S,
    TRANSFER_PATIENCE,
    Departure,
    Patience,
)
from raftq_k8s.agent.label import LabelledNode
from raftq_k8s.agent.leadership import is_led
from raftq_k8s.agent.logs import Place
from raftq_k8s.agent.operations import AgentOperations
from raftq_k8s.agent.recovery import Recovery
from raftq_k8s.agent.settings import Plan, Settings, SettingsError
from raftq_k8s.agent.stalls import StallDetector
from raftq_k8s.agent.succession import successor
from raftq_k8s.agent.witness import WitnessedNode, joining
from raftq_k8s.api.authorization import Guard, TokenFile, TokenUnusable
from raftq_k8s.api.server import HttpFace
from raftq_k8s.discovery.dns import DnsDiscovery, local_cluster_domain
from raftq_k8s.discovery.reconcile import Reconciliation
from raftq_k8s.discovery.sighting import Source
from raftq_k8s.discovery.static import StaticDiscovery
from raftq_k8s.kube.client import SERVICE_ACCOUNT, ApiClient, ApiConfig, NotInCluster
from raftq_k8s.kube.label import Workload
from raftq_k8s.kube.labeller import Labeller
from raftq_k8s.kube.objects import Uid
from raftq_k8s.kube.witness_keeper import WitnessKeeper
from raftq_k8s.node.events import RaftEvent
from raftq_k8s.node.options import RaftqOptions
from raftq_k8s.node.raftq import Raftq
from raftq_k8s.node.trace import TraceUnusable
from raftq_k8s.raft.birth import BirthRule
from raftq_k8s.raft.types import MemberId
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.transport.certificates import Zone
from raftq_k8s.transport.files import Unusable
from raftq_k8s.transport.secret import Secret
from raftq_k8s.transport.tls import Tls, TlsFiles
from raftq_k8s.transport.websocket import WebsocketTransport

if TYPE_CHECKING:
    from raftq_k8s.agent.application.keeper import Keeper

_BESIDE_THE_BODY_BYTES = 16384
"""What a message holds beside the body of a put: the key, and what the protocol says around it."""
_AFTER_A_CRASH_S = 1.0
_LOOK_FOR_ROOM_EVERY_S = 1.0
_LEAST_ROOM_BYTES = 1 << 20
_ALLOCATIONS_TO_COLLECT = 20_000
"""Requests leave next to no cycles behind, and to look for some after every few dozens of them costs more than it
finds."""
_LONGEST_HOLD_S = 0.000_2
"""So long the loop's thread keeps the interpreter from the storage's, which needs it between two syncs of the disk. The
default is longer than a sync."""

logger = logging.getLogger(__name__)
_told = logging.getLogger("raftq")
"""What the node itself has to say."""


class Agent:
    def __init__(self, plan: Plan) -> None:
        settings, times = plan.settings, plan.times
        self._plan = plan
        self._data = Path(settings.data)
        self.anew = Anew()
        self._api = _api(plan)
        rule = _birth(plan, self._data, self._api)
        self._transport = _transport(plan)
        self._raftq = Raftq(
            RaftqOptions(
                heartbeat=times.heartbeat,
                minimum_election_time=times.minimum_election,
                maximum_election_time=times.maximum_election,
                max_voters=settings.max_voters,
                replace_dead_after=None if (dead_s := settings.replace_dead_after_s) is None else dead_s * 1000.0,
                max_message_bytes=max(65536, settings.body_limit_bytes + _BESIDE_THE_BODY_BYTES),
            ),
            volume=SqliteVolume(self._data, plan.name, settings.reserve_bytes),
            transport=self._transport,
            birth=rule,
            http_address=plan.advertise_http,
            trace=Path(settings.trace) if settings.trace else None,
        )
        self._raftq.subscribe(RaftEvent.LOG, lambda message: _told.info(message["message"]))
        self._application = _application(plan, self._raftq)
        self._labeller = self._keeper(self._api) if self._api else None
        self._recovery = Recovery(self._raftq, self._data, plan.name, times.maximum_election, self.anew.begin)
        self._witness = self._witness_keeper(self._api, rule) if self._api else None
        self._stalls = StallDetector(times.minimum_election)
        self._face = HttpFace(
            self._raftq,
            settings.http_host,
            settings.http_port,
            version=version("raftq_k8s"),
            guard=_guard(settings),
            body_limit_bytes=settings.body_limit_bytes,
            connection_limit=settings.connection_limit,
            label=self._labeller,
            frames=self._transport,
            application=self._application,
            loop=self._stalls,
            operations=AgentOperations(lambda reason: self._departure.begin(reason), self._recovery),
        )
        self._departure = Departure(
            self._raftq,
            _patience(plan, in_pod=self._api is not None),
            turn_clients_away=self._face.turn_away,
            successor=self._successor,
            stop_application=self._stop_application,
            release=self._release_label,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self.closing = ""
        """What `close` waits for; at its end, whatever threads are left."""

    async def start(self, place: Place) -> None:
        """Raises `VolumeUnusable`, or `SettingsError` where a port was taken since it was looked at, or no trace can be
        written."""
        if self._labeller is not None:
            await self._labeller.clear_own_label()
        if self._application is not None:
            await self._application.stop_former_life()
        await before_the_start.tidy(self._data, is_led)
        try:
            await self._raftq.dispatch(
                RaftEvent.SERVICE_STARTED, {"node": {"id": self._plan.name, "time": round(time.time() * 1000)}}
            )
            if self._plan.settings.nofailover == "on":
                self._raftq.set_eligible(False)
            place.follow(self._raftq.standing)
            await self._face.start()
        except TraceUnusable as error:
            raise SettingsError(f"trace: {error}") from error
        except OSError as error:
            raise SettingsError(f"cannot listen: {error}") from error
        self._tasks.append(asyncio.create_task(self._stalls.run(), name="stalls"))
        self._tasks.append(asyncio.create_task(self._discovery().run(), name="discovery"))
        self._tasks.append(asyncio.create_task(self._watch_fencing(), name="fencing"))
        if self._labeller is not None:
            self._tasks.append(asyncio.create_task(_restarted("label", self._labeller.run), name="label"))
        if self._witness is not None:
            self._tasks.append(asyncio.create_task(_restarted("witness", self._witness.run), name="witness"))
        if self._application is not None:
            self._tasks.append(
                asyncio.create_task(_restarted("application", self._application.run), name="application")
            )
        _settle_the_interpreter()

    async def failed(self) -> None:
        """Waits until a part of it has ended, and raises why."""
        done, _ = await asyncio.wait({self._raftq.failure, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        for part in done:
            part.result()

    async def _watch_fencing(self) -> None:
        await fencing.watch(self._raftq, self._data, is_led, lambda: self.anew.begin(nothing))

    async def room(self) -> None:
        """Waits until a volume that was full to the last byte has room again."""
        wanted_bytes = max(_LEAST_ROOM_BYTES, 2 * self._plan.settings.reserve_bytes)
        while True:
            found = os.statvfs(self._data)
            if found.f_bavail * found.f_frsize >= wanted_bytes:
                return
            await asyncio.sleep(_LOOK_FOR_ROOM_EVERY_S)

    async def answered(self) -> None:
        """What was asked is answered, and nothing more."""
        await self._face.close()

    async def drain(self, reason: str) -> None:
        """Give up what others look for here, each for a bounded time; go on answering until the process is ended."""
        await self._departure.carry_out(reason)

    async def leave(self, reason: str) -> None:
        """Drain, answer what was asked, and answer no more."""
        await self.drain(reason)
        await self.answered()

    async def close(self) -> None:
        """Let go of peers and volume. May be called whatever has or has not begun. It takes as long as a disk does."""
        self.closing = "its departure"
        await self._departure.abandon()
        self.closing = "its tasks"
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.closing = "the application beside it"
        if self._application is not None:
            await self._application.abandon()
        self.closing = "its peers and its volume: is the disk stuck?"
        self._recovery.look_again()
        await self._raftq.destroy()
        self.closing = "the Kubernetes API"
        if self._api is not None:
            await self._api.close()
        self.closing = "what was begun on the disk: is it stuck?"

    def _successor(self) -> MemberId | None:
        if self._labeller is None:
            return None
        return successor(self._plan.name, self._raftq.members(), self._labeller.pods)

    async def _stop_application(self) -> None:
        if self._application is not None:
            await self._application.end()

    def _keeper(self, api: ApiClient) -> Labeller:
        settings = self._plan.settings
        return Labeller(
            api,
            LabelledNode(self._raftq, self._application),
            _workload(self._plan),
            self._plan.name,
            Uid(settings.pod_uid) if settings.pod_uid else None,
            on_label_lag=lambda seconds: self._face.observe_label_lag(seconds),
            on_deletion=lambda: self._departure.begin("this pod was deleted"),
        )

    def _witness_keeper(self, api: ApiClient, rule: BirthRule) -> WitnessKeeper:
        recovered = before_the_start.recovery_of(self._data)
        node = WitnessedNode(self._raftq, self._plan.times.maximum_election, recovered)
        return WitnessKeeper(api, node, rule, _workload(self._plan), joining(self._recovery.join))

    async def _release_label(self) -> None:
        if self._labeller is not None:
            await self._labeller.release()

    def _discovery(self) -> Reconciliation:
        return Reconciliation(
            _source(self._plan),
            member=self._plan.name,
            sighted=self._transport.sighted,
            dispatch=self._raftq.dispatch,
            complete=self._all_connected,
        )

    def _all_connected(self) -> bool:
        others = set(self._raftq.status().voters or self._plan.birth.expected) - {self._plan.name}
        return all(self._transport.connected(peer) for peer in others)


def _birth(plan: Plan, data: Path, api: ApiClient | None) -> BirthRule:
    only = before_the_start.joins_only(data)
    if only is not None:
        return BirthRule(plan.birth.expected, founder=None, only=only)
    if api is None and plan.birth.witness == "decides":
        raise SettingsError("birth witness needs the Kubernetes API, which keeps the witness: this is no pod")
    return plan.birth if api is None or plan.birth.witness == "decides" else replace(plan.birth, witness="heeded")


def _workload(plan: Plan) -> Workload:
    selector = plan.settings.pod_selector or f"app.kubernetes.io/instance={plan.group}"
    return Workload(plan.group, selector, plan.settings.label_key)


def _guard(settings: Settings) -> Guard:
    if not settings.token_file:
        return Guard()
    try:
        return Guard(TokenFile(Path(settings.token_file)), guard_reads=settings.auth_reads == "on")
    except TokenUnusable as error:
        raise SettingsError(f"token_file: {error}") from error


def _patience(plan: Plan, *, in_pod: bool) -> Patience:
    quorum_ms, settle_ms = plan.settings.quorum_wait_ms, plan.settings.endpoint_settle_ms
    return Patience(
        quorum=quorum_ms / 1000 if quorum_ms is not None else in_pod * QUORUM_WAIT_S,
        transfer=TRANSFER_PATIENCE * plan.times.maximum_election / 1000,
        settle=settle_ms / 1000 if settle_ms is not None else in_pod * ENDPOINT_SETTLE_S,
    )


def _transport(plan: Plan) -> WebsocketTransport:
    settings = plan.settings
    try:
        return WebsocketTransport(
            plan.name,
            settings.raft_host,
            settings.raft_port,
            tls=_tls(plan) if settings.tls_cert else None,
            secret=Secret(Path(settings.peer_secret_file)) if settings.peer_secret_file else None,
        )
    except Unusable as error:
        raise SettingsError(str(error)) from error


def _tls(plan: Plan) -> Tls:
    settings = plan.settings
    files = TlsFiles(Path(settings.tls_cert), Path(settings.tls_key), Path(settings.tls_ca))
    return Tls(files, plan.name, Zone(settings.service, settings.namespace) if settings.service else Zone())


def _settle_the_interpreter() -> None:
    gc.collect()
    gc.freeze()  # what lives from here on is looked through by no later collection
    gc.set_threshold(_ALLOCATIONS_TO_COLLECT)
    sys.setswitchinterval(_LONGEST_HOLD_S)


def _source(plan: Plan) -> Source:
    if plan.peers:
        return StaticDiscovery(plan.peers)
    return DnsDiscovery(
        plan.settings.service,
        plan.settings.namespace,
        expected=plan.birth.expected,
        domain=local_cluster_domain(),
        port=plan.settings.raft_port,
    )


def _application(plan: Plan, raftq: Raftq) -> "Keeper | None":
    settings = plan.settings
    hooks = (settings.application_exec, settings.application_webhook, settings.application_file)
    watched = settings.application_watchdog is not None
    told = any(hooks) or watched or settings.application_signal == "put"
    if settings.application_mode == "off" and watched:
        raise SettingsError("application_mode off: then raftq run would never run COMMAND")
    if settings.application_mode == "off" or (settings.application_mode == "auto" and not told):
        return None
    from raftq_k8s.agent.application.beside import make_keeper  # most agents have nothing beside them

    return make_keeper(plan, raftq)


def _api(plan: Plan) -> ApiClient | None:
    wanted = plan.settings.kubernetes
    if wanted == "off" or (wanted == "auto" and not (SERVICE_ACCOUNT / "token").is_file()):
        return None
    try:
        return ApiClient(ApiConfig.in_cluster())
    except NotInCluster as error:
        raise SettingsError(f"kubernetes {wanted}: {error}") from error


async def _restarted(name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A supervisor's door: elections and writes do not depend on this part, so its failure is not theirs."""
    while True:
        try:
            await run()
        except Exception:
            logger.exception("the keeper of the %s failed, and begins anew", name)
        await asyncio.sleep(_AFTER_A_CRASH_S)
