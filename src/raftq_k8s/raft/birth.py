"""Birth: how nodes without a cluster become one, once, and never two.

Before it knows a birth record a node takes no part in anything. By the rule in use one node, the founder, writes the
record when every expected peer is present and as blank as itself: the cluster's id, and the name and incarnation of
each of them. Everybody who is named adopts it on hearing it; a node that hears a record and is not named there (its
volume was lost, or it is new) asks to be added (`joining`).

Two clusters cannot be born of one set of nodes: only the founder writes, and not while any expected peer is missing or
already belongs to a cluster. A founder that lost its volume afterwards meets an initialised peer among the expected, or
misses one.
"""

import msgspec

from raftq_k8s.raft.joining import Applicant
from raftq_k8s.raft.membership import BirthRecord, Hello, Identity, Member, Refusal
from raftq_k8s.raft.messages import JoinRequest, JoinResponse
from raftq_k8s.raft.quorum import FOREVER
from raftq_k8s.raft.types import ClusterId, Instant, MemberId, Milliseconds, Term

ASK_EVERY: Milliseconds = 200.0
"""So often a cluster is asked to take this node in."""


class BirthRule(msgspec.Struct, frozen=True):
    """`expected` are all the first members, this node included where it may be one of them; `founder` is who writes the
    record, and `None` on a node that only ever adopts one."""

    expected: tuple[MemberId, ...]
    founder: MemberId | None
    only: ClusterId | None = None
    """The one cluster that may take this node in, where a person has said so."""


def lowest(expected: tuple[MemberId, ...]) -> BirthRule:
    """The rule `lowest`: of the expected members, given in the order of their ordinals, the first one founds."""
    return BirthRule(expected, expected[0])


class Birth:
    """One node that belongs to no cluster yet. `cluster` and `first_term` are what a record of its own would say."""

    def __init__(self, identity: Identity, rule: BirthRule, cluster: ClusterId, first_term: Term) -> None:
        self._identity = identity
        self._rule = rule
        self._cluster = cluster
        self._first_term = first_term
        self._blank: dict[MemberId, Identity] = {}
        self._applicant = Applicant(identity, ASK_EVERY)
        self.record: BirthRecord | None = None
        """Decided, adopted or joined, and final. To be synced before it is announced or acted upon."""
        self._found_if_complete()

    def greet(self, hello: Hello) -> Refusal | None:
        """A peer said hello. Everybody is listened to, except another node under this node's own name."""
        identity, record = hello.identity, hello.birth
        if identity.member == self._identity.member:
            return Refusal("own-name", f"{identity.member} is this node's own name: two nodes are configured with one")
        if record is None:
            self._applicant.forget(identity.member)
            self._blank[identity.member] = identity
            self._found_if_complete()
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

    def _found_if_complete(self) -> None:
        if self.record is not None or self._rule.founder != self._identity.member:
            return
        if self._missing or self._applicant.has_met:
            return
        present = {**self._blank, self._identity.member: self._identity}
        members = tuple(Member(name, present[name].incarnation) for name in sorted(self._rule.expected))
        self.record = BirthRecord(self._cluster, members, self._first_term)

    @property
    def _missing(self) -> list[MemberId]:
        return [name for name in self._rule.expected if name != self._identity.member and name not in self._blank]

    @property
    def waiting_for(self) -> str:
        """A sentence for people: what has to happen before this node takes part."""
        if self._applicant.has_met:
            return self._applicant.waiting_for
        if self._rule.founder == self._identity.member:
            return f"waiting for {', '.join(self._missing)} to be present, to found a cluster with"
        if self._rule.only is not None:
            return f"waiting to hear of cluster {self._rule.only}"
        return f"waiting to hear of a cluster from {self._rule.founder or 'a member of one'}"
