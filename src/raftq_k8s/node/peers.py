"""What is remembered of the processes that greeted this one: what they said, where people find them, and which verdict
was told of each.

Whoever invents names fills no memory and no log with it.
"""

from collections.abc import Collection

from raftq_k8s.node.notes import of_greeting
from raftq_k8s.raft.membership import Hello, Identity
from raftq_k8s.raft.output import Accepted, Refused
from raftq_k8s.raft.types import BootId, MemberId

STRANGERS_LIMIT = 256
"""Names of which something is remembered, beside those of members."""


class Peers:
    def __init__(self, me: MemberId, http_address: str) -> None:
        self._hellos: dict[MemberId, Hello] = {}
        self._unanswered: dict[MemberId, Hello] = {}
        """Those whose verdict has not left yet."""
        self._http_addresses = {me: http_address}
        self._boots: dict[MemberId, BootId] = {}
        """The process of each member that was accepted last."""
        self._refusals: dict[MemberId, str] = {}

    @property
    def hellos(self) -> Collection[Hello]:
        """Of those that are connected."""
        return self._hellos.values()

    @property
    def has_room(self) -> bool:
        """For a stranger."""
        return len(self._hellos) < STRANGERS_LIMIT

    def greeted(self, hello: Hello) -> None:
        """The last one under each name counts; of one volume, that of the youngest process."""
        name, incarnation, generation = hello.identity.member, hello.identity.incarnation, hello.identity.generation
        known = self._hellos.get(name)
        if known is None or known.identity.incarnation != incarnation or known.identity.generation <= generation:
            self._hellos[name] = hello

    def asks(self, hello: Hello) -> None:
        self._unanswered[hello.identity.member] = hello

    def awaits_a_verdict(self, peer: MemberId) -> bool:
        return peer in self._unanswered

    def lost(self, peer: MemberId) -> Hello | None:
        """The connection to that peer is gone. A hello that is still to be answered came by another one, and holds."""
        self._hellos.pop(peer, None)
        return self._unanswered.get(peer)

    def forget(self, stranger: MemberId) -> None:
        """Nobody asks for one who is no member."""
        self._boots.pop(stranger, None)
        self._http_addresses.pop(stranger, None)

    def has_greeted(self, process: Identity) -> bool:
        hello = self._hellos.get(process.member)
        return hello is not None and hello.identity.is_process(process)

    def is_full(self, member: MemberId) -> bool:
        """Whether the volume of that member is, as it said last."""
        return member in self._hellos and self._hellos[member].full

    def accepted(self, identity: Identity) -> bool:
        """A process of a member is listened to. Returns whether it takes the place of another one."""
        replaced = self._boots.setdefault(identity.member, identity.boot) != identity.boot
        self._boots[identity.member] = identity.boot
        hello = self._hellos.get(identity.member)
        if hello is not None and hello.identity == identity:
            self._http_addresses[identity.member] = hello.http_address
        return replaced

    def note(self, verdict: Accepted | Refused) -> str | None:
        """The verdict leaves. Returns a sentence for people, where it is another one than at the peer's last try."""
        member = verdict.identity.member
        asks = self._unanswered.get(member)
        if asks is not None and asks.identity == verdict.identity:
            del self._unanswered[member]
        kind = verdict.refusal.kind if isinstance(verdict, Refused) else ""
        if self._refusals.get(member, "") == kind or len(self._refusals) >= STRANGERS_LIMIT:
            return None
        self._refusals[member] = kind
        return of_greeting(verdict)

    def http_address(self, member: MemberId | None) -> str | None:
        """`host:port`; `None` where there is none, or it is not known."""
        return (self._http_addresses.get(member) if member is not None else None) or None
