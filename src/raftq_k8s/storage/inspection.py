"""What is on a volume that nobody runs on, without changing a byte of it.

Whoever opens a database folds in what a crash left beside it, so it is a copy that is opened: of the database, its
write-ahead log and the mark. While they are copied the original is held, as a reader holds it, and one that a process
has taken for itself is refused: what is read under a writer looks damaged and is not.

A start ends at the first thing that is wrong. This goes on as far as it can, and tells all of it.
"""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from raftq_k8s.raft.configuration import of_log
from raftq_k8s.raft.membership import Member, Membership
from raftq_k8s.raft.persistence import HardState
from raftq_k8s.raft.types import NO_INDEX, NO_TERM, ClusterId, Generation, Incarnation, Index, MemberId, Term
from raftq_k8s.storage import rows, schema, watermark
from raftq_k8s.storage.checksum import Batch
from raftq_k8s.storage.parts import Parts
from raftq_k8s.storage.runs import Found, Runs
from raftq_k8s.storage.schema import Damaged
from raftq_k8s.storage.volume import TAIL_BYTES, VolumeUnusable
from raftq_k8s.storage.watermark import Mark

_WAL = schema.FILE + "-wal"
_COPIED = (schema.FILE, _WAL, watermark.FILE)

_LOCKED_FROM, _LOCKED_BYTES = (1 << 30) + 2, 510
"""Where SQLite's locks are, in every file of its format."""


class Report(msgspec.Struct, kw_only=True):
    """What could be read of a volume."""

    problems: list[str] = msgspec.field(default_factory=list)
    """What is wrong with it; each is a clause. Where there is one, no node starts on it."""
    blank: bool = False
    """It was never used."""
    member: MemberId | None = None
    incarnation: Incarnation | None = None
    generation: Generation | None = None
    """How often it was opened."""
    cluster: ClusterId | None = None
    """`None` also where it belongs to none yet."""
    born_with: tuple[MemberId, ...] = ()
    term: Term | None = None
    vote: MemberId | None = None
    base_index: Index = NO_INDEX
    """The log begins after it."""
    last_index: Index = NO_INDEX
    """Up to here the log is what was written."""
    last_term: Term = NO_TERM
    snapshot_index: Index | None = None
    snapshot_bytes: int | None = None
    membership: Membership | None = None
    """As far as the log says it, committed or not."""
    files: dict[str, int] = msgspec.field(default_factory=dict)
    """Bytes by name."""

    @property
    def sound(self) -> bool:
        return not self.problems


def inspect(directory: Path) -> Report:
    """Raises `VolumeUnusable` where there is nothing to look at, or a process runs on it."""
    if not directory.is_dir():
        raise VolumeUnusable(f"volume {directory} does not exist, or is no directory")
    report = Report(files={file.name: file.stat().st_size for file in sorted(directory.glob("raftq.*"))})
    with copied(directory) as copy:
        _look(copy, directory, report)
    return report


def owner_of(directory: Path) -> rows.Owner | None:
    """Whose volume that is, since its first use; `None` where it has none, or nobody can tell. Nothing is touched."""
    path = directory / schema.FILE
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            return rows.read_owner(connection)[0]
    except (*schema.UNREADABLE, Damaged):
        return None


@contextmanager
def copied(directory: Path) -> Iterator[Path]:
    """A copy of what counts, to be opened and thrown away. Raises `VolumeUnusable` where a process runs on it."""
    with TemporaryDirectory(prefix="raftq-copy-") as folder:
        with _held(directory / schema.FILE):
            for name in _COPIED:
                if (directory / name).exists():
                    shutil.copyfile(directory / name, Path(folder) / name)
        yield Path(folder)


@contextmanager
def _held(database: Path) -> Iterator[None]:
    """Nobody takes it for itself meanwhile."""
    if not database.exists():
        yield
        return
    handle = os.open(database, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB, _LOCKED_BYTES, _LOCKED_FROM)
        yield
    except BlockingIOError:
        raise VolumeUnusable(
            f"{database} is held by a process: end it first (or ask it, while it runs: raftq status)"
        ) from None
    finally:
        os.close(handle)


