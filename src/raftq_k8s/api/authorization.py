"""Who may do what.

With a token, whatever changes something asks for `Authorization: Bearer TOKEN`; where reads are guarded, they do too.
Probes and metrics are open to everybody: the kubelet has no token. Without a token the document is open to all who
reach this port, but for pages of other sites in a browser that does; and what administers the cluster is for clients on
this machine, which in Kubernetes means in this pod. A page that a browser shows there is no such client, wherever it
came from, nor is whoever came through a proxy that says so.

The token's file is read again when it changes, so that a token is replaced without a restart: each of its lines is a
token, the old one and the new one for as long as both are about. A file that is gone or empty by then changes nothing,
so that nobody is shut out while it is written anew; what it holds must come in one piece, as Kubernetes brings it, for
half a token would be taken for one.
"""

import hmac
import logging
import time
from collections.abc import Callable
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from raftq_k8s.api.problems import Problem
from raftq_k8s.api.requests import Request
from raftq_k8s.api.routing import Access

log = logging.getLogger(__name__)

LOOKS_EVERY_S = 1.0
"""The file is looked at no more often."""

_LARGEST_FILE_BYTES = 64 << 10
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
"""By these a proxy in this pod says that a client is somewhere else."""

_CHALLENGE = b'WWW-Authenticate: Bearer realm="raftq"\r\n'


class TokenUnusable(Exception):
    """The file of the token cannot be read, or holds none."""


class TokenFile:
    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises `TokenUnusable`. `clock` gives seconds."""
        self._path = path
        self._clock = clock
        self._looked_at = clock()
        self._seen = _look(path)
        self._tokens = _read(path)

    def holds(self, token: bytes) -> bool:
        """Takes a time that tells nothing of the tokens but how many there are."""
        self._keep_up()
        given = sha256(token).digest()
        return sum(hmac.compare_digest(given, known) for known in self._tokens) > 0

    def _keep_up(self) -> None:
        now = self._clock()
        if now - self._looked_at < LOOKS_EVERY_S:
            return
        self._looked_at = now
        try:
            seen = _look(self._path)
            if seen != self._seen:
                self._tokens = _read(self._path)
                self._seen = seen
                log.info("the token in %s has changed, and is taken from now on", self._path)
        except TokenUnusable as error:
            log.warning("%s; the token before is kept", error)


class Guard:
    """`token` is `None` where there is none."""

    def __init__(self, token: TokenFile | None = None, *, guard_reads: bool = False) -> None:
        self._token = token
        self._open = {Access.PROBE} if guard_reads and token is not None else {Access.PROBE, Access.READ}

    def asks_token(self, access: Access) -> bool:
        return self._token is not None and access not in self._open

    def check(self, request: Request, access: Access) -> None:
        """Raises `Problem` for who may not."""
        if access in self._open:
            return
        if self._token is not None:
            _check_token(request, self._token)
        elif access is Access.WRITE:
            _check_is_no_strange_page(request)
        else:
            _check_is_near(request)


def _check_token(request: Request, token: TokenFile) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        detail = "this asks for the header Authorization: Bearer TOKEN; nothing was done"
        raise Problem(401, "token-missing", "Token missing", detail, headers=_CHALLENGE)
    if not token.holds(given.strip().encode("utf-8", "surrogateescape")):
        detail = "this is not the token of this node; nothing was done"
        raise Problem(403, "token-wrong", "Token wrong", detail)


def _check_is_no_strange_page(request: Request) -> None:
    """A browser sends some requests for any page, to any port that it reaches, and says so."""
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        detail = "a page of another site may not do this; nothing was done"
        raise Problem(403, "not-from-here", "Not from here", detail)


def _check_is_near(request: Request) -> None:
    if not _is_near(request):
        detail = "without a token (setting token_file) only clients in this pod may do this; nothing was done"
        raise Problem(403, "not-from-here", "Not from here", detail)
    if any(name in request.headers for name in _FORWARDED):
        detail = "this was forwarded from elsewhere: set a token (token_file), or ask from this pod; nothing was done"
        raise Problem(403, "not-from-here", "Not from here", detail)
    if not all(map(_is_origin_near, request.headers.getall("Origin", ()))):
        detail = "a page of another origin may not do this; nothing was done"
        raise Problem(403, "not-from-here", "Not from here", detail)


def _is_near(request: Request) -> bool:
    transport = request.transport
    peer = None if transport is None else transport.get_extra_info("peername")
    return isinstance(peer, tuple) and _is_loopback(peer[0])


def _is_origin_near(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname
    except ValueError:
        return False
    return _is_loopback(host or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _look(path: Path) -> tuple[int, int, int]:
    try:
        seen = path.stat()
    except OSError as error:
        raise TokenUnusable(f"the token's file {path} cannot be read: {error.strerror}") from error
    return seen.st_ino, seen.st_mtime_ns, seen.st_size


def _read(path: Path) -> tuple[bytes, ...]:
    """Their digests: all of one length."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE_BYTES)
    except OSError as error:
        raise TokenUnusable(f"the token's file {path} cannot be read: {error.strerror}") from error
    tokens = tuple(sha256(line.strip()).digest() for line in text.splitlines() if line.strip())
    if not tokens:
        raise TokenUnusable(f"the token's file {path} holds no token")
    return tokens
