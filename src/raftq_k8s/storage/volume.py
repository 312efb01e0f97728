"""The door to stable storage, and what can go wrong behind it."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.persistence import Restored, Write
from raftq_k8s.raft.types import Index

TAIL_BYTES = 4 << 20
"""About so much of a long log comes along when a volume is opened; the rest is loaded by whoever needs it."""


class VolumeUnusable(Exception):
    """The volume cannot be opened or trusted. The message says which, where, and what to do. Nothing was changed."""


class WriteFailed(Exception):
    """A write did not reach stable storage. Final: the volume takes no further write until it is opened again."""


class NoRoom(WriteFailed):
    """The volume is full, and so is what was kept for that: make room, then start again. Nothing is damaged."""


class Volume(Protocol):
    def open(self) -> Restored:
        """Take hold of the volume, raise and sync its generation, and return what it holds. Blocks.

        On its first use the volume draws its incarnation. Raises `VolumeUnusable`.
        """

    def write(self, write: Write) -> "Future[None]":
        """Queue a write and return at once. Writes end in order; a future ends when its bytes are on stable storage.

        After one failure with `WriteFailed` every later write fails so too. The future may end on another thread.
        """

    def load(self, first: Index, last: Index, max_bytes: int) -> "Future[tuple[Entry, ...]]":
        """Entries from `first` on as far as they fit `max_bytes`, at least one, and none after `last`; nothing at all
        when `first` was compacted. Sees every write queued before. May end on another thread, and in
        `VolumeUnusable`."""

    def read_snapshot(self, index: Index, offset: int, max_bytes: int) -> "Future[bytes | None]":
        """So many bytes of the sealed snapshot at `index`, fewer at its end only; `None` when it is gone. Sees every
        write queued before. May end on another thread, and in `VolumeUnusable`."""

    def watch_room(self, told: Callable[[bool], None]) -> None:
        """Call that now, and whenever it changes, with whether the open volume is *full*: then it lives on what it kept
        for that, which is enough for votes and compaction, not for what clients bring. On any thread."""

    def close(self) -> None:
        """End what is queued and let the volume go. Blocks; may be called twice."""
