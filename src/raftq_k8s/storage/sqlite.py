"""The default volume: SQLite in a directory, owned by one thread.

The thread takes everything that is queued, commits it as one batch, and then ends the futures of all of it in their
order: a slow disk makes batches larger, not the queue longer. Whoever reads waits in the same queue, and so sees what
was written before; a little is read at a time, and no write waits long for it. What is in a batch, and how it is
checked at the next start, is left to `records.py`.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

import msgspec

from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.persistence import Restored, Write
from raftq_k8s.raft.types import Index, MemberId
from raftq_k8s.storage.litter import PAUSE_S, Pace
from raftq_k8s.storage.records import Records
from raftq_k8s.storage.reserve import RESERVE_BYTES, finds_no_room
from raftq_k8s.storage.volume import NoRoom, VolumeUnusable, WriteFailed

MAX_BATCH_WRITES = 256
MAX_BATCH_BYTES = 4 << 20
"""The write that reaches one of the two is the last of its batch, so that nobody waits for more than that at once."""


REFILL_EVERY_S = 1.0
"""So often a full volume looks whether there is room again."""


class _Pending(msgspec.Struct, frozen=True):
    write: Write
    future: "Future[None]"


class _Asked(msgspec.Struct, frozen=True):
    """Somebody wants to read."""

    read: Callable[[Records], object]
    future: "Future[Any]"


_Queue: TypeAlias = "SimpleQueue[_Pending | _Asked | None]"
_T = TypeVar("_T")


class _Batch(msgspec.Struct):
    pending: list[_Pending]
    asked: _Asked | None = None
    """Comes after it."""
    closing: bool = False
    """Nothing comes after this one."""
    size_bytes: int = 0

    @property
    def is_pause(self) -> bool:
        """Nobody wanted anything."""
        return not self.pending and self.asked is None


class SqliteVolume:
    """Keeps `storage.volume.Volume`. `open` and `close` belong to one caller; all else may come from any thread."""

    def __init__(self, directory: Path, member: MemberId, reserve_bytes: int = RESERVE_BYTES) -> None:
        """`reserve_bytes` are kept for the time when the volume is full; 0: then the first write that fails is the
        last."""
        self._directory = directory
        self._member = member
        self._reserve_bytes = reserve_bytes
        self._is_full = False
        self._told_room: Callable[[bool], None] = _nobody
        self._door = threading.Lock()
        """Between whoever asks for something and `close`: nothing is queued behind the request to end."""
        self._queue: _Queue | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> Restored:
        if self._thread is not None:
            raise VolumeUnusable(f"volume {self._directory} is already open here: close it first")
        # A queue hands the restored log over and forgets it; a future would hold it as long as the thread lives.
        opened: SimpleQueue[Restored | Exception] = SimpleQueue()
        queue: _Queue = SimpleQueue()
        thread = threading.Thread(target=self._serve, args=(queue, opened), name="raftq-storage", daemon=True)
        thread.start()
        restored = opened.get()
        if isinstance(restored, Exception):
            thread.join()
            raise restored
        self._queue, self._thread = queue, thread
        return restored

    def write(self, write: Write) -> "Future[None]":
        future: Future[None] = Future()
        self._put(_Pending(write, future))
        return future

    def load(self, first: Index, last: Index, max_bytes: int) -> "Future[tuple[Entry, ...]]":
        return self._ask(lambda records: records.load(first, last, max_bytes))

    def read_snapshot(self, index: Index, offset: int, max_bytes: int) -> "Future[bytes | None]":
        return self._ask(lambda records: records.read_snapshot(index, offset, max_bytes))

    def _ask(self, read: Callable[[Records], _T]) -> "Future[_T]":
        future: Future[_T] = Future()
        self._put(_Asked(read, future))
        return future

    def _put(self, item: "_Pending | _Asked") -> None:
        item.future.set_running_or_notify_cancel()  # What is queued is done: it cannot be cancelled any more.
        with self._door:
            if self._queue is not None:
                self._queue.put(item)
                return
        item.future.set_exception(WriteFailed(f"volume {self._directory} is not open: open it before you write"))

    def watch_room(self, told: Callable[[bool], None]) -> None:
        self._told_room = told
        told(self._is_full)

    def close(self) -> None:
        with self._door:
            queue, self._queue = self._queue, None
        if queue is not None:
            queue.put(None)
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # The storage thread

    def _serve(self, queue: _Queue, opened: SimpleQueue[Restored | Exception]) -> None:
        try:
            records = Records(self._directory, self._member, self._reserve_bytes)
        except Exception as error:  # Supervisor's door: the caller of `open` raises it.
            opened.put(error)
            return
        try:
            restored = records.restore()
            self._is_full = records.is_full
            opened.put(restored)
            del restored
        except Exception as error:  # The same.
            records.close()
            opened.put(error)
            return
        try:
            self._commit_batches(records, queue)
        finally:
            records.close()

    def _commit_batches(self, records: Records, queue: _Queue) -> None:
        failure: Exception | None = None
        closing = False
        pace = Pace()
        while not closing:
            batch = _next_batch(queue, _patience_s(records) if failure is None else None)
            closing = batch.closing
            writes = [pending.write for pending in batch.pending]
            failure = failure or self._attempt(lambda: records.commit(writes))  # noqa: B023  (called at once)
            for pending in batch.pending:
                if failure is None:
                    pending.future.set_result(None)
                else:
                    pending.future.set_exception(failure)
            if batch.asked is not None:
                failure = failure or self._answer(records, batch.asked)
                if failure is not None:
                    batch.asked.future.set_exception(failure)
            if batch.pending:
                failure = failure or self._attempt(records.raise_mark)
            if not closing:
                failure = failure or self._attempt(lambda: _tidy(records, pace, batch))  # noqa: B023  (the same)
            if records.is_full != self._is_full:
                self._is_full = records.is_full
                self._told_room(records.is_full)

    def _answer(self, records: Records, asked: _Asked) -> Exception | None:
        try:
            found = asked.read(records)
        except Exception as error:  # Supervisor's door: nothing that this volume holds can be trusted from now on.
            if isinstance(error, VolumeUnusable):
                return error
            failure = VolumeUnusable(f"volume {self._directory} cannot be read ({error}): check the disk")
            failure.__cause__ = error
            return failure
        asked.future.set_result(found)
        return None

    def _attempt(self, work: Callable[[], None]) -> WriteFailed | None:
        try:
            work()
        except Exception as error:  # Supervisor's door: whatever it is, everybody who waits hears of it, from now on.
            failure = _failure(self._directory, error)
            failure.__cause__ = error
            return failure
        return None


def _failure(directory: Path, error: Exception) -> WriteFailed:
    if finds_no_room(error):
        return NoRoom(
            f"volume {directory} is full ({error}), and so is its reserve: "
            "make room, then start again; what was acknowledged is kept"
        )
    return WriteFailed(
        f"volume {directory} did not take a write ({error}): "
        "check the disk, then start again; what was acknowledged is kept"
    )


def _nobody(full: bool) -> None:
    """Nobody watches."""


def _patience_s(records: Records) -> float | None:
    """For how long to wait for somebody before there is housekeeping to do."""
    if records.has_litter:
        return PAUSE_S
    return REFILL_EVERY_S if records.is_full else None


def _tidy(records: Records, pace: Pace, batch: _Batch) -> None:
    """Housekeeping after that batch, in bounded pieces."""
    if records.is_full:
        records.refill()
    records.fold()
    due = pace.wrote(batch.size_bytes) if batch.pending else int(batch.is_pause)
    if due:
        records.sweep(due)


def _next_batch(queue: _Queue, patience_s: float | None) -> _Batch:
    """Wait for something to do; take whatever other writes are there, up to the next who wants to read. Nothing at all
    when there is nothing for so long."""
    batch = _Batch([])
    try:
        item = queue.get(timeout=patience_s)
    except Empty:
        return batch
    while isinstance(item, _Pending):
        batch.pending.append(item)
        batch.size_bytes += _size_of(item.write)
        if len(batch.pending) >= MAX_BATCH_WRITES or batch.size_bytes >= MAX_BATCH_BYTES:
            return batch
        try:
            item = queue.get_nowait()
        except Empty:
            return batch
    batch.asked, batch.closing = item, item is None
    return batch


def _size_of(write: Write) -> int:
    part = len(write.part.data) if write.part is not None else 0
    return part + sum(len(entry.command) for entry in write.entries)
