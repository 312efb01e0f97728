"""The records of one volume: how they are created, verified, restored and committed.

Five tables. `identity` has one row: whose volume it is, and the birth record once there is one. `hard_state` has one
row, and `base` too: where the log begins, and which snapshot covers what was before. `entries` has the log
(`runs.py`), `parts` the snapshot (`parts.py`).

Every row carries a checksum, and those of all tables but `parts` the number of the batch that wrote it. A batch always
writes at least one of the three single rows, or the run that is then the last; so the highest number among those four
is the number of the last batch that this file knows, to be held against the watermark. Only parts are written without
a batch: they count for nothing until they are sealed, and then have a checksum of their own.

All of this belongs to one thread; threads, queues and futures are left to `sqlite.py`.
"""

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NoReturn
from zlib import crc32

from msgspec.structs import replace

from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.persistence import HardState, Restored, Write
from raftq_k8s.raft.types import Generation, Incarnation, Index, MemberId
from raftq_k8s.storage import litter, rows, runs, schema, watermark
from raftq_k8s.storage.checksum import Batch
from raftq_k8s.storage.contents import check_covered
from raftq_k8s.storage.parts import Parts
from raftq_k8s.storage.reserve import RESERVE_BYTES, Reserve, finds_no_room
from raftq_k8s.storage.rows import Base, Owner
from raftq_k8s.storage.runs import Runs
from raftq_k8s.storage.schema import Damaged, Statement
from raftq_k8s.storage.volume import TAIL_BYTES, VolumeUnusable
from raftq_k8s.storage.watermark import Mark, Watermark

FOLD_AT_BYTES = 1 << 20
"""About so large the write-ahead log gets before it is folded into the main file: a millisecond or two of work. Members
write the same, and were they to fold at the same time, all writes would wait for it: so each has a measure of its own,
between half as much and half as much again."""

_PAGE_BYTES = 4096
_REMEDY = "move the volume's files away and let this member return with an empty volume"


