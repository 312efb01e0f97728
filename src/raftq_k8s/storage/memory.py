"""A volume in memory, for tests and simulations: stable for as long as the object lives.

Opening it again without closing it is what a crash looks like to its owner.
"""

import secrets
from concurrent.futures import Future

import msgspec

from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.persistence import HardState, Restored, Write
from raftq_k8s.raft.types import Generation, Incarnation, MemberId
from raftq_k8s.storage.volume import WriteFailed


class MemoryVolume:
    """Keeps `storage.volume.Volume`. Every write has ended when `write` returns."""

    def __init__(self, member: MemberId, incarnation: Incarnation | None = None) -> None:
        """Without an incarnation it draws one, as a disk does on its first use."""
        drawn = Incarnation(secrets.token_hex(8)) if incarnation is None else incarnation
        self._held = Restored(member, drawn, Generation(0), birth=None, hard_state=HardState(), entries=[])
        self._open = False

    def open(self) -> Restored:
        self._open = True
        self._held = msgspec.structs.replace(self._held, generation=Generation(self._held.generation + 1))
        return msgspec.structs.replace(self._held, entries=list(self._held.entries))

    def write(self, write: Write) -> "Future[None]":
        future: Future[None] = Future()
        if not self._open:
            future.set_exception(WriteFailed("this volume is not open: open it before you write"))
            return future
        held = self._held
        _replace_tail(held.entries, write.entries)
        self._held = msgspec.structs.replace(
            held,
            birth=held.birth if write.birth is None else write.birth,
            hard_state=held.hard_state if write.hard_state is None else write.hard_state,
        )
        future.set_result(None)
        return future

    def close(self) -> None:
        self._open = False


def _replace_tail(log: list[Entry], entries: tuple[Entry, ...]) -> None:
    if not entries:
        return
    first = entries[0].index
    if not 0 < first <= len(log) + 1:
        raise ValueError(f"entries from index {first} on would leave a gap in a log that ends at {len(log)}")
    log[first - 1 :] = entries
