"""The default volume: SQLite in a directory, owned by one thread.

The thread takes everything that is queued, commits it as one batch, and then ends the futures of all of it in their
order: a slow disk makes batches larger, not the queue longer. What is in a batch, and how it is checked at the next
start, is left to `records.py`.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue

import msgspec

from raftq_k8s.raft.persistence import Restored, Write
from raftq_k8s.raft.types import MemberId
from raftq_k8s.storage.records import Records
from raftq_k8s.storage.volume import VolumeUnusable, WriteFailed

MAX_BATCH_WRITES = 256
MAX_BATCH_BYTES = 4 << 20
"""The write that reaches one of the two is the last of its batch, so that nobody waits for more than that at once."""


class _Pending(msgspec.Struct, frozen=True):
    write: Write
    future: "Future[None]"


class _Batch(msgspec.Struct):
    pending: list[_Pending]
    closing: bool
    """Nothing comes after this one."""


class SqliteVolume:
    """Keeps `storage.volume.Volume`. `open` and `close` belong to one caller; `write` may come from any thread."""

    def __init__(self, directory: Path, member: MemberId) -> None:
        self._directory = directory
        self._member = member
        self._door = threading.Lock()
        """Between `write` and `close`: nothing is queued behind the request to end."""
        self._queue: SimpleQueue[_Pending | None] | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> Restored:
        if self._thread is not None:
            raise VolumeUnusable(f"volume {self._directory} is already open here: close it first")
        # A queue hands the restored log over and forgets it; a future would hold it as long as the thread lives.
        opened: SimpleQueue[Restored | Exception] = SimpleQueue()
        queue: SimpleQueue[_Pending | None] = SimpleQueue()
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
        future.set_running_or_notify_cancel()  # What is queued is written: it cannot be cancelled any more.
        with self._door:
            if self._queue is not None:
                self._queue.put(_Pending(write, future))
                return future
        future.set_exception(WriteFailed(f"volume {self._directory} is not open: open it before you write"))
        return future

    def close(self) -> None:
        with self._door:
            queue, self._queue = self._queue, None
        if queue is not None:
            queue.put(None)
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # The storage thread

    def _serve(self, queue: SimpleQueue[_Pending | None], opened: SimpleQueue[Restored | Exception]) -> None:
        try:
            records = Records(self._directory, self._member)
        except Exception as error:  # Supervisor's door: the caller of `open` raises it.
            opened.put(error)
            return
        try:
            opened.put(records.restore())
        except Exception as error:  # The same.
            records.close()
            opened.put(error)
            return
        try:
            self._commit_batches(records, queue)
        finally:
            records.close()

    def _commit_batches(self, records: Records, queue: SimpleQueue[_Pending | None]) -> None:
        failure: WriteFailed | None = None
        closing = False
        while not closing:
            batch = _next_batch(queue)
            closing = batch.closing
            writes = [pending.write for pending in batch.pending]
            failure = failure or self._attempt(lambda: records.commit(writes))  # noqa: B023  (called at once)
            for pending in batch.pending:
                if failure is None:
                    pending.future.set_result(None)
                else:
                    pending.future.set_exception(failure)
            failure = failure or self._attempt(records.fold)

    def _attempt(self, work: Callable[[], None]) -> WriteFailed | None:
        try:
            work()
        except Exception as error:  # Supervisor's door: whatever it is, everybody who waits hears of it, from now on.
            failure = WriteFailed(
                f"volume {self._directory} did not take a write ({error}): "
                "check the disk and its free space, then start again; what was acknowledged is kept"
            )
            failure.__cause__ = error
            return failure
        return None


def _next_batch(queue: SimpleQueue[_Pending | None]) -> _Batch:
    """Wait for a write; take whatever else is there."""
    batch = _Batch([], closing=False)
    size_bytes = 0
    item = queue.get()
    while item is not None:
        batch.pending.append(item)
        size_bytes += sum(len(entry.command) for entry in item.write.entries)
        if len(batch.pending) >= MAX_BATCH_WRITES or size_bytes >= MAX_BATCH_BYTES:
            return batch
        try:
            item = queue.get_nowait()
        except Empty:
            return batch
    batch.closing = True
    return batch
