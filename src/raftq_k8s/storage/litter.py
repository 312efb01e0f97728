"""Rows that count no more, deleted a little at a time between batches: a long log at once would let every write wait.

Members compact at about the same time, and a disk that is busy with deleting is slow for whoever syncs on it. So the
slices keep pace with what is written, with some to spare: the litter of one compaction is gone well before the next.
"""

from collections.abc import Iterable

SLICE_ROWS = 64
SLICE_BYTES = 1 << 18
"""Whichever of the two is reached first; a single larger row goes alone."""

PAUSE_S = 0.02
"""When nobody has written for so long, there is time for a slice."""

_BATCHES = SLICE_ROWS // 4
_BYTES = SLICE_BYTES // 2
"""After so much was written the next slice is due: a batch is one row of the log at the most."""


class Pace:
    """Counts what was written since the last slice."""

    def __init__(self) -> None:
        self._batches = 0
        self._size_bytes = 0

    def wrote(self, size_bytes: int) -> bool:
        """A batch of that size. Returns whether a slice is due now."""
        self._batches += 1
        self._size_bytes += size_bytes
        is_due = self._batches >= _BATCHES or self._size_bytes >= _BYTES
        if is_due:
            self._batches = self._size_bytes = 0
        return is_due


def slice_of(rows: Iterable[tuple[int, int]]) -> int | None:
    """Of litter by key and size, in the order of the keys, the last key that goes with the next slice."""
    last: int | None = None
    size = 0
    for key, length in rows:
        size += length
        if last is not None and size > SLICE_BYTES:
            break
        last = key
    return last
