"""Who has caught up (dissertation §4.2.1): a new voter that lacked most of the log would hold up every commit.

What a peer lacks is brought to it in rounds: a round ends when the peer holds all that the log held when the round
began. How long the last one took says how far the peer is behind, whatever arrives meanwhile: not longer than a minimum
election time, and commits hardly wait for it. A peer that is not heard ends no round, so it is not caught up either.
"""

from raftq_k8s.raft.quorum import FOREVER
from raftq_k8s.raft.types import Index, Instant, Milliseconds


class CatchUp:
    __slots__ = ("_began_at", "_goal", "heard_at", "since")

    def __init__(self, goal: Index, now: Instant) -> None:
        self._goal = goal
        self._began_at = now
        self.heard_at = now
        """When it last answered; at first, when the leader began to listen for it."""
        self.since: Instant = FOREVER
        """From when on every round was quick enough."""

    def heard(self, match: Index, last_index: Index, patience: Milliseconds, now: Instant) -> None:
        """The peer holds everything up to `match`, the leader up to `last_index`."""
        self.heard_at = now
        if match >= self._goal:
            in_time = now - self._began_at <= patience
            self.since = min(self.since, now) if in_time else FOREVER
            self._goal, self._began_at = last_index, now

    def is_caught_up(self, patience: Milliseconds, now: Instant) -> bool:
        return self.since <= now <= self._began_at + patience
