"""Can this process listen where it is told to? Asked before anything is begun, so that a taken port changes nothing."""

import contextlib
import errno
import os
import socket

from raftq_k8s.agent.settings import SettingsError


def check_free(purpose: str, host: str, port: int) -> None:
    """Raises `SettingsError` with the reason. An empty host means every address of this machine."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise SettingsError(f"cannot listen for {purpose} on {host}: {error.strerror}") from error
    for family, kind, protocol, _, address in found:
        try:
            _listen(family, kind, protocol, address)
        except OSError as error:
            if not host and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                continue  # a machine without IPv6, or without IPv4
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise SettingsError(
                f"cannot listen for {purpose} on port {port} of {host or 'any address'}: {reason}"
            ) from error


def _listen(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> None:
    with contextlib.closing(socket.socket(family, kind, protocol)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the real one: old connections do not count
        if family == socket.AF_INET6:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        trial.bind(address)
        trial.listen(1)
