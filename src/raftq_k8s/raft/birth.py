"""Birth: how nodes without a cluster become one, once, and never two.

Before it knows a birth record a node takes no part in anything. By the rule in use one node, the founder, writes the
record when every expected peer is present and as blank as itself: the cluster's id, and the name and incarnation of
each of them. Everybody who is named adopts it on hearing it; a node that hears a record and is not named there (its
volume was lost, or it is new) asks to be added (`joining`).

Two clusters cannot be born of one set of nodes: only the founder writes, and not while any expected peer is missing or
already belongs to a cluster. A founder that lost its volume afterwards meets an initialised peer among the expected, or
misses one. But all volumes may be lost together, and that shows nowhere among the nodes.

A *witness* outside of them remembers. Whoever can reach it tells what it shows (`witnessed`), asked for because a node
would found a cluster (`wish`). Where it is *heeded*, the founder founds only while the witness names no cluster. Where
it *decides*, there is no founder: a majority of the expected, all blank, suffices, any of them may propose its wish,
and a compare-and-swap on the witness picks one. Nobody acts on having written: a record counts when the witness shows
it, to the one who wrote it as to everybody else whom it names. So a write whose outcome is unknown, or that lands late,
is nothing special, and neither is a crash between it and the volume.
"""

from typing import Literal, TypeAlias

import msgspec

from raftq_k8s.raft.joining import Applicant
from raftq_k8s.raft.membership import BirthRecord, Hello, Identity, Member, Refusal
from raftq_k8s.raft.messages import JoinRequest, JoinResponse
from raftq_k8s.raft.quorum import FOREVER
from raftq_k8s.raft.types import NO_TERM, ClusterId, Instant, MemberId, Milliseconds, Term

ASK_EVERY: Milliseconds = 200.0
"""So often a cluster is asked to take this node in."""


class BirthRule(msgspec.Struct, frozen=True):
    """`expected` are all the first members, this node included where it may be one of them; `founder` is who writes the
    record, and `None` on a node that only ever adopts one."""

    expected: tuple[MemberId, ...]
    founder: MemberId | None
    only: ClusterId | None = None
    """The one cluster that may take this node in, where a person has said so."""
    witness: Literal["absent", "heeded", "decides"] = "absent"
    """What a witness has to say in it. Where it decides, there is no founder."""


def lowest(expected: tuple[MemberId, ...]) -> BirthRule:
    """The rule `lowest`: of the expected members, given in the order of their ordinals, the first one founds."""
    return BirthRule(expected, expected[0])


class Vacant(msgspec.Struct, frozen=True, tag="vacant"):
    """The witness names no cluster, or there is none that could be asked."""

    highest_term: Term = NO_TERM
    """That was found outside of the nodes: a cluster that is born begins above it."""


class Named(msgspec.Struct, frozen=True, tag="named"):
    """A cluster was born already, by this record."""

    record: BirthRecord
    advice: str
    """What people are told where everybody is blank nevertheless."""


class Doubtful(msgspec.Struct, frozen=True, tag="doubtful"):
    """It cannot be told what the witness shows: nothing is born meanwhile."""

    reason: str


Testimony: TypeAlias = Vacant | Named | Doubtful


