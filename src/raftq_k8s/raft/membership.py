"""Who is who: the identity of a process, what it says of itself when it connects, and who belongs to a cluster.

A member is a name and an incarnation. Each start of its process raises a synced `generation` and draws a boot id, so
that of two processes on one volume the younger fences the older, and a dropped connection of the same process is told
from a restart. A node that belongs to no cluster yet says so by a hello without a cluster.

What a change of members makes of a membership is decided here, whoever leads; when one may be begun, in `changes`.
"""

from typing import TypeAlias

import msgspec

from raftq_k8s.raft.types import (
    LONGEST_STEP,
    NO_INDEX,
    NO_TERM,
    BootId,
    ClusterId,
    Generation,
    Incarnation,
    Index,
    MemberId,
    Term,
)


class Member(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A voter as the birth record names it."""

    name: MemberId
    incarnation: Incarnation


class BirthRecord(msgspec.Struct, frozen=True, array_like=True):
    """The first configuration of a cluster, written once and adopted by everybody whom it names."""

    cluster: ClusterId
    members: tuple[Member, ...]
    first_term: Term

    @property
    def is_possible(self) -> bool:
        """Whether a correct founder may have written it: each member is named once, and counts once."""
        names = {member.name for member in self.members}
        each_once = len(names) == len(self.members) > 0 and "" not in names
        return each_once and 0 < self.first_term <= LONGEST_STEP

    def names(self, member: MemberId, incarnation: Incarnation) -> bool:
        return Member(member, incarnation) in self.members


class Membership(msgspec.Struct, frozen=True, array_like=True):
    """Who belongs to a cluster, as the log says it: the command of a `CONFIGURATION` entry, and part of a snapshot.

    Members stand in the order of their names. A name appears under one incarnation only; a voter that stays through
    a joint configuration stands in `voters` and in `outgoing`.
    """

    voters: tuple[Member, ...]
    outgoing: tuple[Member, ...] = ()
    """The voters before, while a joint configuration (dissertation §4.3) is in force: both need a majority."""
    learners: tuple[Member, ...] = ()
    """They receive the log, and count for nothing."""
    tombstones: tuple[Member, ...] = ()
    """Incarnations that were removed, in that order: they never come back. Only the last `MOST_TOMBSTONES` of them are
    kept, for this travels with every piece of a snapshot. Who is forgotten disturbs nobody: a log that ends before its
    own removal gets no votes, and nothing but a new volume asks to join."""
    version: int = 1
    """Of commands and formats: the highest that all members understand. It never falls."""

    @property
    def members(self) -> tuple[Member, ...]:
        return _in_order({*self.voters, *self.outgoing, *self.learners})

    @property
    def is_possible(self) -> bool:
        """Whether a correct leader may have written it."""
        sets = (self.voters, self.outgoing, self.learners)
        in_order = all(_in_order(set(each)) == each for each in sets)
        names = [member.name for member in self.members]
        one_incarnation = len(set(names)) == len(names) and "" not in names
        apart = not {*self.voters, *self.outgoing} & set(self.learners) and not set(self.members) & set(self.tombstones)
        return in_order and one_incarnation and apart and len(self.voters) > 0 and self.version >= 1

    def incarnation_of(self, name: MemberId) -> Incarnation | None:
        return next((member.incarnation for member in self.members if member.name == name), None)


LONGEST_NAME = 253
"""As long as a DNS name may be: what everybody has to keep for good is not of any length."""

MOST_MEMBERS = 256
"""Learners included: whoever invents processes that ask to join fills no configuration without end."""

MOST_TOMBSTONES = 256


class ChangeRefused(ValueError):
    """The members cannot be changed like that, or not now; nothing was begun."""


class AddLearner(msgspec.Struct, frozen=True, gc=False, tag="add-learner"):
    """It receives the log from here on; once it has caught up it may be promoted."""

    member: Member


class Promote(msgspec.Struct, frozen=True, gc=False, tag="promote"):
    """A learner becomes a voter."""

    member: Member


class Remove(msgspec.Struct, frozen=True, gc=False, tag="remove"):
    """For good: that incarnation never comes back."""

    member: Member


class Replace(msgspec.Struct, frozen=True, gc=False, tag="replace"):
    """The volume of a member was lost: its former incarnation is removed, and this one under its name is a learner."""

    member: Member


class ReplaceVoters(msgspec.Struct, frozen=True, tag="replace-voters"):
    """These are the voters, instead of those before, by way of a joint configuration (dissertation §4.3). Who is none
    of them any more is removed."""

    voters: tuple[Member, ...]


class RaiseVersion(msgspec.Struct, frozen=True, gc=False, tag="raise-version"):
    """Every member understands that version of commands and formats."""

    version: int


Change: TypeAlias = AddLearner | Promote | Remove | Replace | ReplaceVoters | RaiseVersion


def changed(membership: Membership, change: Change) -> Membership:
    """What the change makes of it. But for a joint configuration, any majority before it and any after it share a
    voter, because at most one voter comes or goes (§4.1). Raises `ChangeRefused` for what makes no sense."""
    match change:
        case AddLearner(member):
            _must_be_new(membership, member)
            if (other := membership.incarnation_of(member.name)) is not None:
                raise ChangeRefused(f"{member.name} is a member already, with incarnation {other}")
            return _bounded(msgspec.structs.replace(membership, learners=_with(membership.learners, member)))
        case Promote(member):
            if member not in membership.learners:
                raise ChangeRefused(f"{member.name} ({member.incarnation}) is no learner of this cluster")
            return msgspec.structs.replace(
                membership,
                voters=_with(membership.voters, member),
                learners=_without(membership.learners, member),
            )
        case Remove(member):
            if member not in membership.members:
                raise ChangeRefused(f"{member.name} ({member.incarnation}) is no member of this cluster")
            return _removed(membership, member)
        case Replace(member):
            _must_be_new(membership, member)
            former = membership.incarnation_of(member.name)
            if former in (None, member.incarnation):
                raise ChangeRefused(f"there is no other incarnation of {member.name} to replace")
            rest = _removed(membership, Member(member.name, former))
            return msgspec.structs.replace(rest, learners=_with(rest.learners, member))
        case ReplaceVoters(voters):
            return _joint(membership, voters)
        case RaiseVersion(version):  # pragma: no branch
            if version <= membership.version:
                raise ChangeRefused(f"the version is {membership.version} already")
            return msgspec.structs.replace(membership, version=version)


def _must_be_new(membership: Membership, member: Member) -> None:
    if not (0 < len(member.name) <= LONGEST_NAME and 0 < len(member.incarnation) <= LONGEST_NAME):
        raise ChangeRefused(f"a member has a name and an incarnation, of {LONGEST_NAME} characters at the most")
    if member in membership.tombstones:
        raise ChangeRefused(f"{member.name} ({member.incarnation}) was removed, and never comes back")


def _removed(membership: Membership, member: Member) -> Membership:
    voters = _without(membership.voters, member)
    if not voters:
        raise ChangeRefused(f"{member.name} is the only voter")
    return msgspec.structs.replace(
        membership,
        voters=voters,
        learners=_without(membership.learners, member),
        tombstones=buried(membership.tombstones, (member,)),
    )


def _joint(membership: Membership, voters: tuple[Member, ...]) -> Membership:
    incoming = _in_order(set(voters))
    for voter in incoming:
        _must_be_new(membership, voter)
        if membership.incarnation_of(voter.name) not in (None, voter.incarnation):
            raise ChangeRefused(f"{voter.name} is a member with another incarnation: replace that first")
    if len({voter.name for voter in incoming}) != len(incoming) or not incoming:
        raise ChangeRefused("the voters are to be named, each once")
    if incoming == membership.voters:
        raise ChangeRefused("these are the voters already")
    learners = _in_order(set(membership.learners) - set(incoming))
    return _bounded(msgspec.structs.replace(membership, voters=incoming, outgoing=membership.voters, learners=learners))


def _bounded(membership: Membership) -> Membership:
    if len(membership.members) > MOST_MEMBERS:
        raise ChangeRefused(f"a cluster has no more than {MOST_MEMBERS} members: remove those that are gone for good")
    return membership


def without_outgoing(membership: Membership) -> Membership:
    """The end of a joint configuration: its new half alone."""
    removed = _in_order(set(membership.outgoing) - set(membership.voters))
    return msgspec.structs.replace(membership, outgoing=(), tombstones=buried(membership.tombstones, removed))


def buried(tombstones: tuple[Member, ...], removed: tuple[Member, ...]) -> tuple[Member, ...]:
    """With these last, and without the oldest where there are too many."""
    return (*tombstones, *removed)[-MOST_TOMBSTONES:]


def _with(members: tuple[Member, ...], member: Member) -> tuple[Member, ...]:
    return _in_order({*members, member})


def _without(members: tuple[Member, ...], member: Member) -> tuple[Member, ...]:
    return tuple(each for each in members if each != member)


def _in_order(members: set[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=_name_and_incarnation))


def _name_and_incarnation(member: Member) -> tuple[MemberId, Incarnation]:
    return member.name, member.incarnation


class Identity(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One process of one member. `cluster` is `None` until its volume knows a birth record."""

    cluster: ClusterId | None
    member: MemberId
    incarnation: Incarnation
    generation: Generation
    boot: BootId

    @property
    def is_possible(self) -> bool:
        """Whether a correct process may call itself so."""
        return 0 <= self.generation <= LONGEST_STEP and self.member != ""

    def is_process(self, other: "Identity") -> bool:
        """Whether both name one process, whatever either knew of its cluster when it said so: an older hello may be
        heard after a newer one, on another connection."""
        return (self.member, self.incarnation, self.generation, self.boot) == (
            other.member,
            other.incarnation,
            other.generation,
            other.boot,
        )


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The first thing a process says on a connection, and says again when its identity changed (it was born)."""

    protocol_min: int
    protocol_max: int
    identity: Identity
    birth: BirthRecord | None
    http_address: str
    """Where people and forwarded requests find this node, `host:port`; empty where there is no HTTP face."""
    term: Term = NO_TERM
    """What its volume holds, as far as a peer can tell from it that the volume is an old copy: the term, the vote in
    it, and the end of the log."""
    vote: MemberId | None = None
    last_index: Index = NO_INDEX
    full: bool = False
    """Its volume has no room for what clients bring."""

    @property
    def is_possible(self) -> bool:
        """Whether a correct process may say so of itself."""
        versions = 0 <= self.protocol_min <= self.protocol_max <= LONGEST_STEP
        return versions and self.identity.is_possible and min(self.term, self.last_index) >= 0


class Refusal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why a peer is not listened to. `kind` is a metric label, `reason` a sentence for a log."""

    kind: str
    reason: str
