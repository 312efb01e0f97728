"""Checks of the place in which an agent runs: its settings, its volume, the names of its peers, their ports, its
certificates and its rights. They look with the agent's own eyes: by the code that it uses itself."""

import asyncio
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from raftq_k8s.agent.settings import Plan, SettingsError, plan
from raftq_k8s.agent.sources import load
from raftq_k8s.cli.finding import Finding, State
from raftq_k8s.cli.spans import milliseconds, seconds
from raftq_k8s.discovery.dns import DnsDiscovery, local_cluster_domain
from raftq_k8s.discovery.sighting import Unanswered
from raftq_k8s.kube.client import SERVICE_ACCOUNT, ApiClient, ApiConfig, ApiError, NotInCluster
from raftq_k8s.raft.types import MemberId
from raftq_k8s.transport.certificates import Zone
from raftq_k8s.transport.files import Unusable
from raftq_k8s.transport.tls import Tls, TlsFiles

_WRITES = 5
_SLOW_WRITE_MS = 25.0
"""Each committed write waits for one on the leader and on a follower."""
_FREE_BYTES = 512 << 20
_FREE_PART = 0.1
_CERTIFICATE_DAYS = 14
_DIAL_S = 1.5
_CPU_STATISTICS = Path("/sys/fs/cgroup/cpu.stat")
_THROTTLED_PART = 0.01


def settings(flags: Sequence[str]) -> tuple[Plan | None, Finding]:
    """The plan by which an agent would run here, where there is one."""
    try:
        loaded = load(list(flags), os.environ)
        if not (loaded.peers or loaded.service):
            return None, Finding("settings", State.SKIPPED, _ELSEWHERE)
        planned = plan(loaded)
    except SettingsError as error:
        advice = "an agent does not start like this: mend the setting"
        whence = "" if flags else ", or unset the variables RAFTQ_… if no agent is meant to run here"
        return None, Finding("settings", State.WRONG, str(error), advice + whence)
    named = f"{planned.name}, one of {len(planned.birth.expected)}"
    if planned.warnings:
        return planned, Finding("settings", State.NOTE, f"{named}; {'; '.join(planned.warnings)}")
    return planned, Finding("settings", State.WELL, named)


_ELSEWHERE = "this is not an agent's place: only the cluster is looked at (in a pod: kubectl exec POD -- raftq doctor)"


async def volume(planned: Plan) -> list[Finding]:
    return await asyncio.to_thread(_volume, Path(planned.settings.data))


def _volume(folder: Path) -> list[Finding]:
    try:
        usage = shutil.disk_usage(folder)
        took_ms = _write_ms(folder)
    except OSError as error:
        advice = "is the volume mounted there, and writable for this user (fsGroup)?"
        return [Finding("volume", State.WRONG, f"{folder}: {(error.strerror or str(error)).lower()}", advice)]
    return [_space(folder, usage.free, usage.total), _speed(took_ms)]


def _write_ms(folder: Path) -> float:
    """How long a small write takes to be on disk. The file has no name, and is gone with this process."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_WRITES):
            began = time.perf_counter()
            file.write(b"\0" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return median(took)


def _space(folder: Path, free: int, total: int) -> Finding:
    found = f"{folder}: {free / (1 << 30):.1f} of {total / (1 << 30):.1f} GiB free"
    if free < min(_FREE_BYTES, _FREE_PART * total):
        return Finding("volume", State.WRONG, found, "make it larger: on a full volume writes are refused")
    return Finding("volume", State.WELL, found)


def _speed(took_ms: float) -> Finding:
    found = f"a write is on disk in {milliseconds(took_ms)}"
    if took_ms > _SLOW_WRITE_MS:
        advice = "a faster storage class: every write of a client waits for two of these, one after the other"
        return Finding("disk", State.NOTE, found, advice)
    return Finding("disk", State.WELL, found)


async def cpu() -> list[Finding]:
    return await asyncio.to_thread(_cpu)


def _cpu() -> list[Finding]:
    try:
        return throttling(_CPU_STATISTICS.read_text())
    except OSError:
        return []


def throttling(statistics: str) -> list[Finding]:
    """Of a control group's `cpu.stat`; nothing where it has no limit."""
    counts = {name: int(count) for name, _, count in (line.partition(" ") for line in statistics.splitlines())}
    periods, throttled = counts.get("nr_periods", 0), counts.get("nr_throttled", 0)
    if not periods:
        return []
    found = f"held back in {throttled / periods:.1%} of its time slices"
    if throttled > _THROTTLED_PART * periods:
        advice = "remove the CPU limit: a leader that is held back for an election time is replaced"
        return [Finding("cpu", State.NOTE, found, advice)]
    return [Finding("cpu", State.WELL, found)]


async def names(planned: Plan) -> list[Finding]:
    if planned.peers:
        return await _static_names(planned)
    settings = planned.settings
    dns = DnsDiscovery(
        settings.service,
        settings.namespace,
        expected=planned.birth.expected,
        domain=local_cluster_domain(),
        port=settings.raft_port,
    )
    try:
        found = {sighting.member for sighting in await dns.look()}
    except Unanswered as error:
        return [
            Finding("DNS", State.WRONG, str(error), "does /etc/resolv.conf lead to the cluster's DNS, and is it up?")
        ]
    return [_named(planned, found)]


