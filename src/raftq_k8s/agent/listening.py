"""Can this process listen where it is told to? Asked before anything is begun, so that a taken port changes nothing."""

import errno
import os
import socket
from contextlib import ExitStack
from typing import NamedTuple

from raftq_k8s.agent.settings import SettingsError


class Door(NamedTuple):
    purpose: str
    host: str
    """Empty for every address of this machine."""
    port: int


def check_free(*doors: Door) -> None:
    """Raises `SettingsError` with the reason. Each is held while the next is tried: they must be free of each other."""
    with ExitStack() as trials:
        for number, door in enumerate(doors):
            try:
                _try(door, trials)
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
                same = [
                    f" (it is the port for {other.purpose} too)" for other in doors[:number] if other.port == door.port
                ]
                place = f"port {door.port} of {door.host or 'any address'}"
                raise SettingsError(f"cannot listen for {door.purpose} on {place}: {reason}{''.join(same)}") from error


def _try(door: Door, trials: ExitStack) -> None:
    try:
        found = socket.getaddrinfo(door.host or None, door.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else error
        raise SettingsError(f"cannot listen for {door.purpose} on {door.host}: {reason}") from error
    for family, kind, protocol, _, address in dict.fromkeys(found):  # two names in /etc/hosts may be one address
        try:
            trial = trials.enter_context(socket.socket(family, kind, protocol))
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the real one: old connections do not count
            if family == socket.AF_INET6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            trial.bind(address)
            trial.listen(1)
        except OSError as error:
            if door.host or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise  # but a machine may be without IPv6, or without IPv4
