"""What was written is there when the volume is opened again, in the order and the batches that were promised."""

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from volume_contents import BIRTH, MEMBER, VOTED, compacted, entries, log, mark, part, restored, write

from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.persistence import Compaction, HardState, Restored, SnapshotPart, Write
from raftq_k8s.raft.types import Generation, Incarnation, Index, MemberId, Term
from raftq_k8s.storage import litter, records, sqlite
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
        counts = [store._connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in TABLES]
        return int(sum(count for (count,) in counts))

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

    def noted(store: Records) -> None:
        sweep(store)
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


def test_a_slice_is_due_after_some_batches_or_bytes() -> None:
    pace = litter.Pace()
    assert [pace.wrote(1) for _ in range(litter.SLICE_ROWS // 2)].count(True) == 2
    assert pace.wrote(litter.SLICE_BYTES // 2)
    assert not pace.wrote(litter.SLICE_BYTES // 2 - 1)
    assert pace.wrote(1)


def test_a_large_row_of_litter_goes_alone() -> None:
    assert litter.slice_of([]) is None
    assert litter.slice_of([(1, litter.SLICE_BYTES + 1), (2, 0)]) == 1
    assert litter.slice_of([(1, 9), (2, litter.SLICE_BYTES - 9), (3, 1)]) == 2


def test_volumes_that_are_written_the_same_do_not_fold_at_the_same_time() -> None:
    measures = {records.fold_at_bytes(Incarnation(f"volume-{number}")) for number in range(50)}
    assert len(measures) == 50
    assert all(records.FOLD_AT_BYTES // 2 <= each < records.FOLD_AT_BYTES * 3 // 2 for each in measures)
