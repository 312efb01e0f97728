"""Who votes. In this release the configuration is the birth record's and never changes."""

import msgspec

from raftq_k8s.raft.membership import BirthRecord
from raftq_k8s.raft.types import Incarnation, MemberId


class Configuration(msgspec.Struct, frozen=True):
    voters: tuple[MemberId, ...]
    """In the order of their names, so that nothing depends on the order of a set."""
    incarnations: dict[MemberId, Incarnation]

    @property
    def halves(self) -> tuple[tuple[MemberId, ...], ...]:
        """Each needs a majority of its own. A joint configuration (dissertation §4.3) would have two."""
        return (self.voters,)

    def peers_of(self, member: MemberId) -> tuple[MemberId, ...]:
        return tuple(voter for voter in self.voters if voter != member)


def born(record: BirthRecord) -> Configuration:
    return Configuration(
        voters=tuple(sorted(member.name for member in record.members)),
        incarnations={member.name: member.incarnation for member in record.members},
    )
