"""The snapshot on disk, in parts as they were written: of the one that is sealed, and perhaps of one that is begun.

Each snapshot that is begun has a number of its own. Whatever has neither of the two numbers is litter, and so is, after
a start, everything that was not sealed.
"""

import sqlite3
from zlib import crc32

import msgspec

from raftq_k8s.raft.messages import SnapshotMark
from raftq_k8s.raft.persistence import SnapshotPart
from raftq_k8s.raft.types import NO_INDEX, Index
from raftq_k8s.storage import checksum, litter
from raftq_k8s.storage.contents import check_complete, check_later
from raftq_k8s.storage.schema import Damaged, Statement

_NO_NUMBER = 0


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    mark: SnapshotMark
    number: int
    """Of its parts."""


class _Begun(msgspec.Struct):
    index: Index
    number: int
    size: int = 0
    checksum: int = 0


class Parts:
    """Makes the statements of a transaction, and is ahead of the disk until that has ended."""

    def __init__(self, connection: sqlite3.Connection, sealed: Sealed | None) -> None:
        """`verify` must follow before anything else."""
        self._connection = connection
        self.sealed = sealed
        self._begun: _Begun | None = None
        self._last_number = _NO_NUMBER
        self.has_litter = True

    def verify(self) -> None:
        """Hold the sealed snapshot against its mark. Raises `Damaged`."""
        (highest,) = self._connection.execute("SELECT max(snapshot) FROM parts").fetchone()
        self._last_number = highest or _NO_NUMBER
        if self.sealed is None:
            return
        mark = self.sealed.mark
        size, found = 0, 0
        for offset, data in self._connection.execute(
            "SELECT offset, data FROM parts WHERE snapshot = ? ORDER BY offset", (self.sealed.number,)
        ):
            if offset != size or not isinstance(data, bytes):
                raise _damaged(mark.index)
            size, found = size + len(data), crc32(data, found)
        if (size, found) != (mark.size, mark.checksum):
            raise _damaged(mark.index)

    def add(self, part: SnapshotPart) -> list[Statement]:
        if part.offset == 0:
            self._last_number += 1
            self.has_litter = self.has_litter or self._begun is not None
            self._begun = _Begun(part.index, self._last_number)
        begun = self._begun
        follows = begun is not None and (part.index, part.offset) == (begun.index, begun.size)
        if begun is None or not follows or (begun.size > 0 and not part.data):
            return []
        begun.size, begun.checksum = begun.size + len(part.data), crc32(part.data, begun.checksum)
        check = checksum.of_part(begun.number, part.offset, part.data)
        return [("INSERT INTO parts VALUES (?, ?, ?, ?)", (begun.number, part.offset, part.data, check))]

    def seal(self, mark: SnapshotMark) -> None:
        """The caller writes the new `sealed`."""
        begun = self._begun or _Begun(NO_INDEX, _NO_NUMBER)
        check_complete(mark, begun.index, begun.size, begun.checksum)
        check_later(mark, self.sealed.mark if self.sealed is not None else None)
        self.sealed, self._begun = Sealed(mark, begun.number), None
        self.has_litter = True

    def read(self, index: Index, offset: int, max_bytes: int) -> bytes | None:
        """Raises `Damaged`."""
        if self.sealed is None or self.sealed.mark.index != index:
            return None
        number = self.sealed.number
        read = bytearray()
        for begin, data, found in self._connection.execute(
            "SELECT offset, data, checksum FROM parts WHERE snapshot = ? AND offset < ? AND offset >= "
            "(SELECT max(offset) FROM parts WHERE snapshot = ? AND offset <= ?) ORDER BY offset",
            (number, offset + max_bytes, number, offset),
        ):
            if found != checksum.of_part(number, begin, data):
                raise _damaged(index)
            read += data[max(0, offset - begin) : offset + max_bytes - begin]
        return bytes(read)

    def sweep(self, slices: int) -> Statement | None:
        """Deletes so much litter; `None` when there is none."""
        if not self.has_litter:
            return None
        alive = (
            self.sealed.number if self.sealed is not None else _NO_NUMBER,
            self._begun.number if self._begun is not None else _NO_NUMBER,
        )
        last = litter.end_of(
            slices,
            self._connection.execute(
                "SELECT rowid, length(data) FROM parts WHERE snapshot NOT IN (?, ?) ORDER BY rowid LIMIT ?",
                (*alive, slices * litter.SLICE_ROWS),
            ),
        )
        self.has_litter = last is not None
        if last is None:
            return None
        return "DELETE FROM parts WHERE rowid <= ? AND snapshot NOT IN (?, ?)", (last, *alive)


def _damaged(index: Index) -> Damaged:
    return Damaged(f"its snapshot at index {index}")
