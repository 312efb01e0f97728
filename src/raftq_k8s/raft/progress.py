"""What a leader knows of one peer, and how much it may send it.

*Probe*: where the peer's log agrees is not known; one append at a time, until an answer tells. *Replicate*: it is
known; appends follow each other without waiting, as many as the window holds. A refusal leads back to probing.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum

from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.types import NO_INDEX, Index


class Pace(Enum):
    PROBE = "probe"
    REPLICATE = "replicate"


class Progress:
    __slots__ = ("_asked", "_in_flight", "_max_inflight", "match", "next", "pace")

    def __init__(self, next_index: Index, max_inflight: int) -> None:
        self.match = NO_INDEX
        """Up to here the peer holds this leader's log on stable storage."""
        self.next = next_index
        """The first entry to send next."""
        self.pace = Pace.PROBE
        self._asked = False
        self._max_inflight = max_inflight
        self._in_flight: deque[Index] = deque()

    @property
    def may_send(self) -> bool:
        if self.pace is Pace.PROBE:
            return not self._asked
        return len(self._in_flight) < self._max_inflight

    def sent(self, entries: Sequence[Entry]) -> None:
        if self.pace is Pace.PROBE:
            self._asked = True
        else:
            self._in_flight.append(entries[-1].index)
            self.next = Index(entries[-1].index + 1)

    def acknowledged(self, index: Index) -> None:
        """The peer agrees, and holds everything up to `index`."""
        self.match = max(self.match, index)
        self.next = max(self.next, Index(self.match + 1))
        while self._in_flight and self._in_flight[0] <= self.match:
            self._in_flight.popleft()
        self.pace = Pace.REPLICATE
        self._asked = False

    def refused(self, previous: Index, agreed_at_most: Index) -> bool:
        """The peer has no match at `previous`. Returns whether that is news.

        It is none when the answer was overtaken; nor when the peer agreed there before and has lost what it synced:
        then it is asked again with the next round, not at once, or both would talk as fast as the network allows.
        """
        if previous <= self.match or (self.pace is Pace.PROBE and previous != self.next - 1):
            return False
        self.probe_from(Index(agreed_at_most + 1))
        return True

    def probe_from(self, index: Index) -> None:
        self.pace = Pace.PROBE
        self.next = max(index, Index(self.match + 1))
        self._asked = False
        self._in_flight.clear()