class Records:
    """An open volume. After an exception out of any door it is only good for `close`."""

    def __init__(self, directory: Path, member: MemberId, reserve_bytes: int = RESERVE_BYTES) -> None:
        """Take hold of the volume; `restore` must follow before anything is written. Raises `VolumeUnusable`."""
        self._directory = directory
        self._reserve = Reserve(directory, reserve_bytes)
        self.is_full = False
        """It lives on its reserve, or has no room for one."""
        self._path = directory / schema.FILE
        self._to_fold_bytes = 0
        self._fold_at_bytes = FOLD_AT_BYTES
        with ExitStack() as undo:
            try:
                mark = self._look(member)
                self._connection = schema.connect(self._path)
                undo.callback(self._connection.close)
                self._mark = self._create(member, mark) if self._is_blank() else self._check_owner(member, mark)
                self._watermark = Watermark(directory)
            except (*schema.UNREADABLE, OSError) as error:
                self._refuse(error)
            undo.pop_all()

    def restore(self) -> Restored:
        """Verify everything, raise and sync the generation, and return what is here. Raises `VolumeUnusable`."""
        try:
            owner, owner_batch = rows.read_owner(self._connection)
            hard_state, hard_state_batch = rows.read_hard_state(self._connection)
            base, base_batch = rows.read_base(self._connection)
            self._parts = Parts(self._connection, base.sealed)
            self._parts.verify()
            self._runs = Runs(self._connection, base.start)
            log = self._runs.read(TAIL_BYTES)
            self._batch = max(log.batch, base_batch, owner_batch, hard_state_batch)
            self._check_mark()
            schema.set_durability(self._connection, self._path)
            self._owner = replace(owner, generation=Generation(owner.generation + 1))
            self._fold_at_bytes = fold_at_bytes(owner.incarnation)
            self._transact([rows.owner_row(self._owner, self._next_batch)])
            self._batch = self._next_batch
            self.raise_mark()
            self.is_full = self.is_full or not self._reserve.fill()
            schema.sync_directory(self._directory)
        except Damaged as damage:
            self._refuse_damaged(str(damage))
        except (*schema.UNREADABLE, OSError) as error:
            self._refuse(error)
        return rows.restored(self._owner, hard_state, base, log)

    def commit(self, writes: Sequence[Write]) -> None:
        """As few transactions as can be, in their order; on return all of them are on stable storage."""
        for group in _groups(writes):
            self._commit(group)

    def _commit(self, writes: Sequence[Write]) -> None:
        batch, owner, hard_state = self._next_batch, self._owner, None
        statements: list[Statement] = []
        for write in writes:
            hard_state = hard_state if write.hard_state is None else write.hard_state
            owner = owner if write.birth is None else replace(owner, birth=write.birth)
            if write.part is not None:
                statements += self._parts.add(write.part)
        numbered = self._rebase(writes[-1], batch) if _rebases(writes[-1]) else []
        logs = [write.entries for write in writes if write.entries]
        if logs:
            numbered += self._runs.append(logs, batch)
        if hard_state is not None:
            numbered.append(rows.hard_state_row(hard_state, batch))
        if owner is not self._owner:
            numbered.append(rows.owner_row(owner, batch))
        if statements or numbered:
            self._transact(statements + numbered)
        self._owner = owner
        if numbered:  # A batch without such a row would make the mark lead.
            self._batch = batch

    def _rebase(self, write: Write, batch: Batch) -> list[Statement]:
        """What a snapshot that is sealed, and a compaction, change."""
        if write.seal is not None:
            self._parts.seal(write.seal)
        removed: list[Statement] = []
        sealed = self._parts.sealed
        if write.compaction is not None:
            check_covered(write.compaction, self._runs.start.base, sealed.mark if sealed is not None else None)
            removed = self._runs.compact(write.compaction)
        return [*removed, rows.base_row(Base(self._runs.start, sealed), batch)]

    def raise_mark(self) -> None:
        """Note in the watermark what is on stable storage. It may lag: who waits for a batch is told before."""
        mark = Mark(self._batch, self._runs.last_index, self._runs.checksum)
        self._with_reserve(lambda: self._watermark.raise_to(mark))

    def load(self, first: Index, last: Index, max_bytes: int) -> tuple[Entry, ...]:
        try:
            return self._runs.load(first, last, max_bytes)
        except Damaged as damage:
            self._refuse_damaged(str(damage))

    def read_snapshot(self, index: Index, offset: int, max_bytes: int) -> bytes | None:
        try:
            return self._parts.read(index, offset, max_bytes)
        except Damaged as damage:
            self._refuse_damaged(str(damage))

    @property
    def has_litter(self) -> bool:
        """Whether there may be some."""
        return self._runs.has_litter or self._parts.has_litter

    def sweep(self, slices: int = 1) -> None:
        """Delete so many rows that count no more."""
        statement = self._runs.sweep(slices) or self._parts.sweep(slices)
        if statement is not None:
            self._transact([statement])
            # Some pages of the tree, and of the free list.
            self._to_fold_bytes += slices * litter.SLICE_ROWS * _PAGE_BYTES // 4

    def fold(self) -> None:
        """Fold the write-ahead log into the main file when it is time. Nobody else reads, so it waits for nobody."""
        if self._to_fold_bytes >= self._fold_at_bytes:
            self._with_reserve(lambda: self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)"))
            self._to_fold_bytes = 0

    def refill(self) -> None:
        """See whether there is room again. Raises `OSError`."""
        self.is_full = self.is_full and not self._reserve.refill()

    def close(self) -> None:
        """Let go. What was committed is safe without it, so nothing that goes wrong here matters to anybody."""
        with suppress(OSError):
            self._watermark.sync()
        with suppress(OSError):
            self._watermark.close()
        with suppress(sqlite3.Error):
            self._connection.close()

    # Taking hold

    def _look(self, member: MemberId) -> Mark | None:
        """Refuse whatever can be refused before a byte is touched."""
        directory = self._directory
        if not directory.exists():
            raise VolumeUnusable(f"volume {directory} does not exist: mount it, or create the directory")
        if not directory.is_dir():
            raise VolumeUnusable(f"volume {directory} is not a directory: name the one that holds this member's state")
        if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            raise VolumeUnusable(
                f"volume {directory} cannot be written to: check its owner and mode (fsGroup in a pod), "
                "and that it is not mounted read-only"
            )
        mark = watermark.read(directory)
        if self._path.exists() and self._path.stat().st_size > 0:
            schema.refuse_a_stranger(self._path, member)
        elif mark is not None and mark.batch > 0:
            self._refuse_lost(mark, "the file is gone, or empty")
        return mark

    def _is_blank(self) -> bool:
        return schema.is_blank(self._connection, self._path)

    def _check_owner(self, member: MemberId, mark: Mark | None) -> Mark:
        schema.refuse_another_member(self._connection, self._path, member)
        if mark is None:
            raise VolumeUnusable(
                f"{self._directory} has lost its file {watermark.FILE}, so nobody can tell whether it lost more: "
                f"{_REMEDY}"
            )
        return mark

    def _create(self, member: MemberId, mark: Mark | None) -> Mark:
        """Make a blank volume one of this member, of a new incarnation.

        A crash in here leaves a blank volume, which has no table, or a complete one: the tables and their first rows
        are one transaction, and the files whose names must outlive it are synced before.
        """
        if mark is not None and mark.batch > 0:
            self._refuse_lost(mark, "it has no tables")
        watermark.create(self._directory)
        schema.set_durability(self._connection, self._path)
        schema.sync_directory(self._directory)
        self._connection.execute("BEGIN IMMEDIATE")
        for table in schema.TABLES:
            self._connection.execute(table)
        schema.stamp(self._connection)
        owner = Owner(member, Incarnation(secrets.token_hex(8)), Generation(0), None)
        base = Base(runs.blank_start(owner.incarnation), None)
        first = Batch(1)
        for row in (rows.owner_row(owner, first), rows.hard_state_row(HardState(), first), rows.base_row(base, first)):
            self._connection.execute(*row)
        self._connection.execute("COMMIT")
        # The owner goes to the main file at once: `refuse_a_stranger` looks there.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return watermark.NOTHING

    # Reading, with suspicion

    def _check_mark(self) -> None:
        found = Mark(self._batch, self._runs.last_index, self._runs.checksum)
        if (lacks := watermark.lacks(found, self._mark)) is not None:
            self._refuse_lost(self._mark, lacks)

    # Writing

    @property
    def _next_batch(self) -> Batch:
        return Batch(self._batch + 1)

    def _transact(self, statements: Sequence[Statement]) -> None:
        self._with_reserve(lambda: self._execute(statements))
        for _, fields in statements:
            self._to_fold_bytes += _PAGE_BYTES + sum(len(field) for field in fields if isinstance(field, bytes))

    def _with_reserve(self, work: Callable[[], object]) -> None:
        """Do it; where the volume has no room for it, once more in the room of the reserve."""
        try:
            work()
        except (sqlite3.Error, OSError) as error:
            if not finds_no_room(error):
                raise
            self.is_full = True
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if not self._reserve.release():
                raise
            work()

    def _execute(self, statements: Sequence[Statement]) -> None:
        # A single one is a transaction of its own, and in one step: fewer hand-overs of the interpreter's lock.
        if len(statements) == 1:
            self._connection.execute(*statements[0])
        else:
            self._connection.execute("BEGIN IMMEDIATE")
            for statement in statements:
                self._connection.execute(*statement)
            self._connection.execute("COMMIT")

    # Refusing

    def _refuse(self, error: Exception) -> NoReturn:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_BUSY:
            raise VolumeUnusable(f"{self._path} is held by another process: end that one first") from error
        if finds_no_room(error):
            raise VolumeUnusable(f"volume {self._directory} is full: make room, then start again") from error
        if code == sqlite3.SQLITE_NOTADB:
            raise VolumeUnusable(f"{self._path} is not a database: move it away, or name another directory") from error
        raise VolumeUnusable(
            f"{self._path} cannot be read and written ({error}): check the disk, or {_REMEDY}"
        ) from error

    def _refuse_damaged(self, what: str) -> NoReturn:
        raise VolumeUnusable(
            f"{self._path} is damaged: {what} does not match its checksum, so nothing in it can be trusted: "
            f"check the disk, and {_REMEDY}"
        )

    def _refuse_lost(self, mark: Mark, found: str) -> NoReturn:
        raise VolumeUnusable(
            f"{self._path} has lost what was on stable storage: batch {mark.batch} with last index {mark.last_index} "
            f"was written, but {found}. Was it replaced by an older copy, or its -wal file removed? "
            f"Put back what is missing, or {_REMEDY}"
        )


def _rebases(write: Write) -> bool:
    return write.seal is not None or write.compaction is not None


def _groups(writes: Sequence[Write]) -> Iterator[Sequence[Write]]:
    """Those that are one transaction. A write that moves the base of the log is one of its own."""
    group: list[Write] = []
    for write in writes:
        if _rebases(write) and group:
            yield group
            group = []
        group.append(write)
        if _rebases(write):
            yield group
            group = []
    if group:
        yield group


def fold_at_bytes(incarnation: Incarnation) -> int:
    """The measure of that volume."""
    return FOLD_AT_BYTES // 2 + crc32(incarnation.encode()) % FOLD_AT_BYTES
