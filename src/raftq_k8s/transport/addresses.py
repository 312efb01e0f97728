"""The address book: where members were last sighted, and what a name means right now.

A sighting names a host, mostly a DNS name that outlives the pod's address. It is resolved on every dial and never
cached: all pods may come back with new addresses at once. Beside the sighting stands the last address that answered as
that member; it keeps a pair talking while DNS is down, and is forgotten when somebody else answers there.
"""

import asyncio
import ipaddress
import socket
from typing import NamedTuple

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import AsyncResolver

from raftq_k8s.raft.types import MemberId

LOOK_UP_S = 3.0
MAX_ANSWERS = 4
"""So many addresses of one name are tried: a pod has one or two."""


class Address(NamedTuple):
    host: str
    port: int


class AddressBook:
    def __init__(self) -> None:
        self._sighted: dict[MemberId, Address] = {}
        self._answered: dict[MemberId, Address] = {}

    def sighted(self, member: MemberId, host: str, port: int) -> None:
        self._sighted[member] = Address(host, port)

    def away(self, member: MemberId) -> None:
        self._sighted.pop(member, None)

    def members(self) -> list[MemberId]:
        return list(self._sighted)

    def sighting(self, member: MemberId) -> Address | None:
        return self._sighted.get(member)

    def answered(self, member: MemberId, address: Address) -> None:
        self._answered[member] = address

    def last_good(self, member: MemberId) -> Address | None:
        return self._answered.get(member)

    def answered_by_another(self, member: MemberId, address: Address) -> None:
        """Addresses of pods are used again: this one is not that member's any more."""
        if self._answered.get(member) == address:
            del self._answered[member]


async def look_up(sighting: Address, resolver: AbstractResolver) -> list[Address]:
    """The addresses behind a sighting; none when the name does not resolve, can be none, or nobody answers in time."""
    if _is_literal(sighting.host):
        return [sighting]
    try:
        async with asyncio.timeout(LOOK_UP_S):
            answers = await resolver.resolve(sighting.host, sighting.port, socket.AF_UNSPEC)
    except (OSError, TimeoutError, UnicodeError):
        return []
    fresh = dict.fromkeys(Address(answer["host"], sighting.port) for answer in answers)
    return list(fresh)[:MAX_ANSWERS]


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class UncachedResolver(AbstractResolver):
    """aiodns with a channel of its own for every question, for c-ares keeps answers, negative ones too, as long as
    their time to live allows, and has no switch in Python to turn that off. Costs about a millisecond."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        resolver = AsyncResolver(timeout=1.0, tries=2)
        try:
            return await resolver.resolve(host, port, family)
        finally:
            await resolver.close()

    async def close(self) -> None:
        """Nothing is kept between two questions."""
