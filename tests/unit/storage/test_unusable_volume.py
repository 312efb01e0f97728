"""What is not this member's sound volume is refused in one clear sentence, and not a byte of it changes."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from volume_contents import MEMBER, all_marked, entries, log, restored, write

from raftq_k8s.raft.types import MemberId
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.storage.volume import VolumeUnusable


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def assert_refused_untouched(directory: Path, complaint: str, member: MemberId = MEMBER) -> None:
    before = contents(directory)
    with pytest.raises(VolumeUnusable, match=complaint) as refusal:
        SqliteVolume(directory, member).open()
    assert "\n" not in str(refusal.value)
    assert str(directory) in str(refusal.value)
    assert contents(directory) == before


def leave_as_killed(directory: Path) -> None:
    """A process that wrote an entry and ended without closing: its write-ahead log stays."""
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from volume_contents import *\n"
        "volume = SqliteVolume(Path(sys.argv[1]), MEMBER); volume.open()\n"
        "volume.write(log(1, 1)).result(10); os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", program, directory, Path(__file__).parent], check=True, timeout=60)
    assert (directory / "raftq.sqlite-wal").stat().st_size > 0


def test_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(VolumeUnusable, match="does not exist: mount it, or create the directory"):
        SqliteVolume(tmp_path / "data", MEMBER).open()
    assert not (tmp_path / "data").exists()


def test_a_file_instead_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    with pytest.raises(VolumeUnusable, match="is not a directory"):
        SqliteVolume(tmp_path / "data", MEMBER).open()
    assert (tmp_path / "data").read_text() == "mine"


def test_a_directory_without_the_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # The superuser, who may run these tests, may write anywhere.
    assert_refused_untouched(tmp_path, "cannot be written to: check its owner and mode")


def test_a_database_without_the_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, log(1, 1))
    connect = sqlite3.connect

    def readonly(path: object, **options: object) -> sqlite3.Connection:
        return connect(f"{tmp_path.as_uri()}/raftq.sqlite?mode=ro", uri=True, timeout=0, isolation_level=None)

    monkeypatch.setattr(sqlite3, "connect", readonly)
    with pytest.raises(VolumeUnusable, match="cannot be read and written"):
        SqliteVolume(tmp_path, MEMBER).open()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "raftq.sqlite").write_bytes(b"these are my notes, not yours" * 100)
    assert_refused_untouched(tmp_path, "is not a database")


def test_a_database_of_another_program(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "raftq.sqlite")) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    assert_refused_untouched(tmp_path, "is the database of another program")


@pytest.mark.parametrize("killed", [False, True])
def test_a_newer_format(tmp_path: Path, killed: bool) -> None:
    write(tmp_path, log(1, 3))
    with closing(sqlite3.connect(tmp_path / "raftq.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 2")
    if killed:
        (tmp_path / "raftq.sqlite-wal").write_bytes(b"what a later release left there" * 200)
    assert_refused_untouched(tmp_path, "has format 2, and this release knows format 1")


@pytest.mark.parametrize("killed", [False, True])
def test_the_volume_of_another_member(tmp_path: Path, killed: bool) -> None:
    if killed:
        leave_as_killed(tmp_path)
    else:
        write(tmp_path, log(1, 1))
    assert_refused_untouched(tmp_path, "belongs to member raftq-0, but this member is raftq-1", MemberId("raftq-1"))
    assert restored(tmp_path).entries == [*entries(1, 1)]


def test_a_volume_that_this_process_holds(tmp_path: Path) -> None:
    with closing(SqliteVolume(tmp_path, MEMBER)) as holder:
        holder.open()
        holder.write(log(1, 1)).result(timeout=10)
        all_marked(holder)
        assert_refused_untouched(tmp_path, "is held by another process")
        holder.write(log(2, 2)).result(timeout=10)
    assert restored(tmp_path).entries == [*entries(1, 2)]


def test_a_volume_that_another_process_holds(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from volume_contents import *\n"
        "volume = SqliteVolume(Path(sys.argv[1]), MEMBER); volume.open(); print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path, Path(__file__).parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert_refused_untouched(tmp_path, "is held by another process: end that one first")
        holder.kill()
    assert restored(tmp_path).generation == 2


def test_a_refused_volume_can_be_opened_once_it_is_mended(tmp_path: Path) -> None:
    volume = SqliteVolume(tmp_path / "data", MEMBER)
    with pytest.raises(VolumeUnusable):
        volume.open()
    (tmp_path / "data").mkdir()
    with closing(volume):
        assert volume.open().generation == 1
