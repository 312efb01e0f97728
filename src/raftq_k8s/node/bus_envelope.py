"""What stands around whatever is said over the bus: where it goes, how long that may take, and who speaks.

`destination` and `timeout` are all that a transport needs. `sender` names a process, not only a member: of two under
one name the receiver must know which one spoke. The speaker's name is no field of it, for the contract calls that
`candidate`, `voter` or `node`, after the event.

Shapes alone are here, of the envelope and of the parts that all messages are made of: bytes are base64, names are in
camel case, what has its default is left out. What is in the envelope is said by the chapters of the events
(`bus_votes`, `bus_sync_data`, `bus_data_response`); `bus_messages` puts both together.
"""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from raftq_k8s.node.events import RaftNode
from raftq_k8s.raft.membership import Identity
from raftq_k8s.raft.types import (
    BootId,
    ClusterId,
    Generation,
    Incarnation,
    Index,
    MemberId,
    Milliseconds,
    Term,
    TransferId,
)

_HIGHEST = 1 << 62
"""JSON has integers of any length; what no frame and no volume holds is no number here."""

Count: TypeAlias = Annotated[int, Meta(ge=0, le=_HIGHEST)]
AnyIndex: TypeAlias = Annotated[Index, Meta(ge=0, le=_HIGHEST)]
AnyTerm: TypeAlias = Annotated[Term, Meta(ge=0, le=_HIGHEST)]
AnyTransfer: TypeAlias = Annotated[TransferId, Meta(ge=0, le=_HIGHEST)]


class Part(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Some fields of a message, or a dict within it."""


class Process(Part, frozen=True):
    """Which process of a member; the member's name stands elsewhere."""

    cluster: ClusterId | None
    incarnation: Incarnation
    generation: Annotated[Generation, Meta(ge=0, le=_HIGHEST)]
    boot: BootId

    @classmethod
    def of(cls, identity: Identity) -> "Process":
        return cls(identity.cluster, identity.incarnation, identity.generation, identity.boot)

    def identity(self, name: MemberId) -> Identity:
        return Identity(self.cluster, name, self.incarnation, self.generation, self.boot)


class Envelope(Part, frozen=True):
    destination: RaftNode
    timeout: Milliseconds
    sender: Process
    term: AnyTerm
