"""What a node says of the members, put together from what it and its core know of them."""

from collections.abc import Callable

from raftq_k8s.node.peers import Peers
from raftq_k8s.node.status import MemberStatus
from raftq_k8s.raft.consensus import Consensus
from raftq_k8s.raft.membership import Member
from raftq_k8s.raft.types import Instant, MemberId


def members_of(
    consensus: Consensus, me: MemberId, connected: Callable[[MemberId], bool], peers: Peers, now: Instant
) -> tuple[MemberStatus, ...]:
    """Everybody whom the latest configuration names, in the order of their names."""
    followers, last = consensus.followers, consensus.last_index

    def told(member: Member) -> MemberStatus:
        known = followers.get(member.name)
        return MemberStatus(
            name=member.name,
            incarnation=member.incarnation,
            kind="learner" if member in consensus.membership.learners else "voter",
            connected=member.name == me or connected(member.name),
            match_index=known.match if known is not None else None,
            lag=last - known.match if known is not None else None,
            rtt_ms=known.round_trip if known is not None else None,
            heard_ms=now - known.heard_at if known is not None else None,
            http_address=peers.http_address(member.name),
        )

    return tuple(told(member) for member in consensus.membership.members)
