"""What was written is there when the volume is opened again, in the order and the batches that were promised."""

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from volume_contents import BIRTH, MEMBER, VOTED, compacted, entries, log, mark, part, restored, write

from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.persistence import Compaction, HardState, Restored, SnapshotPart, Write
from raftq_k8s.raft.types import Generation, Incarnation, Index, MemberId, Term
from raftq_k8s.storage import litter, records, sqlite, watermark
from raftq_k8s.storage.memory import MemoryVolume
from raftq_k8s.storage.records import Records
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.storage.volume import Volume, VolumeUnusable, WriteFailed


def test_a_blank_volume_holds_nothing_but_who_it_is(tmp_path: Path) -> None:
    volume: Volume = SqliteVolume(tmp_path, MEMBER)
    with closing(volume):
        first = volume.open()
    assert first.member == MEMBER
    assert len(first.incarnation) >= 16
    assert (first.generation, first.birth, first.hard_state, first.entries) == (1, None, HardState(), [])


def test_everything_written_comes_back(tmp_path: Path) -> None:
    commands = (b"", b"\0" * 100_000, b"x")
    odd = tuple(Entry(Index(n), Term(1), EntryKind.COMMAND, command) for n, command in enumerate(commands, 3))
    noop = Entry(Index(6), Term(2), EntryKind.NOOP)
    write(
        tmp_path,
        Write(birth=BIRTH, hard_state=VOTED, entries=entries(1, 2)),
        Write(entries=odd),
        Write(entries=(noop,)),
    )
    found = restored(tmp_path)
    assert (found.birth, found.hard_state) == (BIRTH, VOTED)
    assert found.entries == [*entries(1, 2), *odd, noop]


def test_the_incarnation_stays_and_the_generation_grows_at_every_opening(tmp_path: Path) -> None:
    volume = SqliteVolume(tmp_path, MEMBER)
    seen = []
    for _ in range(3):
        with closing(volume):
            seen.append(volume.open())
    assert [each.generation for each in seen] == [1, 2, 3]
    assert len({each.incarnation for each in seen}) == 1


def test_two_volumes_draw_different_incarnations(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert restored(tmp_path / "a").incarnation != restored(tmp_path / "b").incarnation


def test_new_entries_remove_what_stands_in_their_way(tmp_path: Path) -> None:
    write(tmp_path, log(1, 2), log(3, 10), log(11, 12), log(5, 6, term=2), log(7, 7, term=3))
    assert restored(tmp_path).entries == [*entries(1, 4), *entries(5, 6, term=2), *entries(7, 7, term=3)]


def test_a_log_can_be_replaced_from_its_first_entry(tmp_path: Path) -> None:
    write(tmp_path, log(1, 10), log(1, 1, term=2))
    assert restored(tmp_path).entries == [*entries(1, 1, term=2)]


def test_a_vote_alone_leaves_the_log_and_the_log_alone_leaves_the_vote(tmp_path: Path) -> None:
    write(tmp_path, log(1, 3), Write(hard_state=VOTED), log(4, 4))
    found = restored(tmp_path)
    assert (found.hard_state, found.entries) == (VOTED, [*entries(1, 4)])


def test_an_empty_write_ends_and_the_volume_opens_again(tmp_path: Path) -> None:
    write(tmp_path, log(1, 1), Write(), Write())
    assert restored(tmp_path).entries == [*entries(1, 1)]


def test_the_write_ahead_log_is_folded_in_and_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "FOLD_AT_BYTES", 1 << 16)
    with closing(SqliteVolume(tmp_path, MEMBER)) as volume:
        volume.open()
        for index in range(1, 201):
            volume.write(log(index, index)).result(timeout=10)
        assert (tmp_path / "raftq.sqlite-wal").stat().st_size < 4 << 16
    assert restored(tmp_path).entries == [*entries(1, 200)]


# Any sequence of writes, against the volume in memory


