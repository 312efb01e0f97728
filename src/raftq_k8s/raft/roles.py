"""The roles as data: each holds what only that role knows, so nothing stale is left over when a role ends."""

from collections import deque
from typing import TypeAlias

from raftq_k8s.raft.catch_up import CatchUp
from raftq_k8s.raft.configuration import Configuration
from raftq_k8s.raft.pending_reads import PendingRead
from raftq_k8s.raft.progress import Progress
from raftq_k8s.raft.quorum import FOREVER, NEVER
from raftq_k8s.raft.types import NO_TRANSFER, Index, Instant, MemberId, Milliseconds, TransferId


class Follower:
    __slots__ = ("leader",)

    def __init__(self, leader: MemberId | None) -> None:
        self.leader = leader


class PreCandidate:
    """Asks whether an election could be won, before it disturbs anybody with a new term (dissertation §9.6)."""

    __slots__ = ("votes",)

    def __init__(self) -> None:
        self.votes: dict[MemberId, bool] = {}


class Candidate:
    __slots__ = ("votes",)

    def __init__(self) -> None:
        self.votes: dict[MemberId, bool] = {}


class Transfer:
    """Of the leadership, to another voter (dissertation §3.10)."""

    __slots__ = ("give_up_at", "id", "target", "told_in_round")

    def __init__(self, id_: TransferId, target: MemberId, give_up_at: Instant) -> None:
        self.id = id_
        self.target = target
        self.give_up_at = give_up_at
        self.told_in_round = 0
        """The round of the last `TimeoutNow`."""


class Leader:
    __slots__ = (
        "catch_up",
        "counted_by",
        "elected_at",
        "first_index",
        "heard",
        "last_transfer",
        "lease_promises",
        "lease_rounds_after",
        "news_at",
        "next_round_at",
        "progress",
        "promises",
        "quorum_until",
        "reads",
        "round",
        "round_trips",
        "rounds",
        "transfer",
        "uncommitted_bytes",
    )

    def __init__(self, elected_at: Instant, first_index: Index) -> None:
        self.elected_at = elected_at
        self.first_index = first_index
        """Of this term: once it is committed, the leader is established."""
        self.progress: dict[MemberId, Progress] = {}
        self.catch_up: dict[MemberId, CatchUp] = {}
        self.round = 0
        self.rounds: deque[tuple[int, Instant]] = deque()
        """The recent rounds and when they were sent."""
        self.next_round_at = elected_at
        self.news_at = FOREVER
        """When a round is due because followers have not heard of a commit."""
        self.promises: dict[MemberId, Instant] = {}
        """Until when each peer surely elects nobody else, unless this leader hands over to it."""
        self.counted_by: Configuration | None = None
        """Whose majorities `quorum_until` was counted with; none since a promise changed."""
        self.quorum_until: Instant = NEVER
        """What `lease.quorum_until` counted last, and is to be asked of it alone."""
        self.lease_promises: dict[MemberId, Instant] = {}
        """The same, whatever becomes of transfers: of rounds sent after the last one ended."""
        self.lease_rounds_after = 0
        """The last round that was sent before that end."""
        self.heard: dict[MemberId, int] = {}
        """The last round that each peer acknowledged."""
        self.round_trips: dict[MemberId, Milliseconds] = {}
        """How long the first answer of each peer to that round took: for people, no rule rests on it."""
        self.reads: deque[PendingRead] = deque()
        """Not confirmed yet, in the order in which they came in."""
        self.transfer: Transfer | None = None
        self.last_transfer = NO_TRANSFER
        self.uncommitted_bytes = 0


Role: TypeAlias = Follower | PreCandidate | Candidate | Leader

ROLE_NAMES = {Follower: "follower", PreCandidate: "pre-candidate", Candidate: "candidate", Leader: "leader"}
