"""From the settings to the parts: whether there is an application beside this member, and how it is told."""

import secrets
import shlex
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from raftq_k8s.agent.application.exec_hook import ExecHook
from raftq_k8s.agent.application.file_hook import FileHook
from raftq_k8s.agent.application.hooks import Hook
from raftq_k8s.agent.application.keeper import Keeper, Node, Patience
from raftq_k8s.agent.application.lease import ApplicationLease, Times
from raftq_k8s.agent.application.reports import Promotions, Reports
from raftq_k8s.agent.application.watched import WatchedCommand
from raftq_k8s.agent.application.webhook import Webhook
from raftq_k8s.agent.settings import Plan, Settings, SettingsError
from raftq_k8s.raft.types import Term

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_WINDOWS = 4
"""A deposed leader knows it after one window at the latest, and has to stop its application afterwards."""


def make_keeper(plan: Plan, node: Node) -> Keeper:
    """Raises `SettingsError`."""
    settings = plan.settings
    _check(plan)
    times = Times(
        plan.times.minimum_election,
        settings.application_stop_timeout_ms,
        fenced=settings.application_mode == "fenced",
        unhealthy_after=settings.application_unhealthy_after_ms,
    )
    holder = f"{plan.name}@{_place(settings)}"
    keeper: Keeper
    hooks = _hooks(settings, lambda term: keeper.ended(term))
    keeper = Keeper(
        node,
        plan.name,
        holder,
        ApplicationLease(holder, times),
        hooks,
        Patience(
            start=settings.application_start_timeout_ms / 1000,
            stop=settings.application_stop_timeout_ms / 1000,
            renew=min(500.0, settings.application_stop_timeout_ms / 20),
        ),
        within_ms=times.within,
    )
    return keeper


def _check(plan: Plan) -> None:
    settings = plan.settings
    hooks = (settings.application_exec, settings.application_webhook, settings.application_file)
    if not any(hooks) and settings.application_watchdog is None and settings.application_signal == "hook":
        raise SettingsError(
            f"application_mode {settings.application_mode}: nothing tells the application that it leads; set "
            "application_exec, application_webhook or application_file, or application_signal put"
        )
    least = _WINDOWS * plan.times.minimum_election
    if settings.application_stop_timeout_ms < least:
        raise SettingsError(
            f"application_stop_timeout_ms {settings.application_stop_timeout_ms:g} must be at least {least:g}, four "
            f"times minimum_election_ms: a leader may need one of them to learn that it leads no more"
        )
    url = urlsplit(settings.application_webhook)
    if settings.application_webhook and (url.scheme not in ("http", "https") or not url.hostname):
        raise SettingsError(f"application_webhook {settings.application_webhook!r} is no http(s) URL")
    if settings.application_file and not Path(settings.application_file).parent.is_dir():
        raise SettingsError(f"application_file {settings.application_file}: there is no such folder")


def _hooks(settings: Settings, on_end: Callable[[Term], None]) -> list[Hook]:
    stop_timeout = settings.application_stop_timeout_ms
    hooks: list[Hook] = []
    if settings.application_exec:
        hooks.append(ExecHook(_command(settings.application_exec)))
    if settings.application_webhook:
        hooks.append(Webhook(settings.application_webhook))
    if settings.application_file:
        hooks.append(FileHook(Path(settings.application_file), stop_timeout))
    if settings.application_signal == "put":
        hooks.append((Reports if settings.application_watchdog is None else Promotions)(stop_timeout))
    if settings.application_watchdog is not None:
        try:
            hooks.append(WatchedCommand(settings.application_watchdog, stop_timeout, on_end))
        except OSError as error:
            raise SettingsError(
                f"application_watchdog {settings.application_watchdog}: {error.strerror}; raftq run sets it"
            ) from error
    return hooks


def _command(text: str) -> list[str]:
    try:
        command = shlex.split(text)
    except ValueError as error:
        raise SettingsError(f"application_exec {text!r}: {error}") from error
    if not command:
        raise SettingsError("application_exec is blank: it names a command")
    return command


def _place(settings: Settings) -> str:
    """Where the hooks reach: only from there can somebody say that the application has stopped. A watchdog ends with
    its agent, and the next one knows nothing of what this one still has to end."""
    if settings.application_watchdog is not None:
        return secrets.token_hex(8)
    if settings.pod_uid:
        return settings.pod_uid
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return secrets.token_hex(8)
