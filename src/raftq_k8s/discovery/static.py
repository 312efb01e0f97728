"""Peers whose addresses are given: processes on one machine, and tests."""

from collections.abc import Mapping

from raftq_k8s.discovery.sighting import Sighting
from raftq_k8s.raft.types import MemberId


class StaticDiscovery:
    """Sees every given peer each time it is asked."""

    def __init__(self, peers: Mapping[MemberId, tuple[str, int]]) -> None:
        self._sightings = tuple(Sighting(member, host, port) for member, (host, port) in peers.items())

    async def look(self) -> tuple[Sighting, ...]:
        return self._sightings