def _named(planned: Plan, found: set[MemberId]) -> Finding:
    missing = sorted(set(planned.birth.expected) - found)
    if missing:
        advice = (
            f"are those pods there (kubectl get pods), and is {planned.settings.service} headless, with "
            "publishNotReadyAddresses?"
        )
        return Finding("DNS", State.WRONG, f"no address of {', '.join(missing)}", advice)
    return Finding("DNS", State.WELL, f"{planned.settings.service} names {', '.join(sorted(found))}")


async def _static_names(planned: Plan) -> list[Finding]:
    loop = asyncio.get_running_loop()
    missing = []
    for member, address in planned.peers.items():
        try:
            await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        except OSError:
            missing.append(f"{member} ({address.host})")
    if missing:
        return [Finding("DNS", State.WRONG, f"no address of {', '.join(missing)}", "correct the setting peers, or DNS")]
    return [Finding("DNS", State.WELL, "every peer's host has an address")]


async def peers(planned: Plan) -> list[Finding]:
    """Whether their raft ports take connections."""
    if planned.peers:
        addresses = {member: (at.host, at.port) for member, at in planned.peers.items()}
    else:
        settings = planned.settings
        zone = f"{settings.service}.{settings.namespace}.svc.{local_cluster_domain()}"
        addresses = {member: (f"{member}.{zone}", settings.raft_port) for member in planned.birth.expected}
    others = {member: address for member, address in addresses.items() if member != planned.name}
    complaints = await asyncio.gather(*(_dialled(host, port) for host, port in others.values()))
    bad = [f"{member}: {complaint}" for member, complaint in zip(others, complaints, strict=True) if complaint]
    if bad:
        advice = "is the agent running there, and does a NetworkPolicy let the raft port through?"
        return [Finding("peers", State.WRONG, "; ".join(bad), advice)]
    return [Finding("peers", State.WELL, f"the raft ports of {', '.join(others)} take connections")] if others else []


async def _dialled(host: str, port: int) -> str | None:
    """Why not."""
    try:
        async with asyncio.timeout(_DIAL_S):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"no connection to {host}:{port} within {_DIAL_S:g} s"
    except OSError as error:
        return f"{host}:{port}: {os.strerror(error.errno).lower() if error.errno and error.errno > 0 else error}"
    writer.close()
    return None


async def certificates(planned: Plan) -> list[Finding]:
    settings = planned.settings
    if not settings.tls_cert:
        if settings.peer_secret_file:
            return [Finding("certificates", State.SKIPPED, "members prove themselves by a shared secret")]
        advice = "raftq certs makes some; until then keep strangers off the raft port by a NetworkPolicy"
        return [Finding("certificates", State.NOTE, "members do not prove themselves to each other", advice)]
    files = TlsFiles(Path(settings.tls_cert), Path(settings.tls_key), Path(settings.tls_ca))
    zone = Zone(settings.service, settings.namespace) if settings.service else Zone()
    try:
        expires_at = Tls(files, planned.name, zone).expires_at
    except (Unusable, OSError) as error:
        return [
            Finding("certificates", State.WRONG, str(error), "issue it anew, by the authority that all members know")
        ]
    return [expiry(expires_at, time.time())]


def expiry(expires_at: float, now_s: float) -> Finding:
    """Both in seconds since the epoch."""
    left_s = expires_at - now_s
    if left_s <= 0:
        found = f"the certificate ended {seconds(-left_s)} ago"
        return Finding("certificates", State.WRONG, found, "renew it: it is read again when the file changes")
    found = f"the certificate is good for {seconds(left_s)}"
    if left_s < _CERTIFICATE_DAYS * 86_400:
        return Finding("certificates", State.NOTE, found, "renew it: it is read again when the file changes")
    return Finding("certificates", State.WELL, found)


async def kubernetes(planned: Plan) -> list[Finding]:
    wanted = planned.settings.kubernetes
    if wanted == "off" or (wanted == "auto" and not (SERVICE_ACCOUNT / "token").is_file()):
        return [Finding("kubernetes", State.SKIPPED, "no pods are labelled (setting kubernetes)")]
    try:
        api = ApiClient(ApiConfig.in_cluster())
    except NotInCluster as error:
        return [Finding("kubernetes", State.WRONG, str(error), "mount a service account, or set kubernetes to off")]
    try:
        return [await rights(api, planned)]
    finally:
        await api.close()


async def rights(api: ApiClient, planned: Plan) -> Finding:
    """By a review of the API itself: what it says counts, whatever grants it."""
    wanted = [
        ("list", "pods", ""),
        *((verb, "pods", name) for name in planned.birth.expected for verb in ("get", "patch")),
        *((verb, "configmaps", f"{planned.group}-birth") for verb in ("get", "patch")),
    ]
    try:
        granted = [await api.may(*right) for right in wanted]
    except ApiError as error:
        advice = "is the API reachable from this pod (NetworkPolicy, token)? Elections go on; the label does not move"
        return Finding("kubernetes", State.WRONG, str(error), advice)
    missing = [" ".join(right).strip() for right, may in zip(wanted, granted, strict=True) if not may]
    if missing:
        advice = (
            "bind the chart's Role to this service account (rbac.create): without it the label cannot move, and "
            "nothing outside of the volumes remembers the cluster"
        )
        return Finding("kubernetes", State.WRONG, f"this service account may not {', '.join(missing)}", advice)
    return Finding("kubernetes", State.WELL, "this service account may read and label the pods, and keep the witness")
