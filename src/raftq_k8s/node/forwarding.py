"""A command on its way from a follower to the leader, one hop, over the peer's stream.

A forwarded command is sent once. Whoever loses the connection while the answer is out does not know what became of
it, and says so: `OutcomeUnknown`.
"""

from typing import TypeAlias

import msgspec

from raftq_k8s.raft.types import MemberId
from raftq_k8s.state.commands import Result


class Forward(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="forward?"):
    source: MemberId
    destination: MemberId
    ticket: int
    """Chosen by the source; the answer returns it."""
    command: bytes


class Refused(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="refused"):
    """The command provably did nothing. `kind` is one of `not-leader`, `overloaded`, `too-large`, `malformed`, `full`;
    and `no-leader`, which never travels: the time of whoever asked ran out before anybody was found to ask."""

    kind: str


class Unknown(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="unknown"):
    """The command may or may not have taken effect."""


Outcome: TypeAlias = Result | Refused | Unknown


class Forwarded(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="forward!"):
    source: MemberId
    destination: MemberId
    ticket: int
    outcome: Outcome
