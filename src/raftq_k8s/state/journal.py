"""The latest changes of the document, for those who watch it.

It is kept in memory alone, and no longer than its bounds say: whoever asks for more reads the document, and goes on
from its revision. Replicas may hold different lengths of it; where two of them have a change, they have the same one.
"""

from collections import deque
from typing import Final

import msgspec

from raftq_k8s.raft.types import NO_INDEX, Index

CHANGES_LIMIT: Final = 8192
BYTES_LIMIT: Final = 4 << 20
"""Of keys and values."""


class Change(msgspec.Struct, frozen=True, gc=False):
    revision: Index
    """A transaction makes several changes, all of one revision."""
    key: str | None
    """`None`: the whole document is another one."""
    value: bytes | None
    """JSON; `None` where the key was taken away."""


class Compacted(Exception):
    """The changes after that revision are not all there any more. `oldest` is the first revision after which they
    are."""

    def __init__(self, oldest: Index) -> None:
        super().__init__(f"changes are kept from after revision {oldest}: read the document, and go on from there")
        self.oldest = oldest


class Journal:
    def __init__(self, begins_after: Index = NO_INDEX) -> None:
        self._changes: deque[tuple[Index, str | None, bytes | None]] = deque()
        self._size_bytes = 0
        self.oldest = begins_after
        """The first revision after which all changes are here."""

    def add(self, revision: Index, key: str | None, value: bytes | None) -> None:
        changes = self._changes
        changes.append((revision, key, value))
        self._size_bytes += len(key or "") + len(value or b"")
        while len(changes) > CHANGES_LIMIT or self._size_bytes > BYTES_LIMIT:
            self.oldest, gone, its_value = changes.popleft()
            self._size_bytes -= len(gone or "") + len(its_value or b"")

    def since(self, revision: int) -> tuple[Change, ...]:
        """All changes of later revisions, in their order. Raises `Compacted`."""
        if revision < self.oldest:
            raise Compacted(self.oldest)
        later = []
        for change in reversed(self._changes):
            if change[0] <= revision:
                break
            later.append(Change(*change))
        return tuple(reversed(later))
