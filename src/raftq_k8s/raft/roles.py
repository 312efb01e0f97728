"""The roles as data: each holds what only that role knows, so nothing stale is left over when a role ends."""

from collections import deque
from typing import TypeAlias

from raftq_k8s.raft.progress import Progress
from raftq_k8s.raft.types import Index, Instant, MemberId


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


class Leader:
    __slots__ = (
        "elected_at",
        "first_index",
        "next_round_at",
        "progress",
        "promises",
        "round",
        "rounds",
        "uncommitted_bytes",
    )

    def __init__(self, elected_at: Instant, first_index: Index, progress: dict[MemberId, Progress]) -> None:
        self.elected_at = elected_at
        self.first_index = first_index
        """Of this term: once it is committed, the leader is established."""
        self.progress = progress
        self.round = 0
        self.rounds: deque[tuple[int, Instant]] = deque()
        """The recent rounds and when they were sent."""
        self.next_round_at = elected_at
        self.promises: dict[MemberId, Instant] = {}
        """Until when each peer surely elects nobody else."""
        self.uncommitted_bytes = 0


Role: TypeAlias = Follower | PreCandidate | Candidate | Leader
