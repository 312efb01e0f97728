"""The records of one volume: how they are created, verified, restored and committed.

Three tables. `identity` has one row: whose volume it is, and the birth record once there is one. `hard_state` has one
row. `entries` has the log, cut into runs as it was written: one row, one run, from index 1 on without a gap, so that a
batch is one small statement however many entries it brings, and a start decodes whole runs.

Every row carries a checksum and the number of the batch that wrote it. A batch always writes at least one of the two
single rows, or the run that is then the last; so the highest number among those three rows is the number of the last
batch that this file knows, to be held against the watermark.

All of this belongs to one thread; threads, queues and futures are left to `sqlite.py`.
"""

import os
import secrets
import sqlite3
import struct
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import msgspec
from msgspec.structs import replace

from raftq_k8s.raft.membership import BirthRecord
from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.persistence import HardState, Restored, Write
from raftq_k8s.raft.types import Generation, Incarnation, Index, MemberId
from raftq_k8s.storage import checksum, schema, watermark
from raftq_k8s.storage.checksum import Batch, Checksum
from raftq_k8s.storage.volume import VolumeUnusable
from raftq_k8s.storage.watermark import Mark, Watermark

FOLD_AT_BYTES = 4 << 20
"""About so large the write-ahead log gets before it is folded into the main file: some milliseconds of work."""

_PAGE_BYTES = 4096
_REMEDY = "move the volume's files away and let this member return with an empty volume"

_encode = msgspec.msgpack.Encoder().encode
_decode_run = msgspec.msgpack.Decoder(list[Entry]).decode
_decode_hard_state = msgspec.msgpack.Decoder(HardState).decode
_decode_birth = msgspec.msgpack.Decoder(BirthRecord).decode

Statement: TypeAlias = tuple[str, tuple[str | int | bytes | None, ...]]


class Owner(msgspec.Struct, frozen=True):
    """What the row of `identity` says."""

    member: MemberId
    incarnation: Incarnation
    generation: Generation
    birth: BirthRecord | None


