"""A snapshot that a follower is putting together, as data. The rules are in `snapshots`."""

from zlib import crc32

from raftq_k8s.raft.messages import SnapshotMark
from raftq_k8s.raft.types import Term


class PartialSnapshot:
    """So far every piece of it was handed to the volume, in order."""

    __slots__ = ("_checksum", "mark", "size", "term")

    def __init__(self, mark: SnapshotMark, term: Term) -> None:
        self.mark = mark
        self.term = term
        """Of the leader that sends it."""
        self.size = 0
        """Bytes."""
        self._checksum = 0

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self._checksum = crc32(data, self._checksum)

    @property
    def is_complete(self) -> bool:
        return self.size == self.mark.size

    @property
    def is_intact(self) -> bool:
        """Whether it is, once complete, what its mark says."""
        return self._checksum == self.mark.checksum