@st.composite
def histories(draw: st.DrawFn) -> list[list[list[Write]]]:
    """Openings, each with batches, each with writes."""
    base = last = covered = 0
    begun: tuple[int, bytes] | None = None
    numbers = st.integers(0, 9)

    def one_write() -> Write:
        nonlocal base, last, covered, begun
        part, seal, compaction, added = None, None, None, ()
        if draw(numbers) < 3:
            data = draw(st.binary(max_size=5))
            if begun is None or draw(numbers) < 3:
                begun = (draw(st.integers(covered, max(last, covered))), data)
                part = SnapshotPart(Index(begun[0]), 0, data)
            else:
                part = SnapshotPart(Index(begun[0]), len(begun[1]), data)
                begun = (begun[0], begun[1] + data) if begun[1] or not data else (begun[0], data)
        if begun is not None and draw(numbers) < 3:
            seal, covered, begun = mark(*begun), begun[0], None
        if draw(numbers) < 2:
            kept = draw(st.booleans())
            base = draw(st.integers(base, covered))
            last = max(base, last) if kept else base
            compaction = Compaction(Index(base), Term(1), kept)
        if draw(numbers) < 8:
            first = last + 1 if draw(numbers) < 7 else draw(st.integers(base + 1, last + 1))
            added = entries(first, first + draw(st.integers(0, 5)), term=draw(st.integers(1, 5)))
            last = added[-1].index
        state = HardState(Term(draw(st.integers(1, 99))), MemberId("raftq-2")) if draw(numbers) < 3 else None
        return Write(BIRTH if draw(numbers) == 0 else None, state, part, seal, compaction, added)

    def opening() -> list[list[Write]]:
        nonlocal begun
        begun = None
        return [[one_write() for _ in range(draw(sizes))] for _ in range(draw(sizes))]

    sizes = st.integers(0, 4)
    return [opening() for _ in range(1 + draw(sizes))]


def contents(found: Restored) -> Restored:
    return replace(found, incarnation=Incarnation(""))


@settings(max_examples=150, deadline=None)
@given(histories())
def test_what_is_restored_is_what_was_written(history: list[list[list[Write]]]) -> None:
    model = MemoryVolume(MEMBER)
    with TemporaryDirectory() as name:
        for opening in history:
            expected = contents(model.open())
            store = Records(Path(name), MEMBER)
            try:
                assert contents(store.restore()) == expected
                for batch in opening:
                    store.commit(batch)
                    for each in batch:
                        model.write(each)
                    store.sweep()
                    for first in (1, 3, 5, 9):
                        expected_load = model.load(Index(first), Index(12), 60).result()
                        assert store.load(Index(first), Index(12), 60) == expected_load
            finally:
                store.close()
        assert contents(restored(Path(name))) == contents(model.open())


# Group commit


