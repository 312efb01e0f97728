"""Every setting of the agent, and what it means.

This struct is the one place where a setting is named, explained and given its default: flags, environment variables,
keys of the TOML file, `raftq agent --help` and the table in the documentation are all made from it. Where a value comes
from is `sources.py`'s business; whether the values fit together is decided here, before anything on disk is touched.
"""

import ipaddress
import re
import socket
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from raftq_k8s.raft.birth import BirthRule, lowest
from raftq_k8s.raft.types import MemberId, Milliseconds


class SettingsError(Exception):
    """A setting that cannot be used. The message is one line that names it and says what would be right."""


Profile = Literal["fast", "steady"]
Switch = Literal["auto", "on", "off"]
ApplicationMode = Literal["auto", "off", "exclusive", "fenced"]
LogFormat = Literal["plain", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
_Time = Annotated[float, Meta(ge=1, le=60000)]
_Wait = Annotated[int, Meta(ge=0, le=3600000)]
_Descriptor = Annotated[int, Meta(ge=0, le=1 << 20)]
_MOST_MEMBERS = 64
"""So many pods are named in the Role that lets them be labelled."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[
        str,
        Meta(description="this member's name, ending in its ordinal: NAME-0 (the pod's name, else the host's name)"),
    ] = ""
    data: Annotated[str, Meta(description="folder for everything that must survive a restart")] = "/data"

    reserve_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1 << 40,
            description="room on that volume kept for the time when it is full; votes and compaction go on in it",
        ),
    ] = 16 << 20

    raft_host: Annotated[
        str, Meta(description="address on which peers are listened to; empty means all addresses of this machine")
    ] = ""
    raft_port: Annotated[int, Meta(ge=1, le=65535, description="port on which peers are listened to")] = 7400
    http_host: Annotated[
        str, Meta(description="address of the HTTP face (data, probes, metrics); empty means all addresses")
    ] = ""
    http_port: Annotated[int, Meta(ge=1, le=65535, description="port of the HTTP face")] = 7480
    advertise_http: Annotated[
        str, Meta(description="host:port under which clients reach this member's HTTP face (made from what is known)")
    ] = ""

    peers: Annotated[
        str,
        Meta(
            description="the members and their raft addresses, this one included: NAME-0=HOST:PORT,NAME-1=HOST:PORT,…"
        ),
    ] = ""
    service: Annotated[
        str, Meta(description="instead of peers: the headless Service whose DNS records name the members")
    ] = ""
    namespace: Annotated[
        str, Meta(description="the Kubernetes namespace of the pods (that of the pod's service account)")
    ] = ""
    birth: Annotated[
        Literal["lowest", "witness"],
        Meta(
            description="how a new cluster is born; lowest: once all expected members are present with empty volumes, "
            "the lowest ordinal writes the birth record; witness: a majority of them suffices, and the ConfigMap "
            "NAME-birth decides who does"
        ),
    ] = "lowest"
    birth_replicas: Annotated[
        int | None,
        Meta(
            description="how many members a new cluster is born with, NAME-0 first; further ones join it later "
            "(as many as peers are named, else 3)"
        ),
    ] = None
    max_voters: Annotated[
        int, Meta(ge=1, description="so many members vote at the most; further ones learn, and stand ready")
    ] = 5
    replace_dead_after_s: Annotated[
        Annotated[float, Meta(ge=1, le=1 << 31)] | None,
        Meta(description="when a voter was silent for so long, a member that only learnt takes its place (never)"),
    ] = None

    profile: Annotated[
        Profile,
        Meta(
            description="the times of Raft: fast (50 / 250-500 ms) for an agent alone in its pod, "
            "steady (250 / 1000-2000 ms) beside an application"
        ),
    ] = "fast"
    heartbeat_ms: Annotated[
        _Time | None, Meta(description="a leader is heard at least so often (as the profile says)")
    ] = None
    minimum_election_ms: Annotated[
        _Time | None, Meta(description="a leader unheard for so long may be replaced (as the profile says)")
    ] = None
    maximum_election_ms: Annotated[
        _Time | None,
        Meta(description="after so long, every follower has tried to replace it (as the profile says)"),
    ] = None

    body_limit_bytes: Annotated[
        int, Meta(ge=1024, le=2 << 20, description="the largest body that the HTTP face accepts")
    ] = 1 << 20

    connection_limit: Annotated[
        int,
        Meta(
            ge=16,
            le=65536,
            description="so many clients may be connected to the HTTP face; half of them may listen to events",
        ),
    ] = 2048

    token_file: Annotated[
        str,
        Meta(
            description="file with the token that changes ask for, one a line, read again when it changes; without one "
            "the document is open to whoever reaches the port, and only this pod administers"
        ),
    ] = ""
    auth_reads: Annotated[
        Literal["off", "on"], Meta(description="on: reading asks for the token as well, probes and metrics excepted")
    ] = "off"

    tls_cert: Annotated[
        str,
        Meta(
            description="PEM file with this member's certificate: peers are then talked to over TLS 1.3 alone, and "
            "both sides show one (with tls_key and tls_ca; read again when it changes)"
        ),
    ] = ""
    tls_key: Annotated[str, Meta(description="PEM file with its key, without a passphrase")] = ""
    tls_ca: Annotated[
        str, Meta(description="PEM file with the certificates of the authority that every member's must lead to")
    ] = ""
    peer_secret_file: Annotated[
        str,
        Meta(
            description="file with a secret that all members share: nobody is a peer who does not prove that he knows "
            "it. A second line is accepted too, and never shown (read again when it changes)"
        ),
    ] = ""

    kubernetes: Annotated[
        Switch,
        Meta(
            description="whether pods are labelled through the Kubernetes API (auto: if a service account is mounted)"
        ),
    ] = "auto"
    pod_uid: Annotated[
        str, Meta(description="this pod's uid, as the downward API tells it: a label is for this pod and no later one")
    ] = ""
    label_key: Annotated[str, Meta(description="the pod label that carries leader or follower")] = "role"
    pod_selector: Annotated[
        str, Meta(description="label selector of this cluster's pods (app.kubernetes.io/instance=NAME)")
    ] = ""

    nofailover: Annotated[
        Literal["off", "on"],
        Meta(description="on: this member votes and keeps the document, but never leads; not for a majority of them"),
    ] = "off"

    quorum_wait_ms: Annotated[
        _Wait | None,
        Meta(
            description="asked to stop, this member waits so long at most while the others alone would be no majority "
            "(10000 in a pod, else 0)"
        ),
    ] = None
    endpoint_settle_ms: Annotated[
        _Wait | None,
        Meta(
            description="asked to stop, this member goes on forwarding for so long, until routes lead elsewhere "
            "(3000 in a pod, else 0)"
        ),
    ] = None

    application_mode: Annotated[
        ApplicationMode,
        Meta(
            description="whether an application beside this member runs where the leader is; exclusive: a new leader "
            "waits until the former application has stopped; fenced: it does not, because the application checks the "
            "term with each access (auto: exclusive if there is a hook)"
        ),
    ] = "auto"
    application_exec: Annotated[
        str, Meta(description="command run on each change of role, with RAFTQ_ROLE, RAFTQ_TERM and RAFTQ_LEADER set")
    ] = ""
    application_webhook: Annotated[str, Meta(description="URL that each change of role is posted to, as JSON")] = ""
    application_file: Annotated[
        str, Meta(description="file that says who leads, and until when the application may rely on it")
    ] = ""
    application_signal: Annotated[
        Literal["hook", "put"],
        Meta(
            description="what says that the application serves as the leader, and that it has stopped: the end of its "
            "hook, or PUT /v1/application"
        ),
    ] = "hook"
    application_stop_timeout_ms: Annotated[
        float,
        Meta(
            ge=100,
            le=3600000,
            description="so soon after a new leader's election the former application has stopped; at least four "
            "times minimum_election_ms",
        ),
    ] = 10000
    application_start_timeout_ms: Annotated[
        float,
        Meta(ge=100, le=3600000, description="an application that does not serve after so long hands over"),
    ] = 60000
    application_unhealthy_after_ms: Annotated[
        float,
        Meta(ge=100, le=3600000, description="an application that says for so long that it is not well hands over"),
    ] = 30000
    application_watchdog: Annotated[
        _Descriptor | None, Meta(description="the socket to the watchdog of raftq run, which sets this")
    ] = None

    log_format: Annotated[LogFormat, Meta(description="lines for people, or one JSON object a line")] = "plain"
    log_level: Annotated[LogLevel, Meta(description="the least severe lines that are written")] = "info"
    trace: Annotated[
        str,
        Meta(
            description="file in which everything is noted that goes into Raft, data included, up to 256 MiB, for "
            "raftq simulate --replay FILE; nothing is noted by default"
        ),
    ] = ""


CHAPTERS: Mapping[str, tuple[str, ...]] = {
    "This member": ("name", "data", "reserve_bytes"),
    "Listening": ("raft_host", "raft_port", "http_host", "http_port", "advertise_http"),
    "The other members": (
        "peers",
        "service",
        "namespace",
        "birth",
        "birth_replicas",
        "nofailover",
        "max_voters",
        "replace_dead_after_s",
    ),
    "Time": ("profile", "heartbeat_ms", "minimum_election_ms", "maximum_election_ms"),
    "Bounds": (
        "body_limit_bytes",
        "connection_limit",
    ),
    "Security": ("token_file", "auth_reads", "tls_cert", "tls_key", "tls_ca", "peer_secret_file"),
    "Kubernetes": ("kubernetes", "pod_uid", "label_key", "pod_selector"),
    "The end": ("quorum_wait_ms", "endpoint_settle_ms"),
    "The application beside this member": (
        "application_mode",
        "application_exec",
        "application_webhook",
        "application_file",
        "application_signal",
        "application_stop_timeout_ms",
        "application_start_timeout_ms",
        "application_unhealthy_after_ms",
        "application_watchdog",
    ),
    "Logs": ("log_format", "log_level", "trace"),
}
"""The order in which people read about them."""


class Address(NamedTuple):
    host: str
    port: int


class Times(NamedTuple):
    heartbeat: Milliseconds
    minimum_election: Milliseconds
    maximum_election: Milliseconds


PROFILES: Mapping[Profile, Times] = {"fast": Times(50, 250, 500), "steady": Times(250, 1000, 2000)}


class Plan(NamedTuple):
    """The settings once they were found to fit together, in the types that the parts of the agent take."""

    settings: Settings
    name: MemberId
    group: str
    """What the members' names have in common: the StatefulSet's name."""
    peers: Mapping[MemberId, Address]
    """Empty when DNS is asked instead."""
    birth: BirthRule
    times: Times
    advertise_http: str
    warnings: tuple[str, ...]


def plan(settings: Settings) -> Plan:
    """Raises `SettingsError` for settings that cannot work together."""
    name = MemberId(settings.name or socket.gethostname())
    group, _ = divided(name)
    peers = _peers(settings.peers)
    if peers and settings.service:
        raise SettingsError("peers and service are both set: the members are named by one of them")
    if not peers and not settings.service:
        raise SettingsError(
            "nobody to form a cluster with: set peers (NAME-0=HOST:PORT,…) or service (the headless Service)"
        )
    if settings.service and not settings.namespace:
        raise SettingsError("service needs namespace as well, outside of a pod: their DNS names hold both")
    _check_texts(settings)
    if any((settings.tls_cert, settings.tls_key, settings.tls_ca)):
        missing = [key for key in ("tls_cert", "tls_key", "tls_ca") if not getattr(settings, key)]
        if missing:
            raise SettingsError(f"TLS between members needs {' and '.join(missing)} as well")
    if settings.auth_reads == "on" and not settings.token_file:
        raise SettingsError("auth_reads needs token_file as well: the token that reading is to ask for")
    if settings.birth == "witness" and settings.kubernetes == "off":
        raise SettingsError("birth witness needs the Kubernetes API, which keeps the witness: kubernetes is off")
    expected = _expected(settings, group, peers)
    warnings = []
    if len(expected) % 2 == 0:
        warnings.append(
            f"{len(expected)} members survive no more failures than {len(expected) - 1}: prefer an odd number"
        )
    if peers and name not in peers:
        raise SettingsError(f"peers name {', '.join(sorted(peers))}, and not this member, {name}")
    if peers and peers[name].port != settings.raft_port:
        warnings.append(
            f"peers dial {name} on port {peers[name].port}, but raft_port is {settings.raft_port}: "
            "this is right only where something in between translates the one into the other"
        )
    return Plan(
        settings=settings,
        name=name,
        group=group,
        peers=peers,
        birth=_birth(settings, expected),
        times=_times(settings),
        advertise_http=_advertised(settings, name, peers),
        warnings=tuple(warnings),
    )


_NAME = re.compile(r"(?P<group>[a-z0-9A-Z]([-a-z0-9A-Z.]*[a-z0-9A-Z])?)-(?P<ordinal>0|[1-9][0-9]{0,4})")
_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
"""What Kubernetes and DNS have between two dots of a name."""
_LABEL_KEY = rf"((?=.{{1,253}}/){_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?"
_HOST = "[A-Za-z0-9_]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9_.])?"


def _check_texts(settings: Settings) -> None:
    if not settings.data:
        raise SettingsError("data is empty: it names the folder for everything that must survive a restart")
    for setting, text, form, what in (
        ("service", settings.service, f"({_LABEL})?", "name of a Service"),
        ("namespace", settings.namespace, f"({_LABEL})?", "name of a namespace"),
        ("label_key", settings.label_key, _LABEL_KEY, "key of a label"),
    ):
        if not re.fullmatch(form, text):
            raise SettingsError(f"{setting} {text!r} is no {what}")


def divided(name: str) -> tuple[str, int]:
    """A member's name without its ordinal, and the ordinal."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise SettingsError(f"name {name!r} does not end in an ordinal: a member is called NAME-0, NAME-1, …")
    return match["group"], int(match["ordinal"])


def _peers(text: str) -> dict[MemberId, Address]:
    peers: dict[MemberId, Address] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, address = item.partition("=")
        if not equals:
            raise SettingsError(f"peers: {item!r} is not NAME-0=HOST:PORT")
        divided(name)
        if name in peers:
            raise SettingsError(f"peers: {name} is named twice")
        peers[MemberId(name)] = parse_address("peers", address)
    return peers


def parse_address(setting: str, text: str) -> Address:
    """`host:port`, with an IPv6 host in square brackets."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    known = _is_ipv6(host) if bracketed else re.fullmatch(_HOST, host)
    if not known or not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise SettingsError(f"{setting}: {text!r} is not HOST:PORT")
    return Address(host, int(port))


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return host.isprintable() and " " not in host  # a zone may be called anything


def _expected(settings: Settings, group: str, peers: Mapping[MemberId, Address]) -> tuple[MemberId, ...]:
    """The members that a new cluster is born with, lowest ordinal first. Who is none of them joins it."""
    replicas = settings.birth_replicas if settings.birth_replicas is not None else len(peers) or 3
    if not 1 <= replicas <= _MOST_MEMBERS:
        raise SettingsError(f"birth_replicas {replicas}: a cluster has 1 to {_MOST_MEMBERS} members")
    expected = tuple(MemberId(f"{group}-{number}") for number in range(replicas))
    if peers and not (peers.keys() >= set(expected) and all(divided(peer)[0] == group for peer in peers)):
        raise SettingsError(
            f"peers name {', '.join(sorted(peers))}, but a cluster of {replicas} is {', '.join(expected)}: "
            "name each of them, this one included"
        )
    return expected


def _birth(settings: Settings, expected: tuple[MemberId, ...]) -> BirthRule:
    """As far as it is known without the Kubernetes API."""
    return lowest(expected) if settings.birth == "lowest" else BirthRule(expected, founder=None, witness="decides")


def _times(settings: Settings) -> Times:
    profile = PROFILES[settings.profile]
    times = Times(
        settings.heartbeat_ms or profile.heartbeat,
        settings.minimum_election_ms or profile.minimum_election,
        settings.maximum_election_ms or profile.maximum_election,
    )
    if times.minimum_election < 2 * times.heartbeat:
        raise SettingsError(
            f"minimum_election_ms {times.minimum_election:g} must be at least twice heartbeat_ms {times.heartbeat:g}: "
            "one lost heartbeat is no lost leader"
        )
    if times.maximum_election <= times.minimum_election:
        raise SettingsError(
            f"maximum_election_ms {times.maximum_election:g} must be greater than "
            f"minimum_election_ms {times.minimum_election:g}: members that try at one moment split their votes"
        )
    return times


def _advertised(settings: Settings, name: MemberId, peers: Mapping[MemberId, Address]) -> str:
    if settings.advertise_http:
        parse_address("advertise_http", settings.advertise_http)
        return settings.advertise_http
    host = peers[name].host if peers else f"{name}.{settings.service}.{settings.namespace}.svc"
    return f"[{host}]:{settings.http_port}" if ":" in host else f"{host}:{settings.http_port}"
