"""A volume that lost or changed anything is refused with a sentence that says so, never served."""

import random
import shutil
import sqlite3
import threading
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from volume_contents import (
    BIRTH,
    MEMBER,
    VOTED,
    all_marked,
    compacted,
    entries,
    log,
    mark,
    part,
    restored,
    sealed,
    write,
)

from raftq_k8s.raft.persistence import Write
from raftq_k8s.raft.types import Index
from raftq_k8s.storage import watermark
from raftq_k8s.storage.checksum import Batch, Checksum
from raftq_k8s.storage.records import Records
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.storage.volume import VolumeUnusable
from raftq_k8s.storage.watermark import Mark, Watermark


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A closed volume with everything in it: six runs, of which the last ends at index 9."""
    directory = tmp_path / "volume"
    directory.mkdir()
    write(
        directory, Write(birth=BIRTH), log(1, 3), log(4, 4), log(5, 8), log(7, 7, 2), log(8, 9, 2), Write(None, VOTED)
    )
    return directory


@pytest.fixture
def compact(tmp_path: Path) -> Path:
    """A closed volume whose log begins after index 5, within a run, with a snapshot of three parts and one begun."""
    directory = tmp_path / "volume"
    directory.mkdir()
    parts = (part(6, 0, b"abc"), part(6, 3, b"defg"), part(6, 7, b"hij"))
    write(directory, Write(birth=BIRTH), log(1, 3), log(4, 4), log(5, 8), log(9, 9, 2))
    write(directory, *parts, Write(seal=mark(6, b"abcdefghij")), compacted(5), part(8, 0, b"begun"))
    return directory


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("UPDATE entries SET run = zeroblob(length(run)) WHERE first = 4", "damaged: its log after index 3"),
        ("UPDATE entries SET run = CAST(run || x'00' AS BLOB) WHERE first = 8", "damaged: its log after index 7"),
        ("UPDATE entries SET run = 'text' WHERE first = 4", "damaged: its log after index 3"),
        ("UPDATE entries SET batch = batch + 1 WHERE first = 4", "damaged: its log after index 3"),
        ("UPDATE entries SET batch = -1 WHERE first = 4", "damaged: its log after index 3"),
        ("UPDATE entries SET checksum = checksum + 1 WHERE first = 5", "damaged: its log after index 4"),
        ("UPDATE entries SET first = 10 WHERE first = 8", "damaged: its log after index 7"),
        ("DELETE FROM entries WHERE first = 4", "damaged: its log after index 3"),
        ("DELETE FROM entries WHERE first = 1", "damaged: its log after index 0"),
        ("DELETE FROM entries WHERE first = 8", "lost"),
        ("DELETE FROM entries", "lost"),
        ("UPDATE hard_state SET state = zeroblob(length(state))", "damaged: its term and vote"),
        ("UPDATE hard_state SET batch = batch + 1", "damaged: its term and vote"),
        ("DELETE FROM hard_state", "damaged: its term and vote"),
        ("UPDATE identity SET generation = generation - 1", "damaged: its identity"),
        ("UPDATE identity SET incarnation = 'another'", "damaged: its identity"),
        ("UPDATE identity SET birth = NULL", "damaged: its identity"),
        ("DELETE FROM identity", "damaged: its identity"),
        ("DROP TABLE entries", "no such table"),
    ],
)
def test_53_a_changed_record_is_refused(volume: Path, change: str, complaint: str) -> None:
    with closing(sqlite3.connect(volume / "raftq.sqlite")) as connection:
        assert connection.execute(change).rowcount != 0
        connection.commit()
    with pytest.raises(VolumeUnusable, match=complaint) as refusal:
        restored(volume)
    assert str(volume) in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("UPDATE base SET state = zeroblob(length(state))", "damaged: where its log begins"),
        ("UPDATE base SET batch = batch + 1", "damaged: where its log begins"),
        ("DELETE FROM base", "damaged: where its log begins"),
        ("DELETE FROM entries WHERE first = 5", "damaged: its log after index 4"),
        ("DELETE FROM entries WHERE first > 4", "damaged: its log after index 4"),
        ("DELETE FROM entries WHERE first > 5", "lost"),
        ("UPDATE entries SET summary = zeroblob(length(summary)) WHERE first = 5", "damaged: its log after index 4"),
        ("UPDATE entries SET summary = 'text' WHERE first = 9", "damaged: its log after index 8"),
        ("UPDATE entries SET run = zeroblob(length(run)) WHERE first = 5", "damaged: its log after index 4"),
        ("UPDATE parts SET data = zeroblob(4) WHERE offset = 3", "damaged: its snapshot at index 6"),
        ("UPDATE parts SET data = 'defg' WHERE offset = 3", "damaged: its snapshot at index 6"),
        ("UPDATE parts SET data = zeroblob(2) WHERE offset = 7", "damaged: its snapshot at index 6"),
        ("UPDATE parts SET offset = 8 WHERE offset = 7", "damaged: its snapshot at index 6"),
        ("DELETE FROM parts WHERE offset = 7", "damaged: its snapshot at index 6"),
        ("DELETE FROM parts", "damaged: its snapshot at index 6"),
    ],
)
def test_a_changed_base_or_snapshot_is_refused(compact: Path, change: str, complaint: str) -> None:
    with closing(sqlite3.connect(compact / "raftq.sqlite")) as connection:
        assert connection.execute(change).rowcount != 0
        connection.commit()
    with pytest.raises(VolumeUnusable, match=f"{complaint}.*move the volume's files away"):
        restored(compact)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET run = zeroblob(9) WHERE first <= 4",
        "DELETE FROM entries WHERE first <= 4",
        "UPDATE parts SET data = zeroblob(9) WHERE snapshot = 2",
        "DELETE FROM parts WHERE snapshot = 2",
    ],
)
def test_what_counts_no_more_may_be_anything(compact: Path, change: str) -> None:
    with closing(sqlite3.connect(compact / "raftq.sqlite")) as connection:
        connection.execute(change)
        connection.commit()
    found = restored(compact)
    assert (found.base, found.snapshot) == (5, mark(6, b"abcdefghij"))
    assert found.entries == [*entries(6, 8), *entries(9, 9, 2)]


def test_a_lost_compaction_shows(tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.mkdir()
    write(original, log(1, 9), sealed(9, b"state"))
    with closing(SqliteVolume(original, MEMBER)) as volume:
        volume.open()
        volume.write(compacted(5)).result(timeout=10)
        all_marked(volume)
        robbed = copy_of(original, "robbed")
    (robbed / "raftq.sqlite-wal").unlink()
    with pytest.raises(VolumeUnusable, match="has lost what was on stable storage"):
        restored(robbed)


def test_lost_parts_of_an_unsealed_snapshot_are_no_loss(tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.mkdir()
    write(original, log(1, 9))
    with closing(SqliteVolume(original, MEMBER)) as volume:
        volume.open()
        volume.write(log(10, 10)).result(timeout=10)
        before = (original / "raftq.sqlite-wal").read_bytes()
        volume.write(part(9, 0, b"begun")).result(timeout=10)
        all_marked(volume)
        robbed = copy_of(original, "robbed")
    (robbed / "raftq.sqlite-wal").write_bytes(before)
    assert restored(robbed).entries == [*entries(1, 10)]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("UPDATE entries SET run = zeroblob(length(run)) WHERE first = 5", "its log after index 4"),
        ("UPDATE parts SET data = zeroblob(4) WHERE offset = 3", "its snapshot at index 6"),
    ],
)
def test_53_what_changes_under_a_running_process_is_not_served(
    compact: Path, change: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is written any more to a disk that changes what it holds."""

    damaged = threading.Event()

    def damage(store: Records, slices: int = 1) -> None:
        store._connection.execute(change)
        damaged.set()

    monkeypatch.setattr(Records, "sweep", damage)
    with closing(SqliteVolume(compact, MEMBER)) as volume:
        volume.open()
        volume.write(Write(hard_state=VOTED)).result(timeout=10)
        assert damaged.wait(10)
        reads = {
            "its log after index 4": lambda: volume.load(Index(6), Index(9), 999),
            "its snapshot at index 6": lambda: volume.read_snapshot(Index(6), 0, 999),
        }
        with pytest.raises(VolumeUnusable, match=complaint):
            reads[complaint]().result(timeout=10)
        with pytest.raises(VolumeUnusable, match=complaint):
            volume.write(log(10, 10)).result(timeout=10)


