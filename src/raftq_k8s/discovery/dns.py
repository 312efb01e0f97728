"""Peers by DNS: what the headless Service of a StatefulSet says.

One SRV question names every pod of the Service and its raft port. An expected peer that the SRV answer lacks is asked
for by its own name. What is sighted is always the *name*, not an address: whoever dials resolves it anew each time, so
pods may come back with other addresses. Every question is a full name with a final dot, so that no search list
multiplies it.

An answer that says "nobody" and a failure are told apart, and neither takes anybody away: that rule, and when to ask,
is `reconcile.py`'s.
"""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import aiodns
import msgspec
import pycares

from raftq_k8s.discovery.sighting import Sighting, Unanswered
from raftq_k8s.raft.types import MemberId

RESOLV_CONF = Path("/etc/resolv.conf")
DEFAULT_CLUSTER_DOMAIN = "cluster.local"
DEFAULT_RAFT_PORT = 7400

FIRST_TRY_S = 0.4
TRIES = 2
QUESTION_DEADLINE_S = 1.25
"""Both tries with c-ares' doubled second wait. A look asks at most twice in a row, so it ends within 2.5 s."""

_NEGATIVE = frozenset({pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENODATA})


def cluster_domain(resolv_conf: str) -> str:
    """The cluster's domain, from the search list that the kubelet writes: `NAMESPACE.svc.DOMAIN svc.DOMAIN DOMAIN`."""
    searched: list[str] = []
    for words in map(str.split, resolv_conf.splitlines()):
        if words[:1] == ["search"]:
            searched = words[1:]  # as in glibc, the last such line counts
    for domain in searched:
        if found := re.fullmatch(r"svc\.(.+?)\.?", domain):
            return found[1]
    return DEFAULT_CLUSTER_DOMAIN


def local_cluster_domain(path: Path = RESOLV_CONF) -> str:
    """The domain of the cluster that this pod runs in."""
    try:
        return cluster_domain(path.read_text(errors="replace"))
    except OSError:
        return DEFAULT_CLUSTER_DOMAIN


class Failure(msgspec.Struct, frozen=True):
    """A question got no answer, neither a positive nor a negative one."""

    reason: str


class DnsDiscovery:
    """What the DNS of the cluster says of one headless Service."""

    def __init__(
        self,
        service: str,
        namespace: str,
        *,
        expected: Sequence[MemberId],
        domain: str,
        port_name: str = "raft",
        port: int = DEFAULT_RAFT_PORT,
        nameservers: Sequence[str] | None = None,
    ) -> None:
        """`port` is for a peer that answers by its own name only; `nameservers` (`host:port`) replace resolv.conf's."""
        self._zone = f"{service}.{namespace}.svc.{domain}.".lower()
        self._question = f"_{port_name}._tcp.{self._zone}"
        self._expected = tuple(expected)
        self._sets = frozenset(member.rpartition("-")[0] for member in expected)
        self._port = port
        self._nameservers = nameservers

    async def look(self) -> tuple[Sighting, ...]:
        # A resolver a look: c-ares keeps answers, negative ones too, for their time to live, 30 s in a cluster, and
        # pycares cannot turn that off. A new one costs less than a millisecond, and reads resolv.conf again.
        resolver = aiodns.DNSResolver(self._nameservers, timeout=FIRST_TRY_S, tries=TRIES)
        try:
            return await self._look(resolver)
        finally:
            await resolver.close()

    async def _look(self, resolver: aiodns.DNSResolver) -> tuple[Sighting, ...]:
        service = await _ask(resolver, self._question, "SRV")
        seen = {} if isinstance(service, Failure) else self._named_by(service)
        absent = [member for member in self._expected if member not in seen]
        by_name = await asyncio.gather(*(_has_address(resolver, self._name(member)) for member in absent))
        for member, answer in zip(absent, by_name, strict=True):
            if answer is True:
                seen[member] = Sighting(member, self._name(member), self._port)
        failures = [answer.reason for answer in (service, *by_name) if isinstance(answer, Failure)]
        if failures and not seen:
            raise Unanswered(failures[0])
        return tuple(seen.values())

    def _named_by(self, records: Sequence[object]) -> dict[MemberId, Sighting]:
        seen: dict[MemberId, Sighting] = {}
        for record in records:
            if not isinstance(record, pycares.SRVRecordData) or not record.port:
                continue
            label, _, zone = record.target.lower().rstrip(".").partition(".")
            if f"{zone}." == self._zone and self._may_be_ours(label):
                seen[MemberId(label)] = Sighting(MemberId(label), self._name(MemberId(label)), record.port)
        return seen

    def _name(self, member: MemberId) -> str:
        return f"{member}.{self._zone}"

    def _may_be_ours(self, label: str) -> bool:
        """A pod of the StatefulSet, also one beyond the expected; not a stranger that the Service's selector caught."""
        stem, _, ordinal = label.rpartition("-")
        return stem in self._sets and ordinal.isdecimal()


async def _has_address(resolver: aiodns.DNSResolver, name: str) -> bool | Failure:
    """Whether that name has an address of either family; a good answer outweighs a failure of the other question."""
    answers = await asyncio.gather(_ask(resolver, name, "A"), _ask(resolver, name, "AAAA"))
    if any(answer and not isinstance(answer, Failure) for answer in answers):
        return True
    return next((answer for answer in answers if isinstance(answer, Failure)), False)


async def _ask(resolver: aiodns.DNSResolver, name: str, kind: str) -> list[object] | Failure:
    """The records of that name and kind, none where either does not exist."""
    try:
        async with asyncio.timeout(QUESTION_DEADLINE_S):
            result = await resolver.query_dns(name, kind)
    except TimeoutError:
        return Failure(f"{kind} {name}: no answer within {QUESTION_DEADLINE_S} s")
    except aiodns.error.DNSError as error:
        code, sentence = error.args
        return [] if code in _NEGATIVE else Failure(f"{kind} {name}: {sentence}")
    wanted = aiodns.query_type_map[kind]
    return [record.data for record in result.answer if record.type == wanted]