class HeldCommits:
    """Stops the storage thread in its first commit, so that more is queued behind it, and notes every batch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()
        self.batches: list[int] = []
        commit = Records.commit

        def held(store: Records, writes: Sequence[Write]) -> None:
            self.entered.set()
            assert self.release.wait(10)
            commit(store, writes)
            self.batches += [len(writes)] if writes else []  # The last one may be empty: it only closes.

        monkeypatch.setattr(Records, "commit", held)


def test_what_is_queued_is_committed_at_once_and_ends_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = HeldCommits(monkeypatch)
    with closing(SqliteVolume(tmp_path, MEMBER)) as volume:
        volume.open()
        futures = [volume.write(log(1, 1))]
        assert held.entered.wait(10)
        futures += [volume.write(log(index, index)) for index in range(2, 51)]
        ended: list[int] = []
        for number, future in enumerate(futures, 1):
            future.add_done_callback(lambda _, number=number: ended.append(number))  # type: ignore[misc]
        assert ended == []
        held.release.set()
        futures[-1].result(timeout=10)
    assert ended == list(range(1, 51))
    assert held.batches == [1, 49]
    assert restored(tmp_path).entries == [*entries(1, 50)]


def test_a_batch_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "MAX_BATCH_WRITES", 10)
    held = HeldCommits(monkeypatch)
    with closing(SqliteVolume(tmp_path, MEMBER)) as volume:
        volume.open()
        volume.write(log(1, 1))
        assert held.entered.wait(10)
        for index in range(2, 27):
            volume.write(log(index, index))
        held.release.set()
    assert held.batches == [1, 10, 10, 5]


def test_closing_ends_what_is_queued(tmp_path: Path) -> None:
    volume = SqliteVolume(tmp_path, MEMBER)
    volume.open()
    futures = [volume.write(log(index, index)) for index in range(1, 101)]
    volume.close()
    volume.close()
    assert all(future.done() and future.exception() is None for future in futures)
    assert restored(tmp_path).entries == [*entries(1, 100)]


def test_a_queued_write_cannot_be_cancelled(tmp_path: Path) -> None:
    with closing(SqliteVolume(tmp_path, MEMBER)) as volume:
        volume.open()
        future = volume.write(log(1, 1))
        assert not future.cancel()
        future.result(timeout=10)
        volume.write(log(2, 2)).result(timeout=10)


def test_a_closed_volume_takes_no_write_until_it_is_opened_again(tmp_path: Path) -> None:
    volume = SqliteVolume(tmp_path, MEMBER)
    with pytest.raises(WriteFailed, match="not open"):
        volume.write(log(1, 1)).result(timeout=10)
    with closing(volume):
        volume.open()
        with pytest.raises(VolumeUnusable, match="already open"):
            volume.open()
    with pytest.raises(WriteFailed, match="not open"):
        volume.write(log(1, 1)).result(timeout=10)
    with closing(volume):
        assert volume.open().generation == Generation(2)
        volume.write(log(1, 1)).result(timeout=10)


# Litter

TABLES = ("entries", "parts")


def rows(directory: Path, table: str) -> int:
    with closing(sqlite3.connect(directory / "raftq.sqlite")) as connection:
        return rows_of(connection, table)


def rows_of(connection: sqlite3.Connection, table: str) -> int:
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


@pytest.fixture
def littered(tmp_path: Path) -> Path:
    """A closed volume with fifty rows of the log below its base, and an old snapshot of twenty parts."""
    dropped = [part(40, at, b"x") for at in range(20)]
    snapshot = [part(50, at, b"y") for at in range(30)]
    store = Records(tmp_path, MEMBER)
    store.restore()
    logs = [log(at, at) for at in range(1, 61)]
    for each in [*logs, *dropped, *snapshot, Write(seal=mark(50, b"y" * 30)), compacted(50)]:
        store.commit([each])
    store.close()
    return tmp_path


def test_litter_is_swept_in_bounded_slices(littered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litter, "SLICE_ROWS", 7)
    store = Records(littered, MEMBER)
    store.restore()
    left = [60 + 50]

    def there() -> int:
        return sum(rows_of(store._connection, table) for table in TABLES)

    while store.has_litter:
        store.sweep()
        left.append(there())
    store.close()
    assert all(before - 7 <= after <= before for before, after in pairwise(left))
    assert (rows(littered, "entries"), rows(littered, "parts")) == (10, 30)
    assert restored(littered).entries == [*entries(51, 60)]


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> "SimpleQueue[bool]":
    """Hears of every slice, whether there may be more."""
    heard: SimpleQueue[bool] = SimpleQueue()
    sweep = Records.sweep

    def noted(store: Records, slices: int = 1) -> None:
        sweep(store, slices)
        heard.put(store.has_litter)

    monkeypatch.setattr(litter, "SLICE_ROWS", 7)
    monkeypatch.setattr(Records, "sweep", noted)
    return heard


def test_litter_is_swept_while_nobody_writes(littered: Path, swept: "SimpleQueue[bool]") -> None:
    with closing(SqliteVolume(littered, MEMBER)) as volume:
        volume.open()
        while swept.get(timeout=10):
            pass
    assert (rows(littered, "entries"), rows(littered, "parts")) == (10, 30)


def test_litter_is_swept_while_somebody_always_writes(
    littered: Path, swept: "SimpleQueue[bool]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PAUSE_S", 60.0)
    with closing(SqliteVolume(littered, MEMBER)) as volume:
        volume.open()
        last = 60
        while swept.empty() or swept.get():
            last += 1
            volume.write(log(last, last)).result(timeout=10)
    assert (rows(littered, "entries"), rows(littered, "parts")) == (last - 50, 30)


@pytest.mark.parametrize("batch_bytes", [100, 60_000, 90_000, 131_000, 300_000, 2_000_000])
def test_litter_does_not_pile_up_however_large_the_batches_are(
    batch_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither that of the log nor that of snapshots, while somebody always writes."""
    monkeypatch.setattr(sqlite, "PAUSE_S", 60.0)
    piece = b"x" * (1 << 16)
    pieces, left = 24, []
    with closing(SqliteVolume(tmp_path, MEMBER)) as volume:
        volume.open()
        for index in range(pieces, 7 * pieces, pieces):
            for at in range(pieces):
                entry = Entry(Index(index - pieces + at + 1), Term(1), EntryKind.COMMAND, b"y" * batch_bytes)
                volume.write(replace(part(index, at * len(piece), piece), entries=(entry,))).result(timeout=10)
            volume.write(Write(seal=mark(index, piece * pieces))).result(timeout=10)
            volume.write(compacted(index)).result(timeout=10)
            left.append(volume._ask(lambda store: sum(rows_of(store._connection, table) for table in TABLES)).result())
    assert left[-1] <= left[1] <= 4 * pieces + 2


def test_what_is_compacted_later_is_litter_too(littered: Path) -> None:
    store = Records(littered, MEMBER)
    store.restore()
    store.commit([part(60, 0, b"z"), Write(seal=mark(60, b"z"))])
    while store.has_litter:
        store.sweep()
    store.commit([compacted(59)])
    assert store.has_litter
    store.close()