def test_53_flipped_bits_never_change_what_is_restored(volume: Path) -> None:
    """They hit a checksum, SQLite's own structure, or a byte that nobody reads; nothing else may come back."""
    database = volume / "raftq.sqlite"
    sound, mark = database.read_bytes(), (volume / "raftq.mark").read_bytes()
    dice = random.Random(3)
    used = [at for at, byte in enumerate(sound) if byte]
    refused = 0
    for _ in range(300):
        at = dice.choice(used)
        database.write_bytes(sound[:at] + bytes([sound[at] ^ 1 << dice.randrange(8)]) + sound[at + 1 :])
        (volume / "raftq.mark").write_bytes(mark)
        try:
            found = restored(volume)
        except VolumeUnusable:
            refused += 1
        else:
            assert (found.birth, found.hard_state) == (BIRTH, VOTED)
            assert found.entries == [*entries(1, 6), *entries(7, 7, 2), *entries(8, 9, 2)]
        for leftover in volume.glob("raftq.sqlite-*"):
            leftover.unlink()
    assert refused > 100


def copy_of(directory: Path, name: str) -> Path:
    return Path(shutil.copytree(directory, directory.parent / name))


@pytest.mark.parametrize("lost", [log(4, 4), Write(hard_state=VOTED), Write(birth=BIRTH), log(2, 2, term=2)])
def test_a_lost_write_ahead_log_shows(tmp_path: Path, lost: Write) -> None:
    """Be it an entry, a vote, a birth, or a truncation that was lost: all of them carry the number of their batch."""
    original = tmp_path / "original"
    original.mkdir()
    write(original, log(1, 3))
    with closing(SqliteVolume(original, MEMBER)) as volume:
        volume.open()
        volume.write(lost).result(timeout=10)
        all_marked(volume)
        killed, robbed = copy_of(original, "killed"), copy_of(original, "robbed")
    (robbed / "raftq.sqlite-wal").unlink()
    restored(killed)
    with pytest.raises(VolumeUnusable, match="has lost what was on stable storage"):
        restored(robbed)


