"""The time of the log: an established leader tells it how much has passed, for sessions to expire by.

Only while there are sessions, and one `Elapse` at a time: a cluster without sessions writes nothing for it, and a slow
disk is not given more of it. Each tells what passed on this leader's clock since the one before, or since it was
established (or the first session was opened). What passes between two leaders is told by none, and neither is what a
leader could not tell for longer than two intervals: who used a session just before would be charged with it. So a
session may live longer than said, and ends at most two intervals too early.
"""

import math

from raftq_k8s.raft.consensus import Consensus, NotLeader, Overloaded, Transferring
from raftq_k8s.raft.types import Index, Instant, Milliseconds, Term
from raftq_k8s.state.commands import LONGEST_ELAPSE, Elapse, encode


class SessionTime:
    def __init__(self, interval: Milliseconds) -> None:
        self._interval = interval
        self._term: Term | None = None
        """In which time is told; `None` while it is not."""
        self._told_until: Instant = 0.0
        self._next_at: Instant = 0.0
        self._under_way: Index | None = None

    def tell_in(self, term: Term | None, now: Instant) -> None:
        """The term in which this node is the established leader of a cluster with sessions; else `None`."""
        if term != self._term:
            self._term = term
            self._told_until, self._next_at = now, now + self._interval
            self._under_way = None

    def tell(self, consensus: Consensus, now: Instant) -> None:
        """If it is due. What passed and is not taken now is told the next time."""
        elapse = self.due(now)
        if elapse is None:
            return
        try:
            _, index = consensus.propose([encode(elapse)], now)
        except (NotLeader, Transferring, Overloaded):
            return
        self.proposed(index, now)

    def due(self, now: Instant) -> Elapse | None:
        """To be proposed; asked for again only after the interval, whatever became of it."""
        if now < self.wake_at:
            return None
        self._next_at = now + self._interval
        return Elapse(int(min(now - self._told_until, 2 * self._interval, LONGEST_ELAPSE)))

    def proposed(self, index: Index, now: Instant) -> None:
        self._told_until = now
        self._under_way = index

    def applied(self, index: Index) -> None:
        if self._under_way is not None and index >= self._under_way:
            self._under_way = None

    @property
    def wake_at(self) -> Instant:
        return math.inf if self._term is None or self._under_way is not None else self._next_at
