"""Who votes, who learns, and from when on: the configurations of one log.

A configuration is in force in a log from the moment it stands there, committed or not (dissertation §4.1), and until a
later one does. A truncation brings the earlier one back. Before any stands in the log, the birth record says who votes;
what a snapshot covers is said by the snapshot.
"""

from bisect import bisect_right
from collections.abc import Iterable

import msgspec

from raftq_k8s.raft.membership import BirthRecord, Member, Membership
from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.persistence import Restored
from raftq_k8s.raft.types import NO_INDEX, Incarnation, Index, MemberId


class Configuration(msgspec.Struct, frozen=True):
    """What is asked of a membership again and again, worked out once. Names stand in their order, so that nothing
    depends on the order of a set."""

    membership: Membership
    voters: tuple[MemberId, ...]
    learners: tuple[MemberId, ...]
    halves: tuple[tuple[MemberId, ...], ...]
    """Each needs a majority of its own: a joint configuration (dissertation §4.3) has two."""
    voting: tuple[MemberId, ...]
    """Of any half."""
    incarnations: dict[MemberId, Incarnation]
    """Of all members."""

    @property
    def is_joint(self) -> bool:
        return len(self.halves) > 1

    def names(self, member: Member) -> bool:
        return self.incarnations.get(member.name) == member.incarnation

    def peers_of(self, member: MemberId) -> tuple[MemberId, ...]:
        return tuple(name for name in self.incarnations if name != member)


def of(membership: Membership) -> Configuration:
    voters, outgoing = _names(membership.voters), _names(membership.outgoing)
    return Configuration(
        membership=membership,
        voters=voters,
        learners=_names(membership.learners),
        halves=(voters, outgoing) if outgoing else (voters,),
        voting=tuple(sorted({*voters, *outgoing})),
        incarnations={member.name: member.incarnation for member in membership.members},
    )


def _names(members: Iterable[Member]) -> tuple[MemberId, ...]:
    return tuple(member.name for member in members)


def born(record: BirthRecord) -> Configuration:
    return of(Membership(voters=tuple(sorted(record.members, key=lambda member: member.name))))


def encode(membership: Membership) -> bytes:
    """As the command of an entry."""
    return msgspec.msgpack.encode(membership)


def decode(command: bytes) -> Membership | None:
    """`None` where no correct leader wrote it."""
    try:
        membership = msgspec.msgpack.decode(command, type=Membership)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return membership if membership.is_possible else None


class Configurations:
    """Those of one log, each with the index of its entry. The first one is that of the birth record or of a snapshot:
    committed."""

    __slots__ = ("_indices", "_settled", "_standing")

    def __init__(self, first: Configuration, index: Index = NO_INDEX) -> None:
        self._indices = [index]
        self._standing = [first]
        self._settled = -1

    @property
    def latest(self) -> Configuration:
        return self._standing[-1]

    @property
    def latest_index(self) -> Index:
        return self._indices[-1]

    def at(self, index: Index) -> Configuration:
        """In force at that index, which is not below the first one's."""
        return self._standing[bisect_right(self._indices, index) - 1]

    def since(self, commit: Index) -> list[Configuration]:
        """The last one that is known to be committed, and all after it: any of them may be what the others go by."""
        return self._standing[bisect_right(self._indices, commit) - 1 :]

    def take(self, entries: Iterable[Entry]) -> bool:
        """Entries were put into the log. Returns whether the configuration changed."""
        count = len(self._indices)
        for entry in entries:
            if entry.kind is EntryKind.CONFIGURATION and (membership := decode(entry.command)) is not None:
                self._indices.append(entry.index)
                self._standing.append(of(membership))
        return len(self._indices) > count

    def truncate(self, first: Index) -> bool:
        """Whatever stood in the log at `first` or after it is gone. Returns whether the configuration changed."""
        if self._indices[-1] < first:
            return False
        keep = bisect_right(self._indices, first - 1)
        del self._indices[keep:], self._standing[keep:]
        return True

    def settle(self, commit: Index) -> Configuration | None:
        """The last one that is committed, if it is another than before."""
        after = self._settled + 1
        if after == len(self._indices) or self._indices[after] > commit:
            return None
        self._settled = bisect_right(self._indices, commit) - 1
        return self._standing[self._settled]

    def compact(self, base: Index) -> None:
        """Nothing before `base` is asked for any more."""
        gone = bisect_right(self._indices, base) - 1
        if gone > 0:
            del self._indices[:gone], self._standing[:gone]
            self._settled = max(-1, self._settled - gone)


def of_log(birth: BirthRecord, restored: Restored) -> Configurations:
    """Of a log as it stands on a volume."""
    snapshot = restored.snapshot
    if snapshot is None:
        configurations = Configurations(born(birth))
        configurations.take((*restored.configurations, *restored.entries))
    else:
        configurations = Configurations(of(snapshot.membership), snapshot.index)
        rest = (*restored.configurations, *restored.entries)
        configurations.take(entry for entry in rest if entry.index > snapshot.index)
    return configurations
