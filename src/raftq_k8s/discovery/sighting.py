"""A sighting, and where sightings come from."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from raftq_k8s.raft.types import MemberId


class Sighting(msgspec.Struct, frozen=True):
    """This member can be dialled there, it is said. The host is a name where there is one: its address may change."""

    member: MemberId
    host: str
    port: int


class Unanswered(Exception):
    """The source could not say who is there. That changes nothing of what is known."""


class Source(Protocol):
    async def look(self) -> Sequence[Sighting]:
        """Everybody this source knows of now, within a few seconds; empty when it knows that there is nobody.

        Raises `Unanswered` when it does not know.
        """
