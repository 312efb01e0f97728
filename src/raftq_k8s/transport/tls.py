"""Mutual TLS between members: both sides show a certificate of one authority, over TLS 1.3 and nothing older.

The files are looked at whenever a handshake begins. New ones serve from then on, and connections that are open stay
open. They are tried before they are taken, by a handshake of this process with itself: what no peer would accept is
not taken either, is said once, and what was there before goes on serving. For whom a certificate speaks is decided in
`certificates.py`, when the peer has said its name.
"""

import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from raftq_k8s.raft.types import MemberId
from raftq_k8s.transport.certificates import Certificate, Zone, speaks_for
from raftq_k8s.transport.files import Files, Unusable

_FLIGHTS = 4
"""More than a handshake of two sides takes turns."""

_KINDS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "tls-no-certificate",
    "CERTIFICATE_VERIFY_FAILED": "tls-certificate",
    "UNSUPPORTED_PROTOCOL": "tls-version",
    "NO_PROTOCOLS_AVAILABLE": "tls-version",
    "HTTP_REQUEST": "tls-plain",
    "WRONG_VERSION_NUMBER": "tls-plain",
}


class TlsFiles(NamedTuple):
    """In PEM."""

    certificate: Path
    """Of this member; those between it and the authority follow it."""
    key: Path
    """Without a passphrase."""
    authority: Path
    """The certificates that a peer's must lead to."""


class _Loaded(NamedTuple):
    listening: ssl.SSLContext
    dialling: ssl.SSLContext
    expires_at: float


class Tls:
    """Raises `files.Unusable` when it is made."""

    def __init__(self, files: TlsFiles, member: MemberId, zone: Zone) -> None:
        self._files = files
        self._member = member
        self._zone = zone
        self._refused: Callable[[str, str], None] = lambda kind, reason: None
        self._loaded = Files("certificates", files, self._load)

    @property
    def expires_at(self) -> float:
        """When this member's certificate ends, in seconds since the epoch."""
        return self._loaded.current().expires_at

    def listening(self, refused: Callable[[str, str], None]) -> ssl.SSLContext:
        """For a server, which keeps it: each of its handshakes is made with the files of that moment. `refused` is told
        of those that fail, with a metric label and a reason."""
        self._refused = refused
        return _Current(lambda: self._loaded.current().listening)

    def dialling(self) -> ssl.SSLContext:
        """For one connection."""
        return self._loaded.current().dialling

    def speaks_for(self, certificate: Certificate | None, member: MemberId) -> bool:
        return certificate is not None and speaks_for(certificate, member, self._zone)

    def _load(self) -> _Loaded:
        listening = self._context(ssl.PROTOCOL_TLS_SERVER)
        listening.num_tickets = 0  # each connection shows its certificate again
        dialling = self._context(ssl.PROTOCOL_TLS_CLIENT)
        try:
            own = _shown_to_each_other(listening, dialling)
        except ssl.SSLError as error:
            raise Unusable(
                f"{self._files.certificate} is not what a peer with {self._files.authority} accepts from both sides of "
                f"a connection: {_reason(error)}"
            ) from None
        if not speaks_for(own, self._member, self._zone):
            raise Unusable(
                f"{self._files.certificate} does not speak for {self._member}: that name is none of its DNS names"
            )
        listening.sslobject_class = _telling(lambda kind, reason: self._refused(kind, reason))
        return _Loaded(listening, dialling, ssl.cert_time_to_seconds(own["notAfter"]))

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # by its name as a member instead, once it was said
        context.verify_mode = ssl.CERT_REQUIRED
        for path in self._files:
            path.open("rb").close()  # what ssl says of a missing file does not name it
        try:
            context.load_verify_locations(self._files.authority)
        except ssl.SSLError as error:
            raise Unusable(f"{self._files.authority} holds no certificates of an authority: {_reason(error)}") from None
        try:
            context.load_cert_chain(self._files.certificate, self._files.key, password="")
        except ssl.SSLError as error:
            which = f"{self._files.certificate} and {self._files.key}"
            raise Unusable(f"{which} are no certificate with its key: {_reason(error)}") from None
        return context


class _Current(ssl.SSLContext):
    """Stands for another one, asked for anew at each handshake."""

    _current: Callable[[], ssl.SSLContext]

    def __new__(cls, current: Callable[[], ssl.SSLContext]) -> "_Current":
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, current: Callable[[], ssl.SSLContext]) -> None:
        self._current = current

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return self._current().wrap_bio(*arguments, **options)


def _telling(refused: Callable[[str, str], None]) -> type[ssl.SSLObject]:
    """A server's side of a connection that tells why a handshake failed; asyncio keeps that to itself."""

    class Telling(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                refused(_KINDS.get(error.reason or "", "tls-handshake"), _reason(error))
                raise

    return Telling


def _reason(error: ssl.SSLError) -> str:
    return str(getattr(error, "verify_message", None) or error.reason or error.strerror or "it was broken off")


def _shown_to_each_other(listening: ssl.SSLContext, dialling: ssl.SSLContext) -> dict[str, Any]:
    """A handshake in memory; the certificate that the listening side saw. Raises `ssl.SSLError`."""
    to_listener, to_dialler = ssl.MemoryBIO(), ssl.MemoryBIO()
    listener = listening.wrap_bio(to_listener, to_dialler, server_side=True)
    dialler = dialling.wrap_bio(to_dialler, to_listener)
    for _ in range(_FLIGHTS):
        for side in (dialler, listener):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    certificate = listener.getpeercert()
    assert certificate is not None  # a handshake without one had failed
    return certificate