def _look(copy: Path, directory: Path, report: Report) -> None:
    mark = _mark(copy, directory, report)
    if not (copy / schema.FILE).exists():
        report.blank = mark is None or mark.batch == 0
        if not report.blank:
            report.problems.append(f"{schema.FILE} is gone, though {watermark.FILE} says that there was one")
        return
    try:
        with closing(sqlite3.connect(copy / schema.FILE, isolation_level=None)) as connection:
            if schema.is_blank(connection, directory / schema.FILE):
                report.blank = True
            else:
                _look_at_tables(connection, report, mark)
    except schema.UNREADABLE as error:
        report.problems.append(f"{schema.FILE} cannot be read ({error})")


def _mark(copy: Path, directory: Path, report: Report) -> Mark | None:
    try:
        mark = watermark.read(copy)
    except VolumeUnusable:
        report.problems.append(f"{watermark.FILE} is damaged, so nobody can tell whether anything was lost")
        return watermark.NOTHING
    if mark is None and (directory / schema.FILE).exists():
        report.problems.append(f"{watermark.FILE} is gone, so nobody can tell whether anything was lost")
    return mark


def _look_at_tables(connection: sqlite3.Connection, report: Report, mark: Mark | None) -> None:
    batches: list[Batch] = []
    owner: rows.Owner | None = None
    hard_state = HardState()
    with _noting(report):
        owner, batch = rows.read_owner(connection)
        batches.append(batch)
        report.member, report.incarnation, report.generation = owner.member, owner.incarnation, owner.generation
        if owner.birth is not None:
            report.cluster = owner.birth.cluster
            report.born_with = tuple(member.name for member in owner.birth.members)
    with _noting(report):
        hard_state, batch = rows.read_hard_state(connection)
        batches.append(batch)
        report.term, report.vote = hard_state.term, hard_state.vote
    with _noting(report):
        base, batch = rows.read_base(connection)
        batches.append(batch)
        runs = Runs(connection, base.start)
        log = _look_at_log(connection, report, base, runs)
        if log is not None and owner is not None and owner.birth is not None:
            restored = rows.restored(owner, hard_state, base, log)
            report.membership = of_log(owner.birth, restored).latest.membership
        if log is not None and mark is not None and len(batches) == 3:
            end = Mark(max(log.batch, *batches), runs.last_index, runs.checksum)
            if (lacks := watermark.lacks(end, mark)) is not None:
                report.problems.append(
                    f"it has lost what was on stable storage: batch {mark.batch} with last index {mark.last_index} "
                    f"was written, but {lacks}"
                )
    with _noting(report):
        for (complaint,) in connection.execute("PRAGMA quick_check(3)"):
            if complaint != "ok":
                report.problems.append(f"{schema.FILE} is damaged: {complaint}")


def _look_at_log(connection: sqlite3.Connection, report: Report, base: rows.Base, runs: Runs) -> Found | None:
    report.base_index = base.start.base
    if base.sealed is not None:
        report.snapshot_index, report.snapshot_bytes = base.sealed.mark.index, base.sealed.mark.size
        with _noting(report):
            Parts(connection, base.sealed).verify()
    log: Found | None = None
    with _noting(report):
        log = runs.read(TAIL_BYTES)
    report.last_index = max(runs.last_index, base.start.base)
    report.last_term = log.tail[-1].term if log is not None and log.tail else base.start.base_term
    return log


@contextmanager
def _noting(report: Report) -> Iterator[None]:
    """What is damaged is noted, and the rest is looked at all the same."""
    try:
        yield
    except Damaged as damage:
        report.problems.append(f"{damage} does not match its checksum")
    except schema.UNREADABLE as error:
        report.problems.append(f"{schema.FILE} cannot be read ({error})")


def names(members: tuple[Member, ...]) -> str:
    return ", ".join(member.name for member in members)