class Records:
    """An open volume. After an exception out of `commit` or `fold` it is only good for `close`."""

    def __init__(self, directory: Path, member: MemberId) -> None:
        """Take hold of the volume; `restore` must follow before anything is written. Raises `VolumeUnusable`."""
        self._directory = directory
        self._path = directory / schema.FILE
        self._to_fold_bytes = 0
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
            owner, owner_batch = self._read_owner()
            hard_state, hard_state_batch = self._read_hard_state()
            entries, tail = self._read_entries(owner)
            self._tail = replace(tail, batch=max(tail.batch, owner_batch, hard_state_batch))
            self._check_mark()
            schema.set_durability(self._connection, self._path)
            self._owner = replace(owner, generation=Generation(owner.generation + 1))
            batch = Batch(self._tail.batch + 1)
            self._transact([_owner_row(self._owner, batch)])
            self._reach(replace(self._tail, batch=batch))
            schema.sync_directory(self._directory)
        except (*schema.UNREADABLE, OSError) as error:
            self._refuse(error)
        owner = self._owner
        return Restored(owner.member, owner.incarnation, owner.generation, owner.birth, hard_state, entries)

    def commit(self, writes: Sequence[Write]) -> None:
        """One transaction for all of them, in their order; on return it is on stable storage."""
        owner, hard_state = self._owner, None
        for write in writes:
            hard_state = hard_state if write.hard_state is None else write.hard_state
            owner = owner if write.birth is None else replace(owner, birth=write.birth)
        run = _joined(self._tail.last_index, [write.entries for write in writes if write.entries])
        tail, statements = self._append(run) if run else (self._next_tail(), [])
        if hard_state is not None:
            statements.append(_hard_state_row(hard_state, tail.batch))
        if owner is not self._owner:
            statements.append(_owner_row(owner, tail.batch))
        if not statements:
            return  # A batch without a row would make the mark lead.
        self._transact(statements)
        self._owner = owner
        self._reach(tail)

    def fold(self) -> None:
        """Fold the write-ahead log into the main file when it is time. Nobody else reads, so it waits for nobody."""
        if self._to_fold_bytes >= FOLD_AT_BYTES:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._to_fold_bytes = 0

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
        for row in (_owner_row(owner, Batch(1)), _hard_state_row(HardState(), Batch(1))):
            self._connection.execute(*row)
        self._connection.execute("COMMIT")
        # The owner goes to the main file at once: `refuse_a_stranger` looks there.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return watermark.NOTHING

    # Reading, with suspicion

    def _read_owner(self) -> tuple[Owner, Batch]:
        row = self._only_row(
            "SELECT member, incarnation, generation, birth, batch, checksum FROM identity", "its identity"
        )
        *fields, found = row
        member, incarnation, generation, birth, batch = fields
        try:
            if found != checksum.of_row("identity", schema.FORMAT, *fields):
                self._refuse_damaged("its identity")
            record = None if birth is None else _decode_birth(birth)
        except (TypeError, msgspec.MsgspecError):
            self._refuse_damaged("its identity")
        return Owner(member, incarnation, generation, record), batch

    def _read_hard_state(self) -> tuple[HardState, Batch]:
        state, batch, found = self._only_row("SELECT state, batch, checksum FROM hard_state", "its term and vote")
        try:
            if found != checksum.of_row("hard_state", state, batch):
                self._refuse_damaged("its term and vote")
            return _decode_hard_state(state), batch
        except (TypeError, msgspec.MsgspecError):
            self._refuse_damaged("its term and vote")

    def _read_entries(self, owner: Owner) -> tuple[list[Entry], Mark]:
        entries: list[Entry] = []
        batch, previous = Batch(0), checksum.origin(owner.incarnation)
        for first, run, batch, found in self._connection.execute(
            "SELECT first, run, batch, checksum FROM entries ORDER BY first"
        ):
            try:
                previous = checksum.of_run(first, batch, run, previous)
                decoded = _decode_run(run)
            except (TypeError, struct.error, msgspec.MsgspecError):
                self._refuse_damaged(f"its log after index {len(entries)}")
            if found != previous or first != len(entries) + 1:
                self._refuse_damaged(f"its log after index {len(entries)}")
            entries += decoded
        return entries, Mark(batch, Index(len(entries)), previous)

    def _only_row(self, query: str, what: str) -> tuple[Any, ...]:
        rows = self._connection.execute(query).fetchall()
        if len(rows) != 1:
            self._refuse_damaged(what)
        row: tuple[Any, ...] = rows[0]
        return row

    def _check_mark(self) -> None:
        mark, tail = self._mark, self._tail
        if tail.batch < mark.batch:
            self._refuse_lost(mark, f"it ends with batch {tail.batch} and index {tail.last_index}")
        if tail.batch == mark.batch and tail != mark:
            self._refuse_lost(mark, f"its log ends otherwise, with index {tail.last_index}")

    # Writing

    def _append(self, run: list[Entry]) -> tuple[Mark, list[Statement]]:
        """The run at the end of the log, after what stands in its way was removed."""
        batch, previous = self._next_tail().batch, self._tail.checksum
        statements: list[Statement] = []
        if run[0].index <= self._tail.last_index:
            kept, previous = self._before(run[0].index)
            run = kept + run
            statements.append(("DELETE FROM entries WHERE first >= ?", (run[0].index,)))
        first, encoded = run[0].index, _encode(run)
        tail = Mark(batch, run[-1].index, checksum.of_run(first, batch, encoded, previous))
        statements.append(("INSERT INTO entries VALUES (?, ?, ?, ?)", (first, encoded, batch, tail.checksum)))
        return tail, statements

    def _before(self, index: Index) -> tuple[list[Entry], Checksum]:
        """What is to be kept of the run that `index` stands in, and the checksum of the run before that one."""
        rows = self._connection.execute(
            "SELECT first, run, checksum FROM entries WHERE first <= ? ORDER BY first DESC LIMIT 2", (index,)
        ).fetchall()
        first, encoded, _ = rows[0]
        previous = rows[1][2] if len(rows) == 2 else checksum.origin(self._owner.incarnation)
        return _decode_run(encoded)[: index - first], previous

    def _next_tail(self) -> Mark:
        return replace(self._tail, batch=Batch(self._tail.batch + 1))

    def _transact(self, statements: Sequence[Statement]) -> None:
        if (
            len(statements) == 1
        ):  # A transaction of its own, and in one step: fewer hand-overs of the interpreter's lock.
            self._connection.execute(*statements[0])
        else:
            self._connection.execute("BEGIN IMMEDIATE")
            for statement in statements:
                self._connection.execute(*statement)
            self._connection.execute("COMMIT")
        for _, fields in statements:
            self._to_fold_bytes += _PAGE_BYTES + sum(len(field) for field in fields if isinstance(field, bytes))

    def _reach(self, tail: Mark) -> None:
        """What ends here is on stable storage."""
        self._tail = tail
        self._watermark.raise_to(tail)

    # Refusing

    def _refuse(self, error: Exception) -> NoReturn:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_BUSY:
            raise VolumeUnusable(f"{self._path} is held by another process: end that one first") from error
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


def _owner_row(owner: Owner, batch: Batch) -> Statement:
    birth = None if owner.birth is None else _encode(owner.birth)
    fields = (owner.member, owner.incarnation, owner.generation, birth, batch)
    check = checksum.of_row("identity", schema.FORMAT, *fields)
    return "INSERT OR REPLACE INTO identity VALUES (1, ?, ?, ?, ?, ?, ?)", (*fields, check)


def _hard_state_row(hard_state: HardState, batch: Batch) -> Statement:
    fields = (_encode(hard_state), batch)
    check = checksum.of_row("hard_state", *fields)
    return "INSERT OR REPLACE INTO hard_state VALUES (1, ?, ?, ?)", (*fields, check)


def _joined(last: Index, logs: Sequence[Sequence[Entry]]) -> list[Entry]:
    """What several writes to a log that ends at `last` add up to: later ones remove what stands in their way."""
    run: list[Entry] = []
    for entries in logs:
        first = entries[0].index
        if not 0 < first <= last + 1 or any(entry.index != at for at, entry in enumerate(entries, first)):
            raise ValueError(f"entries {first} to {entries[-1].index} leave a gap in a log that ends at {last}")
        kept = run[: first - run[0].index] if run and first > run[0].index else []
        run = [*kept, *entries]
        last = entries[-1].index
    return run
