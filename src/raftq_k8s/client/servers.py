"""Which server is asked next.

One that answered is asked again; one that failed makes way for the next in turn. The leader's own address is learned
from servers that send a client on to it; it is asked first for what only a leader can do, and forgotten when it fails.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

DEFAULT_SERVER = "http://127.0.0.1:7480"
_AGENTS_PORT = 7480


class Servers:
    def __init__(self, servers: str | Sequence[str]) -> None:
        """Raises `ValueError` for what is no address."""
        if isinstance(servers, str):  # which is a sequence, too, and its letters would pass for hosts
            servers = (servers,)
        if not servers:
            raise ValueError("a client needs the address of a server at least")
        self._servers = tuple(dict.fromkeys(map(normal, servers)))
        self._turn = 0
        self.leader: str | None = None
        """As far as it is known, and only until it fails."""

    def __len__(self) -> int:
        return len(self._servers)

    def __contains__(self, server: str) -> bool:
        return server in self._servers

    @property
    def first(self) -> str:
        return self._servers[0]

    def next(self, only_leader: bool) -> str:
        if only_leader and self.leader is not None:
            return self.leader
        return self._servers[self._turn % len(self._servers)]

    def failed(self, server: str) -> None:
        if server == self.leader:
            self.leader = None
        if server == self._servers[self._turn % len(self._servers)]:
            self._turn += 1


def normal(server: str) -> str:
    """`host:port` is taken as http, and a `host` alone has the port of an agent. Raises `ValueError`."""
    scheme, separator, rest = server.strip().partition("://")
    if not separator:
        scheme, rest = "http", scheme if ":" in scheme or not scheme else f"{scheme}:{_AGENTS_PORT}"
    address = f"{scheme}://{rest.rstrip('/')}"
    if scheme not in ("http", "https") or any(letter <= " " for letter in rest) or not _names_a_host(address):
        raise ValueError(f"{server!r} is no address of a server: it is http://HOST:PORT")
    return address


def _names_a_host(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.port != 0  # it raises for what is no port
    except ValueError:
        return False
