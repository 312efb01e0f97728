"""For whom a certificate speaks: the rule that ties a member's name to what an authority signed.

A certificate speaks for a member whose name is one of its alternative names, as it is (`raftq-1`) or as the cluster's
DNS has it (`raftq-1.raftq-headless.there.svc`, with or without what follows), so that the usual issuers will do. A
wildcard counts only for all pods of that Service, `*.raftq-headless.there.svc`: the whole StatefulSet may then share
one certificate. The common name of the subject counts for nothing.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from raftq_k8s.raft.types import MemberId

Certificate = Mapping[str, Any]
"""As `ssl.SSLSocket.getpeercert` has it, once it was verified."""


class Zone(NamedTuple):
    """The headless Service whose DNS records name the members; both empty where there is none."""

    service: str = ""
    namespace: str = ""


def speaks_for(certificate: Certificate, member: MemberId, zone: Zone) -> bool:
    names = {value.lower().removesuffix(".") for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
    if member.lower() in names:
        return True
    if not zone.service:
        return False
    short = f"{zone.service}.{zone.namespace}"
    return any(
        host in (member.lower(), "*") and (rest in (short, f"{short}.svc") or rest.startswith(f"{short}.svc."))
        for host, _, rest in (name.partition(".") for name in names)
    )
