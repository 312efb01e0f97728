"""One failed write is the last: nothing after it is called durable, and what was before it stays."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from volume_contents import MEMBER, VOTED, all_marked, entries, log, restored

from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.persistence import Write
from raftq_k8s.raft.types import Index, Term
from raftq_k8s.storage import rows, schema
from raftq_k8s.storage.records import Records
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.storage.volume import WriteFailed
from raftq_k8s.storage.watermark import Mark, Watermark


def assert_final(volume: SqliteVolume, index: int, message: str) -> None:
    for _ in range(3):
        with pytest.raises(WriteFailed, match=message):
            volume.write(log(index, index)).result(timeout=10)


def test_53_a_full_disk_is_final_and_keeps_what_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_little_room(connection: sqlite3.Connection, path: Path) -> None:
        durable(connection, path)
        connection.execute("PRAGMA max_page_count = 12")

    durable = schema.set_durability
    monkeypatch.setattr(schema, "set_durability", with_little_room)
    with closing(SqliteVolume(tmp_path, MEMBER)) as volume:
        volume.open()
        volume.write(log(1, 3)).result(timeout=10)
        large = Entry(Index(4), Term(1), EntryKind.COMMAND, b"x" * 100_000)
        with pytest.raises(WriteFailed, match="full"):
            volume.write(Write(entries=(large,))).result(timeout=10)
        assert_final(volume, 4, "full")
    monkeypatch.undo()
    assert restored(tmp_path).entries == [*entries(1, 3)]


def test_a_failed_batch_of_several_statements_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(batch: object, number: object) -> tuple[str, tuple[()]]:
        return "INSERT INTO no_such_table VALUES (1)", ()

    with closing(SqliteVolume(tmp_path, MEMBER)) as volume:
        volume.open()
        volume.write(log(1, 3)).result(timeout=10)
        monkeypatch.setattr(rows, "hard_state_row", refuse)
        with pytest.raises(WriteFailed, match="no_such_table"):
            volume.write(Write(hard_state=VOTED, entries=entries(2, 9, term=2))).result(timeout=10)
        assert_final(volume, 4, "no_such_table")
    monkeypatch.undo()
    assert restored(tmp_path).entries == [*entries(1, 3)]


def test_every_write_of_a_failed_batch_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(store: Records, writes: Sequence[Write]) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Records, "commit", fail)
    volume = SqliteVolume(tmp_path, MEMBER)
    volume.open()
    futures = [volume.write(log(index, index)) for index in range(1, 20)]
    volume.close()
    assert all(isinstance(future.exception(), WriteFailed) for future in futures)


def test_a_mark_that_cannot_be_raised_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(mark: Watermark, to: Mark) -> None:
        raise OSError(5, "Input/output error")

    with closing(SqliteVolume(tmp_path, MEMBER)) as volume:
        volume.open()
        volume.write(log(1, 1)).result(timeout=10)
        all_marked(volume)
        monkeypatch.setattr(Watermark, "raise_to", fail)
        volume.write(log(2, 2)).result(timeout=10)  # it reached the disk, and the mark may lag
        assert_final(volume, 3, "Input/output error")
        monkeypatch.undo()
    assert restored(tmp_path).entries == [*entries(1, 2)]


def test_failing_to_fold_the_write_ahead_log_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(store: Records) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Records, "fold", fail)
    with closing(SqliteVolume(tmp_path, MEMBER)) as volume:
        volume.open()
        volume.write(log(1, 1)).result(timeout=10)
        assert_final(volume, 2, "disk I/O error")


@pytest.mark.parametrize("gap", [log(3, 3), log(0, 1), Write(entries=entries(2, 2) + entries(4, 4))])
def test_a_log_with_a_gap_is_never_written(tmp_path: Path, gap: Write) -> None:
    with closing(SqliteVolume(tmp_path, MEMBER)) as volume:
        volume.open()
        volume.write(log(1, 1)).result(timeout=10)
        with pytest.raises(WriteFailed, match="gap"):
            volume.write(gap).result(timeout=10)
    assert restored(tmp_path).entries == [*entries(1, 1)]
