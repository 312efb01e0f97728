"""What a leader knows of one peer, and how much it may send it.

*Probe*: where the peer's log agrees is not known; one append at a time, until an answer tells. *Replicate*: it is
known; appends follow each other without waiting, as many messages and bytes as the window holds. A refusal leads back
to probing. *Snapshot*: the peer lacks entries that the leader has no more, and is sent a snapshot instead, a piece at a
time; no entries until it is installed, or until the peer turns out to hold what it covers.
"""

from collections import deque
from enum import Enum

from raftq_k8s.raft.messages import SnapshotMark
from raftq_k8s.raft.output import ChunkWanted, EntriesWanted
from raftq_k8s.raft.quorum import NEVER
from raftq_k8s.raft.types import NO_INDEX, Index, Instant


class Pace(Enum):
    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Sending:
    """A snapshot on its way to a peer. The rules are in `snapshots`."""

    __slots__ = ("advanced_at", "again_at", "mark", "offset", "sent_in", "wanted")

    def __init__(self, mark: SnapshotMark) -> None:
        self.mark = mark
        self.offset = 0
        """The peer holds so much of it, as far as is known; the piece that begins there is under way."""
        self.wanted: ChunkWanted | None = None
        """That piece, while it is read from the volume."""
        self.sent_in = 0
        """The round in which it was sent last."""
        self.again_at: Instant = NEVER
        """When it counts as lost, unless it is answered."""
        self.advanced_at: Instant = NEVER
        """When the peer was last found to hold more than before; at first, when the first piece was sent."""


class Progress:
    __slots__ = (
        "_asked",
        "_in_flight",
        "_in_flight_bytes",
        "_max_inflight",
        "_max_inflight_bytes",
        "loading",
        "match",
        "next",
        "pace",
        "sending",
    )

    def __init__(self, next_index: Index, max_inflight: int, max_inflight_bytes: int) -> None:
        self.match = NO_INDEX
        """Up to here the peer holds this leader's log on stable storage."""
        self.next = next_index
        """The first entry to send next."""
        self.pace = Pace.PROBE
        self.sending: Sending | None = None
        """While the pace is that of a snapshot."""
        self.loading: EntriesWanted | None = None
        """Entries for it that are being read from the volume."""
        self._asked = False
        self._max_inflight = max_inflight
        self._max_inflight_bytes = max_inflight_bytes
        self._in_flight: deque[tuple[Index, int]] = deque()
        """The last entry of each append, and its bytes."""
        self._in_flight_bytes = 0

    @property
    def may_send(self) -> bool:
        """Whether entries may be sent now."""
        if self.pace is Pace.REPLICATE:
            return len(self._in_flight) < self._max_inflight and self._in_flight_bytes < self._max_inflight_bytes
        return self.pace is Pace.PROBE and not self._asked

    @property
    def room(self) -> int:
        """How many bytes of them, if any may."""
        return self._max_inflight_bytes - self._in_flight_bytes

    def sent(self, last: Index, size: int) -> None:
        """Entries left, so many bytes of them up to `last`."""
        if self.pace is Pace.PROBE:
            self._asked = True
        else:
            self._in_flight.append((last, size))
            self._in_flight_bytes += size
            self.next = Index(last + 1)

    def acknowledged(self, index: Index) -> None:
        """The peer agrees, and holds everything up to `index`."""
        self.match = max(self.match, index)
        self.next = max(self.next, Index(self.match + 1))
        if self.sending is not None and self.match < self.sending.mark.index:
            return
        while self._in_flight and self._in_flight[0][0] <= self.match:
            self._in_flight_bytes -= self._in_flight.popleft()[1]
        self.pace = Pace.REPLICATE
        self.sending = None
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
        self._nothing_in_flight()

    def send_snapshot(self, mark: SnapshotMark) -> Sending:
        """Replication goes on after what that snapshot covers, once the peer holds it."""
        self.pace = Pace.SNAPSHOT
        self.sending = Sending(mark)
        self.next = Index(mark.index + 1)
        self._nothing_in_flight()
        return self.sending

    def _nothing_in_flight(self) -> None:
        self._in_flight.clear()
        self._in_flight_bytes = 0
