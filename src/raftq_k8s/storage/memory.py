"""A volume in memory, for tests and simulations: stable for as long as the object lives.

Opening it again without closing it is what a crash looks like to its owner.
"""

import secrets
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.persistence import Restored, Write
from raftq_k8s.raft.types import Incarnation, Index, MemberId
from raftq_k8s.storage.contents import Contents
from raftq_k8s.storage.volume import TAIL_BYTES, WriteFailed

_T = TypeVar("_T")


class MemoryVolume:
    """Keeps `storage.volume.Volume`. Everything has ended when the call that asks for it returns."""

    def __init__(self, member: MemberId, incarnation: Incarnation | None = None, tail_bytes: int = TAIL_BYTES) -> None:
        """Without an incarnation it draws one, as a disk does on its first use."""
        drawn = Incarnation(secrets.token_hex(8)) if incarnation is None else incarnation
        self._contents = Contents(member, drawn)
        self._tail_bytes = tail_bytes
        self._open = False

    def open(self) -> Restored:
        self._open = True
        return self._contents.open(self._tail_bytes)

    def write(self, write: Write) -> "Future[None]":
        return self._ended(lambda: self._contents.keep(write))

    def load(self, first: Index, last: Index, max_bytes: int) -> "Future[tuple[Entry, ...]]":
        return self._ended(lambda: self._contents.load(first, last, max_bytes))

    def read_snapshot(self, index: Index, offset: int, max_bytes: int) -> "Future[bytes | None]":
        return self._ended(lambda: self._contents.read_snapshot(index, offset, max_bytes))

    def watch_room(self, told: Callable[[bool], None]) -> None:
        told(False)

    def close(self) -> None:
        self._open = False

    def _ended(self, work: Callable[[], _T]) -> "Future[_T]":
        future: Future[_T] = Future()
        if self._open:
            future.set_result(work())
        else:
            future.set_exception(WriteFailed("this volume is not open: open it before you write"))
        return future
