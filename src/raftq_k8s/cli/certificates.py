"""`raftq certs`: an authority for development, and certificates of members that it signs.

Files are named as Kubernetes names them in a Secret, and as the agent's settings want them: `tls.crt`, `tls.key` and
the authority's `ca.crt`. A key is readable by its owner alone, and each file is whole or not there, for agents read
them again while they change.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SHARED = "all-pods"
"""The folder of the certificate that all pods of a Service share."""

_AUTHORITY_DAYS = 3650
_CLOCKS_DIFFER = timedelta(minutes=5)
_OWNER_ONLY, _FOR_ALL = 0o600, 0o644


class NotMade(Exception):
    """The message says what is in the way."""


class NobodyNamed(Exception):
    """The message says which name is none, or that there is none at all."""


class Authority(NamedTuple):
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def run(folder: Path, members: Sequence[str], service: str, namespace: str, days: int, as_json: bool) -> int:
    try:
        wanted = _wanted(members, service, namespace)
        folder.mkdir(parents=True, exist_ok=True)
        authority = the_authority(folder)
        made = [issue(authority, folder / name, names, days) for name, names in wanted]
    except NobodyNamed as error:
        print(f'raftq: {error} (see "raftq certs --help")', file=sys.stderr)
        return 2
    except NotMade as error:
        print(f"raftq certs: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"raftq certs: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps({"authority": str(folder / "ca.crt"), "members": list(map(str, made)), "days": days}))
        return 0
    print(f" authority  {folder / 'ca.crt'}, whose key signs members: keep {folder / 'ca.key'} to yourself")
    for each in made:
        print(f" member     {each}/{{tls.crt,tls.key,ca.crt}}, for {days} days")
    shown = made[0]
    print(f"\n raftq agent --tls-cert {shown}/tls.crt --tls-key {shown}/tls.key --tls-ca {shown}/ca.crt …")
    return 0


def the_authority(folder: Path) -> Authority:
    """The one in that folder, or a new one."""
    certificate, key = folder / "ca.crt", folder / "ca.key"
    if not certificate.exists() and not key.exists():
        made = _new_authority()
        _write(key, _pem(made.key), _OWNER_ONLY)
        _write(certificate, made.certificate.public_bytes(Encoding.PEM), _FOR_ALL)
        return made
    try:
        found = load_pem_private_key(key.read_bytes(), None)
        read = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (ValueError, TypeError, OSError) as error:
        raise NotMade(f"{certificate} and {key} are no authority that can sign: {error}") from None
    if not isinstance(found, ec.EllipticCurvePrivateKey) or found.public_key() != read.public_key():
        raise NotMade(f"{certificate} and {key} do not belong together")
    return Authority(read, found)


def issue(authority: Authority, folder: Path, names: Sequence[str], days: float) -> Path:
    """A certificate that speaks for those DNS names, for so many days, into that folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(names[0], authority.certificate.subject, key, timedelta(days=days))
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, SHA256())
    )
    folder.mkdir(exist_ok=True)
    _write(folder / "tls.key", _pem(key), _OWNER_ONLY)
    _write(folder / "tls.crt", certificate.public_bytes(Encoding.PEM), _FOR_ALL)
    _write(folder / "ca.crt", authority.certificate.public_bytes(Encoding.PEM), _FOR_ALL)
    return folder


def _wanted(members: Sequence[str], service: str, namespace: str) -> list[tuple[str, list[str]]]:
    """Folders, and the names that the certificate in each speaks for."""
    zone = f"{service}.{namespace}.svc" if service else ""
    if not members:
        if not zone:
            raise NobodyNamed(
                "for whom? Name members (raftq-0 raftq-1 …), or give --service and --namespace for all pods"
            )
        return [(SHARED, [f"*.{zone}"])]
    for name in members:
        if not re.fullmatch("[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?", name):
            raise NobodyNamed(f"{name!r} is no name of a member")
    return [(name, [name, f"{name}.{zone}"] if zone else [name]) for name in members]


def _new_authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "raftq development authority")])
    may_sign = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        _builder("raftq development authority", name, key, timedelta(days=_AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(may_sign, critical=True)
        .sign(key, SHA256())
    )
    return Authority(certificate, key)


def _builder(
    subject: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lasts: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject[:64])]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + lasts)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(temporary).chmod(mode)
    Path(temporary).replace(path)