def test_a_torn_write_ahead_log_shows(tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.mkdir()
    with closing(SqliteVolume(original, MEMBER)) as volume:
        volume.open()
        for index in range(1, 6):
            volume.write(log(index, index)).result(timeout=10)
        all_marked(volume)
        torn = copy_of(original, "torn")
    with (torn / "raftq.sqlite-wal").open("r+b") as file:
        file.truncate(file.seek(0, 2) - 100)
    with pytest.raises(VolumeUnusable, match="ends with batch 6 and index 4"):
        restored(torn)


def test_an_older_copy_of_the_database_shows(tmp_path: Path) -> None:
    write(tmp_path, log(1, 3))
    older = (tmp_path / "raftq.sqlite").read_bytes()
    write(tmp_path, log(4, 4))
    (tmp_path / "raftq.sqlite").write_bytes(older)
    with pytest.raises(VolumeUnusable, match="replaced by an older copy"):
        restored(tmp_path)


def test_a_mark_that_lags_is_what_a_crash_of_the_machine_leaves(tmp_path: Path) -> None:
    write(tmp_path, log(1, 9))
    older = (tmp_path / "raftq.mark").read_bytes()
    write(tmp_path, log(4, 5, term=2))
    (tmp_path / "raftq.mark").write_bytes(older)
    assert restored(tmp_path).entries == [*entries(1, 3), *entries(4, 5, term=2)]


@pytest.mark.parametrize("slot", [0, 512])
def test_a_torn_mark_leaves_the_one_before(tmp_path: Path, slot: int) -> None:
    write(tmp_path, log(1, 3))
    older = (tmp_path / "raftq.sqlite").read_bytes()
    write(tmp_path, log(4, 4), log(5, 5))
    with (tmp_path / "raftq.mark").open("r+b") as file:
        file.seek(slot + 10)
        file.write(b"torn")
    torn = (tmp_path / "raftq.mark").read_bytes()
    assert restored(tmp_path).entries == [*entries(1, 5)]
    (tmp_path / "raftq.sqlite").write_bytes(older)
    (tmp_path / "raftq.mark").write_bytes(torn)
    with pytest.raises(VolumeUnusable, match="has lost"):
        restored(tmp_path)


def test_of_marks_that_pass_over_batches_the_last_two_can_be_read(tmp_path: Path) -> None:
    """A mark is raised once for several transactions, and no matter how many, only the older one may be torn."""
    watermark.create(tmp_path)
    marks = [Mark(Batch(number), Index(number), Checksum(number)) for number in (2, 4, 6, 7, 9, 11)]
    opened = Watermark(tmp_path)
    for before, raised in pairwise([watermark.NOTHING, *marks]):
        if raised.batch == 7:
            opened.close()
            opened = Watermark(tmp_path)
        opened.raise_to(raised)
        assert {_read_torn(tmp_path, at) for at in (0, 512)} == {before, raised}
    opened.close()


def _read_torn(directory: Path, at: int) -> Mark | None:
    """The mark that is read where that byte is not what was written."""
    path = directory / "raftq.mark"
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + b"?" + whole[at + 1 :])
    found = watermark.read(directory)
    path.write_bytes(whole)
    return found


def test_a_damaged_mark_is_refused(tmp_path: Path) -> None:
    write(tmp_path, log(1, 3))
    (tmp_path / "raftq.mark").write_bytes(b"\0" * 1024)
    with pytest.raises(VolumeUnusable, match=r"raftq\.mark is damaged"):
        restored(tmp_path)


def test_a_missing_mark_is_refused(tmp_path: Path) -> None:
    write(tmp_path, log(1, 3))
    (tmp_path / "raftq.mark").unlink()
    with pytest.raises(VolumeUnusable, match=r"has lost its file raftq\.mark"):
        restored(tmp_path)


@pytest.mark.parametrize("emptied", [True, False])
def test_a_lost_database_is_not_a_blank_volume(tmp_path: Path, emptied: bool) -> None:
    write(tmp_path, log(1, 3))
    (tmp_path / "raftq.sqlite").unlink()
    if emptied:
        (tmp_path / "raftq.sqlite").touch()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(VolumeUnusable, match="has lost what was on stable storage"):
        restored(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
