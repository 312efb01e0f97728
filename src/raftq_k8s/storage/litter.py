"""Rows that count no more are deleted a little at a time, between batches: to delete a long log at once would let every
write wait that comes meanwhile."""

from collections.abc import Iterable

SLICE_ROWS = 256
SLICE_BYTES = 1 << 20
"""Whichever of the two is reached first; a single larger row goes alone."""


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