class Birth:
    """One node that belongs to no cluster yet. `cluster` and `first_term` are what a record of its own would say."""

    def __init__(self, identity: Identity, rule: BirthRule, cluster: ClusterId, first_term: Term) -> None:
        self._identity = identity
        self._rule = rule
        self._cluster = cluster
        self._first_term = first_term
        self._blank: dict[MemberId, Identity] = {}
        self._testimony: Testimony | None = None
        self._applicant = Applicant(identity, ASK_EVERY)
        self.record: BirthRecord | None = None
        """Decided, adopted or joined, and final. To be synced before it is announced or acted upon."""
        self._found_without_witness()

    def greet(self, hello: Hello) -> Refusal | None:
        """A peer said hello. Everybody is listened to, except another node under this node's own name."""
        identity, record = hello.identity, hello.birth
        if identity.member == self._identity.member:
            return Refusal("own-name", f"{identity.member} is this node's own name: two nodes are configured with one")
        if record is None:
            self._applicant.forget(identity.member)
            self._blank[identity.member] = identity
            self._found_without_witness()
            return None
        if not record.is_possible or record.cluster != identity.cluster:
            return Refusal("malformed", f"{identity.member} shows a birth record that no correct founder wrote")
        if self._rule.only not in (None, record.cluster):
            return Refusal(
                "other-cluster", f"{identity.member} belongs to cluster {record.cluster}, not {self._rule.only}"
            )
        self._blank.pop(identity.member, None)
        if record.names(self._identity.member, self._identity.incarnation):
            self.record = self.record or record
        elif identity.member in self._rule.expected or self._applicant.may_meet(record.cluster):
            self._applicant.meet(identity.member, record)
        return None

    def lost(self, peer: MemberId) -> None:
        """The connection to that peer is gone: it is not present any more. What it belonged to is not forgotten."""
        self._blank.pop(peer, None)
        self._applicant.lost(peer)

    def ask(self, now: Instant) -> list[JoinRequest]:
        """What to ask of members of a cluster that this node has heard of; to be called at `wake_at`."""
        return [] if self.record is not None else self._applicant.ask(now)

    def answered(self, response: JoinResponse) -> None:
        self._applicant.hear(response)
        self.record = self.record or self._applicant.record

    @property
    def wake_at(self) -> Instant:
        return FOREVER if self.record is not None else self._applicant.wake_at

    def witnessed(self, testimony: Testimony) -> None:
        """What the witness shows. It was asked a moment ago: a cluster is founded on it now, or not at all."""
        self._testimony = testimony
        match testimony:
            case Named(record=record):
                me = self._identity
                if self._rule.only in (None, record.cluster) and record.names(me.member, me.incarnation):
                    self.record = self.record or record
            case Vacant(highest_term=term) if self._rule.witness == "heeded":
                self._first_term = max(self._first_term, Term(term + 1))
                self.record = self.record or self.wish
            case _:
                pass

    @property
    def wish(self) -> BirthRecord | None:
        """The record of the cluster that this node would found now, with those who are present."""
        me = self._identity.member
        founds = me in self._rule.expected if self._rule.witness == "decides" else me == self._rule.founder
        if self.record is not None or self._applicant.has_met or not founds or not self._are_enough:
            return None
        present = {**self._blank, me: self._identity}
        members = tuple(
            Member(name, present[name].incarnation) for name in sorted(self._rule.expected) if name in present
        )
        return BirthRecord(self._cluster, members, self._first_term)

    def _found_without_witness(self) -> None:
        if self._rule.witness == "absent":
            self.record = self.record or self.wish

    @property
    def _are_enough(self) -> bool:
        missing, expected = len(self._missing), len(self._rule.expected)
        return 2 * missing < expected if self._rule.witness == "decides" else missing == 0

    @property
    def _missing(self) -> list[MemberId]:
        return [name for name in self._rule.expected if name != self._identity.member and name not in self._blank]

    @property
    def waiting_for(self) -> str:
        """A sentence for people: what has to happen before this node takes part."""
        if self._applicant.has_met:
            return self._applicant.waiting_for
        if self._rule.only is not None:
            return f"waiting to hear of cluster {self._rule.only}"
        match self._testimony:
            case Named(record=record, advice=advice):
                return (
                    advice
                    if self._are_enough
                    else f"waiting to hear of cluster {record.cluster}, which was born before"
                )
            case Doubtful(reason=reason) if self._are_enough:
                return reason
            case _:
                return self._waiting_for_the_others

    @property
    def _waiting_for_the_others(self) -> str:
        if self.wish is not None:
            return "waiting for what the witness of births shows"
        if self._rule.witness == "decides":
            return f"waiting for a majority of {', '.join(self._rule.expected)} to be present, to found a cluster with"
        if self._rule.founder == self._identity.member:
            return f"waiting for {', '.join(self._missing)} to be present, to found a cluster with"
        return f"waiting to hear of a cluster from {self._rule.founder or 'a member of one'}"