def test_the_thread_wakes_by_itself_only_while_there_is_litter(littered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And never again after a failure."""

    def noted(queue: Any, patience_s: float | None) -> Any:
        waits.put(patience_s)
        return next_batch(queue, patience_s)

    def fail(store: Records, writes: Sequence[Write]) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    waits: SimpleQueue[float | None] = SimpleQueue()
    next_batch = sqlite._next_batch
    monkeypatch.setattr(sqlite, "_next_batch", noted)
    with closing(SqliteVolume(littered, MEMBER)) as volume:
        volume.open()
        while (waited := waits.get(timeout=10)) is not None:
            assert waited == sqlite.PAUSE_S
        volume.write(Write(part=part(60, 0, b"z").part)).result(timeout=10)
        volume.write(Write(part=part(60, 0, b"z").part)).result(timeout=10)
        monkeypatch.setattr(Records, "commit", fail)
        with pytest.raises(WriteFailed):
            volume.write(log(61, 61)).result(timeout=10)
        with pytest.raises(WriteFailed):
            volume.write(log(61, 61)).result(timeout=10)
    seen = [waits.get(timeout=10) for _ in range(waits.qsize())]
    assert sqlite.PAUSE_S in seen
    assert seen[-1] is None


def test_a_full_volume_without_litter_looks_for_room_now_and_then(tmp_path: Path) -> None:
    store = Records(tmp_path, MEMBER)
    store.restore()
    store.is_full = True
    assert sqlite._patience_s(store) == sqlite.PAUSE_S
    store.sweep()
    assert sqlite._patience_s(store) == sqlite.REFILL_EVERY_S
    store.close()


def test_reads_alone_are_no_pause(littered: Path, swept: "SimpleQueue[bool]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "PAUSE_S", 60.0)
    with closing(SqliteVolume(littered, MEMBER)) as volume:
        volume.open()
        for _ in range(40):
            volume.load(Index(55), Index(55), 1).result(timeout=10)
    assert swept.empty()


def test_what_is_written_last_is_marked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = HeldCommits(monkeypatch)
    with closing(SqliteVolume(tmp_path, MEMBER)) as volume:
        volume.open()
        volume.write(log(1, 1))
        assert held.entered.wait(10)
        volume.write(log(2, 2))
        assert volume._queue is not None
        volume._queue.put(None)  # as `close`, which waits for it
        held.release.set()
    marked = watermark.read(tmp_path)
    assert marked is not None
    assert marked.last_index == 2


def test_a_slice_is_due_after_some_batches_or_bytes() -> None:
    pace = litter.Pace()
    assert [pace.wrote(1) for _ in range(litter.SLICE_ROWS // 2)].count(1) == 2
    pace = litter.Pace()
    assert pace.wrote(litter.SLICE_BYTES // 2) == 1
    assert pace.wrote(litter.SLICE_BYTES // 2 - 1) == 0
    assert pace.wrote(litter.SLICE_BYTES) == 2
    assert pace.wrote(1) == 1  # together with what was over


def test_the_row_of_litter_that_reaches_the_bound_is_the_last_of_its_slice() -> None:
    size = litter.SLICE_BYTES
    assert litter.end_of(1, []) is None
    assert litter.end_of(1, [(1, size), (2, 0)]) == 1
    assert litter.end_of(1, [(1, 9), (2, size - 10), (3, size), (4, 1)]) == 3
    assert litter.end_of(2, [(1, 9), (2, size), (3, size), (4, 1)]) == 3


def test_what_is_deleted_is_not_written_once_more(tmp_path: Path) -> None:
    large = Entry(Index(1), Term(1), EntryKind.COMMAND, b"x" * (1 << 20))
    write(tmp_path, Write(entries=(large,)), log(2, 2), part(1, 0, b"y"), Write(seal=mark(1, b"y")), compacted(1))
    store = Records(tmp_path, MEMBER)
    store.restore()
    before = (tmp_path / "raftq.sqlite-wal").stat().st_size
    store.sweep()
    assert store._runs.has_litter
    assert (tmp_path / "raftq.sqlite-wal").stat().st_size - before < 1 << 16
    store.close()
    assert rows(tmp_path, "entries") == 1


def test_volumes_that_are_written_the_same_do_not_fold_at_the_same_time() -> None:
    measures = {records.fold_at_bytes(Incarnation(f"volume-{number}")) for number in range(50)}
    assert len(measures) == 50
    assert all(records.FOLD_AT_BYTES // 2 <= each < records.FOLD_AT_BYTES * 3 // 2 for each in measures)
