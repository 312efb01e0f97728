"""The metrics page: read from the node when it is scraped, so that nothing is counted twice or kept beside the truth.

Served as OpenMetrics to whoever asks for it, else in Prometheus' text format. The registry is this page's own: what
else lives in the process does not show here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import get_args

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from raftq_k8s.api.answers import Answer
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import (
    ApplicationCondition,
    ApplicationView,
    DistributionView,
    FrameView,
    LabelView,
    LoopView,
    Node,
)
from raftq_k8s.node.status import MemberStatus, NodeStatus, RaftRole
from raftq_k8s.node.timings import Timings

_LAG_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics(Collector):
    """The page, and the collector that the registry asks for what is read anew each time."""

    def __init__(
        self,
        node: Node,
        version: str,
        problems: Callable[[], Mapping[str, int]],
        label: LabelView | None,
        frames: FrameView | None,
        loop: LoopView | None,
        application: ApplicationView | None,
    ) -> None:
        self._node = node
        self._version = version
        self._problems = problems
        self._label = label
        self._frames = frames
        self._loop = loop
        self._application = application
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self._label_lag = (
            Histogram(
                "raftq_label_lag",
                "From this node's election to its label on the pod.",
                unit="seconds",
                buckets=_LAG_BUCKETS_S,
                registry=self._registry,
            )
            if label is not None
            else None
        )

    def observe_label_lag(self, seconds: float) -> None:
        if self._label_lag is not None:
            self._label_lag.observe(seconds)

    async def get(self, request: Request) -> Answer:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Answer(200, encode(self._registry), content_type.encode())

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("raftq_build", "The release that runs.", value={"version": self._version})
        yield from _of_node(self._node.status())
        yield from _of_peers(self._node.members())
        yield from _of_timings(self._node.timings)
        yield _gauge("raftq_paused", "1 while the cluster is paused by a person.", int(self._node.paused is not None))
        yield _counter(
            "raftq_http_problems", "Requests that were answered by a problem, by its kind.", "kind", self._problems()
        )
        if self._label is not None:
            yield from _of_label(self._label)
        if self._frames is not None:
            yield from _of_frames(self._frames)
        if self._loop is not None:
            yield from _of_loop(self._loop)
        if self._application is not None:
            yield from _of_application(self._application)


def _of_node(status: NodeStatus) -> Iterator[Metric]:
    yield _gauge("raftq_term", "The term that this node is in.", status.term)
    yield _gauge_by(
        "raftq_role",
        "1 for the role that this node has, 0 for the others.",
        "role",
        {role.name.lower(): int(role is status.role) for role in RaftRole},
    )
    leads = status.role is RaftRole.LEADER
    yield _gauge("raftq_is_leader", "1 while this node leads.", int(leads))
    if status.leader is not None:
        yield InfoMetricFamily("raftq_leader", "Who leads, as this node sees it.", value={"leader": status.leader})
    yield _gauge_by(
        "raftq_members",
        "Voters of the configuration, and those of them whom this node is connected to.",
        "kind",
        {"voter": len(status.voters), "connected": len(status.connected)},
    )
    yield _gauge("raftq_commit_index", "The last entry known to be committed.", status.commit_index)
    yield _gauge("raftq_applied_index", "The last entry applied to the document.", status.applied_index)
    yield _gauge("raftq_log_entries", "The index of the last entry in the log, committed or not.", status.last_index)
    yield _gauge("raftq_log_base_index", "The log begins after this entry.", status.base_index)
    yield _gauge("raftq_snapshot_index", "The last entry that this node's snapshot covers.", status.snapshot_index)
    yield _gauge("raftq_volume_full", "1 while the volume lives on its reserve.", int(status.volume_full))
    yield _counter("raftq_elections", "This node's campaigns, by outcome.", "outcome", status.elections)
    changes = CounterMetricFamily("raftq_leader_changes", "How often the leader was seen to change.")
    changes.add_metric([], status.leader_changes)
    yield changes
    yield _gauge(
        "raftq_leaderless_seconds",
        "For how long nobody has been known to lead; 0 while somebody is.",
        status.leaderless_ms / 1000,
        unit="seconds",
    )
    yield _counter("raftq_proposals", "Writes that this node took in, by outcome.", "outcome", status.proposals)
    yield _counter(
        "raftq_ignored_messages", "Messages of peers that a rule refused, by kind.", "kind", status.ignored_messages
    )


def _of_peers(members: Sequence[MemberStatus]) -> Iterator[Metric]:
    """What a leader knows of them; elsewhere the two have no series."""
    yield _gauge_by(
        "raftq_peer_lag_entries",
        "Entries of this leader's log that a member lacks.",
        "peer",
        {each.name: each.lag for each in members if each.lag is not None},
    )
    yield _gauge_by(
        "raftq_heartbeat_rtt_seconds",
        "How long the last answer of a member took.",
        "peer",
        {each.name: each.rtt_ms / 1000 for each in members if each.rtt_ms is not None},
        unit="seconds",
    )


def _of_timings(timings: Timings) -> Iterator[Metric]:
    yield _histogram("raftq_persist", "How long a write of the volume took.", timings.persist)
    yield _histogram("raftq_commit", "How long it took to commit a write that came in here.", timings.commit)
    yield _histogram("raftq_election_duration", "How long nobody led, a change of leader each.", timings.election)


def _of_label(label: LabelView) -> Iterator[Metric]:
    yield _counter(
        "raftq_label_writes", "Writes of the leader's label to the API, by outcome.", "outcome", label.writes
    )
    yield _gauge("raftq_label_pending", "1 while the API may not show the label as Raft wants it.", int(label.pending))
    if label.labelled_leaders is not None:
        yield _gauge(
            "raftq_labelled_leaders", "Pods that the API shows with the leader's label.", label.labelled_leaders
        )
    if label.api_last_success is not None:
        yield _gauge(
            "raftq_api_last_success_timestamp_seconds",
            "When the API last answered, in seconds since the epoch.",
            label.api_last_success,
            unit="seconds",
        )


def _of_frames(frames: FrameView) -> Iterator[Metric]:
    bad = frames.bad_frames
    yield _counter("raftq_bad_frames", "Frames on the raft port that no peer sends, by kind.", "kind", bad)
    if frames.certificate_expires_at is not None:
        yield _gauge(
            "raftq_certificate_expiry_timestamp_seconds",
            "When the certificate that peers see ends, in seconds since the epoch.",
            frames.certificate_expires_at,
            unit="seconds",
        )


def _of_loop(loop: LoopView) -> Iterator[Metric]:
    yield _histogram("raftq_event_loop_lag", "By how much timers of this process fire late.", loop.lag)
    stalls = CounterMetricFamily(
        "raftq_event_loop_stalls", "Times that it stood still for a quarter of the minimum election time."
    )
    stalls.add_metric([], loop.stalls)
    yield stalls


def _of_application(application: ApplicationView) -> Iterator[Metric]:
    now = application.state().state
    yield _gauge_by(
        "raftq_application_state",
        "1 for the state of the application beside this node, 0 for the others.",
        "state",
        {state: int(state == now) for state in get_args(ApplicationCondition)},
    )
    told = CounterMetricFamily(
        "raftq_application_hooks", "What hooks were told, by hook and outcome.", labels=["hook", "outcome"]
    )
    for (hook, outcome), times in application.hooks_told.items():
        told.add_metric([hook, outcome], times)
    yield told


def _gauge(name: str, explanation: str, value: float, unit: str = "") -> Metric:
    return GaugeMetricFamily(name, explanation, value=value, unit=unit)


def _histogram(name: str, explanation: str, took: DistributionView) -> Metric:
    buckets = [("+Inf" if bound == inf else str(bound), count) for bound, count in took.cumulated()]
    return HistogramMetricFamily(name, explanation, buckets=buckets, sum_value=took.total, unit="seconds")


def _gauge_by(name: str, explanation: str, label: str, values: Mapping[str, float], unit: str = "") -> Metric:
    family = GaugeMetricFamily(name, explanation, labels=[label], unit=unit)
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counter(name: str, explanation: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, explanation, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
