"""Rows that count no more, deleted a little at a time between batches: a long log at once would let every write wait.

Members compact at about the same time, and a disk that is busy with deleting is slow for whoever syncs on it. So the
slices keep pace with what is written, with some to spare: the litter of one compaction is gone well before the next,
however large the batches are. After one that is worth several slices they are deleted as one.
"""

from collections.abc import Iterable

SLICE_ROWS = 64
SLICE_BYTES = 1 << 18
"""The row that reaches one of the two is the last of its slice."""

PAUSE_S = 0.02
"""When nobody has written for so long, there is time for a slice."""

_BATCHES = SLICE_ROWS // 4
_BYTES = SLICE_BYTES // 2
"""For so much that was written a slice is due: a batch is one row of the log at the most."""


class Pace:
    """Counts what was written since the last slice."""

    def __init__(self) -> None:
        self._batches = 0
        self._size_bytes = 0

    def wrote(self, size_bytes: int) -> int:
        """A batch of that size. Returns how many slices are due now."""
        self._batches += 1
        self._size_bytes += size_bytes
        due = max(self._batches // _BATCHES, self._size_bytes // _BYTES)
        if due:
            self._batches = 0
            self._size_bytes %= _BYTES
        return due


def end_of(slices: int, rows: Iterable[tuple[int, int]]) -> int | None:
    """Of litter by key and size, in the order of the keys and no more rows than so many slices have, the last key that
    goes with them."""
    last: int | None = None
    size = 0
    for last, length in rows:  # noqa: B007  (it is what is returned)
        size += length
        if size >= slices * SLICE_BYTES:
            break
    return last
