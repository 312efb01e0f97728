"""What a node says of itself and of the members, put together from what it and its core know of them."""

from collections.abc import Callable

from raftq_k8s.node.leadership import Leadership
from raftq_k8s.node.peers import Peers
from raftq_k8s.node.status import MemberStatus, NodeStatus, role_of, time_left
from raftq_k8s.raft.consensus import Consensus
from raftq_k8s.raft.membership import Identity, Member
from raftq_k8s.raft.types import NO_INDEX, Instant, MemberId


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


def status_of(
    identity: Identity,
    consensus: Consensus | None,
    leadership: Leadership,
    connected: Callable[[MemberId], bool],
    now: Instant,
) -> NodeStatus:
    """As far as that says it; `consensus` is `None` before the node is born."""
    standing, since = leadership.standing, leadership.leaderless_since
    leading = consensus if standing.role == "leader" else None
    voters = consensus.voters if consensus else ()
    return NodeStatus(
        member=identity.member,
        cluster=identity.cluster,
        waiting_for=None,
        role=role_of(standing),
        term=standing.term,
        leader=standing.leader,
        established=standing.established,
        leader_http=None,
        caught_up=leadership.caught_up,
        leaderless_ms=0.0 if since is None else now - since,
        quorum_left_ms=time_left(leading.quorum_until if leading else None, now),
        lease_left_ms=time_left(leading.lease_until if leading else None, now),
        commit_index=consensus.commit_index if consensus else NO_INDEX,
        applied_index=NO_INDEX,
        last_index=consensus.last_index if consensus else NO_INDEX,
        base_index=consensus.base_index if consensus else NO_INDEX,
        voters=voters,
        learners=consensus.learners if consensus else (),
        connected=tuple(voter for voter in voters if connected(voter)),
        elections=consensus.elections if consensus else {},
        leader_changes=consensus.leader_changes if consensus else 0,
        ignored_messages=consensus.ignored if consensus else {},
        proposals={},
        incarnation=identity.incarnation,
        fenced=consensus.fenced.kind if consensus is not None and consensus.fenced is not None else None,
    )
