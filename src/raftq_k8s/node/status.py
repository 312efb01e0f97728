"""What a node says of itself, for probes, metrics, pages and the label: one consistent reading, no live objects."""

from enum import IntEnum

import msgspec

from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.types import (
    NO_INDEX,
    NO_TERM,
    ClusterId,
    Incarnation,
    Index,
    Instant,
    MemberId,
    Milliseconds,
    Term,
)


class RaftRole(IntEnum):
    """The contract's three roles. A pre-candidate reports `FOLLOWER`."""

    CANDIDATE = 1
    FOLLOWER = 2
    LEADER = 3


class NodeStatus(msgspec.Struct, frozen=True):
    member: MemberId
    cluster: ClusterId | None
    """`None` until a birth record is adopted."""
    waiting_for: str | None
    """A sentence, while this node is no initialised member, or none any more; otherwise `None`."""
    role: RaftRole
    term: Term
    leader: MemberId | None
    established: bool
    """This node leads, and an entry of its own term is committed."""
    leader_http: str | None
    """The leader's HTTP address, `host:port`, this node's own included; `None` when nobody is known to lead."""
    caught_up: bool
    """Once since the start, this node had applied everything that a leader called committed."""
    leaderless_ms: Milliseconds
    """For how long nobody has been known to lead; 0 while somebody is."""
    quorum_left_ms: Milliseconds
    """For how long this node may go on leading without hearing a quorum again; 0 when it does not lead."""
    lease_left_ms: Milliseconds
    commit_index: Index
    applied_index: Index
    last_index: Index
    voters: tuple[MemberId, ...]
    learners: tuple[MemberId, ...]
    """Members that do not vote (yet)."""
    connected: tuple[MemberId, ...]
    elections: dict[str, int]
    """This node's campaigns since its start, by outcome: `won`, `lost`, `pre-vote-lost`."""
    leader_changes: int
    ignored_messages: dict[str, int]
    """Messages and greetings that a rule refused, by kind."""
    proposals: dict[str, int]
    """Commands of this node's own callers, by outcome: `applied`, `refused`, `unknown`."""
    base_index: Index = NO_INDEX
    """The log begins after it."""
    snapshot_index: Index = NO_INDEX
    """The last entry that this node's snapshot covers."""
    incarnation: Incarnation | None = None
    """Of this node's volume."""
    fenced: str | None = None
    """Why this process takes no part any more, as the kind of a refusal; `None` while it does."""
    volume_full: bool = False
    """This node's volume lives on its reserve."""


class MemberStatus(msgspec.Struct, frozen=True):
    """One member, as this node sees it. What only a leader knows is `None` elsewhere, and of the leader itself."""

    name: MemberId
    incarnation: Incarnation
    kind: str
    """`voter` or `learner`."""
    connected: bool
    """Whether a greeted connection to it is open; of this node itself always."""
    match_index: Index | None
    """It holds the leader's log up to here on stable storage."""
    lag: int | None
    """So many entries of that log it lacks."""
    rtt_ms: Milliseconds | None
    """How long its last answer took; `None` until it gave one."""
    heard_ms: Milliseconds | None
    """So long ago it answered last, or, where it did not yet, the leader began to listen."""
    http_address: str | None
    """`host:port`, where it is known."""


NOBODY = Standing("follower", NO_TERM, None, established=False)
"""How a node stands that takes no part yet."""

_ROLES = {
    "follower": RaftRole.FOLLOWER,
    "pre-candidate": RaftRole.FOLLOWER,
    "candidate": RaftRole.CANDIDATE,
    "leader": RaftRole.LEADER,
}


def role_of(standing: Standing) -> RaftRole:
    return _ROLES[standing.role]


LONGEST_LEFT: Milliseconds = 3_600_000.0
"""What is said of a time that never ends: a lone voter needs nobody to go on leading, and JSON knows no infinity."""


def time_left(until: Instant | None, now: Instant) -> Milliseconds:
    return 0.0 if until is None else min(max(0.0, until - now), LONGEST_LEFT)


UNSTARTED = NodeStatus(
    member=MemberId(""),
    cluster=None,
    waiting_for="waiting for serviceStarted to be dispatched",
    role=RaftRole.FOLLOWER,
    term=NO_TERM,
    leader=None,
    established=False,
    leader_http=None,
    caught_up=False,
    leaderless_ms=0.0,
    quorum_left_ms=0.0,
    lease_left_ms=0.0,
    commit_index=NO_INDEX,
    applied_index=NO_INDEX,
    last_index=NO_INDEX,
    voters=(),
    learners=(),
    connected=(),
    elections={},
    leader_changes=0,
    ignored_messages={},
    proposals={},
)
